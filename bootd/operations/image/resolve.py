"""From a reference to an image that this machine may run."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace

from bootd.operations.host import Host
from bootd.registry.sources.source import open_source
from bootd.trust.accept import AcceptedImage, accept

_log = logging.getLogger(__name__)


def resolve(host: Host, reference: str) -> AcceptedImage:
    """Return what a reference names now, if the machine's policy allows it.

    Raises:
        NotTrustedError: the policy does not allow the image.
        InvalidTrustPolicyError: the policy, or a key that it names, cannot be used.
        TransportError, ContentError, RequestError: see `ImageSource.resolve`.
    """
    source = open_source(reference, host.registry, host.sysroot.partial, host.sysroot.disk)
    with closing(source):
        resolved = source.resolve()
        resolved = replace(resolved, uses=tuple(source.take_uses()))
        _log.debug("%s is %s", reference, resolved.digest)
        bundles = host.configuration.trust.bundles
        return accept(source, resolved, host.registry, host.clock, bundles=bundles)
