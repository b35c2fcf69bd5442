"""The gate that every image passes: only what the policy allows becomes an `AcceptedImage`.

Whoever fetches, stages or installs takes that type, so that there is no way around the gate. A
machine without a policy file accepts every image, as bootd always did; podman would accept none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Self

from bootd.clock import Clock
from bootd.model.acceptance import POLICY_FILE, Acceptance
from bootd.model.errors import NotTrustedError
from bootd.model.registry.image import ResolvedImage
from bootd.registry.reference import CopiedReference, Reference, parse_reference
from bootd.registry.settings import RegistrySettings
from bootd.registry.sources.source import ImageSource
from bootd.startup import later
from bootd.trust.in_force import load_policy, without_links
from bootd.trust.policy import (
    InsecureAcceptAnything,
    Requirement,
    Requirements,
    SignedBaseLayer,
    SignedBy,
    SigstoreSigned,
)
from bootd.trust.scopes import docker_reference, scopes_of

if TYPE_CHECKING:
    from bootd.trust.judge import Judge

with later():
    # Cryptography takes long to load; a policy that asks for no signature does not need it.
    from bootd.trust import judge, signatures
    from bootd.trust.simple import payload

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AcceptedImage(ResolvedImage):
    """An image that the machine's policy allows.

    Attributes:
        scope: which part of the policy decided; None: the machine has no policy.
        signers: who signed it, in words, one for each requirement that asks for a signature.
        judged: when, UTC.
    """

    judged: datetime = field(kw_only=True)
    scope: str | None = None
    signers: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        resolved: ResolvedImage,
        judged: datetime,
        scope: str | None = None,
        signers: tuple[str, ...] = (),
    ) -> Self:
        """Return a resolved image as one that is allowed."""
        values = {one.name: getattr(resolved, one.name) for one in fields(ResolvedImage)}
        return cls(**values, judged=judged, scope=scope, signers=signers)

    @property
    def acceptance(self) -> Acceptance:
        """What a deployment's record says of that."""
        return Acceptance(when=self.judged, scope=self.scope, signers=list(self.signers))


def accept(
    source: ImageSource,
    resolved: ResolvedImage,
    settings: RegistrySettings,
    clock: Clock,
    *,
    bundles: bool = False,
) -> AcceptedImage:
    """Judge an image by the machine's policy.

    Args:
        source: where the image is from.
        resolved: the image.
        settings: where the policy is, and bounds for fetching signatures.
        clock: for certificates, waits and deadlines.
        bundles: whether bundles of cosign 3 may meet requirements for sigstore signatures.

    Raises:
        NotTrustedError: the policy does not allow the image; no layer was fetched.
        InvalidTrustPolicyError: the policy, or a key that it names, cannot be used.
        InvalidConfigurationError: registries.d cannot be used.
        TransportError: the signatures cannot be had.
        WriteFailedError: a file cannot be read.
    """
    policy = load_policy(settings.root)
    if policy is None:
        return AcceptedImage.of(resolved, clock.now())
    reference = parse_reference(resolved.reference)
    if isinstance(reference, CopiedReference):
        # What copied it obeyed the same policy, with the scopes of that transport.
        return AcceptedImage.of(resolved, clock.now(), f"{reference.transport}:")
    reference = without_links(reference)
    scope, requirements = policy.requirements(scopes_of(reference))
    try:
        signers = _check(
            requirements,
            lambda: _judge(source, resolved, reference, settings, clock, bundles=bundles),
        )
    except NotTrustedError as error:
        raise NotTrustedError(
            f"{settings.root / POLICY_FILE} does not allow {resolved.reference} ({scope}): "
            f"{error.message}",
            hint=error.hint,
        ) from error
    signed = f", signed by {' and '.join(signers)}" if signers else ""
    _log.info("%s allows %s@%s%s", scope, resolved.reference, resolved.digest, signed)
    return AcceptedImage.of(resolved, clock.now(), scope, tuple(signers))


def _check(requirements: Requirements, make_judge: Callable[[], Judge]) -> list[str]:
    """Return who signed if every requirement is met."""
    signers = []
    judge = None
    for requirement in requirements:
        if isinstance(requirement, SignedBy | SigstoreSigned):
            judge = judge or make_judge()
            signers.append(judge.check(requirement))
        else:
            _check_plain(requirement)
    return signers


def _check_plain(requirement: Requirement) -> None:
    if isinstance(requirement, InsecureAcceptAnything):
        return
    if isinstance(requirement, SignedBaseLayer):
        raise NotTrustedError("nothing can meet signedBaseLayer, in podman either")
    raise NotTrustedError("it rejects every image there")


def _judge(
    source: ImageSource,
    resolved: ResolvedImage,
    reference: Reference,
    settings: RegistrySettings,
    clock: Clock,
    *,
    bundles: bool,
) -> Judge:
    subject = payload.Subject(resolved.manifest_bytes, docker_reference(reference))
    reader = signatures.SignatureReader(source, reference, resolved.digest, settings, clock)
    return judge.Judge(subject, reader, settings.root, clock.now(), bundles=bundles)
