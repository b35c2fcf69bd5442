"""Whether the kernel of an image will fit on ``$BOOT``, as far as is known before it is fetched.

The tables of contents of its layers give the sizes, where every layer has one. They are fetched
only where a kernel as large as today's would not fit: elsewhere the answer is not worth the
request. A kernel as large as one of this machine's may be that one, which needs no room, so nothing
is said.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Final

from bootd.boot.kernels.image_kernel import KernelFound, find_kernel
from bootd.model.deployment import KernelFiles
from bootd.model.errors import BootPartitionFullError, ContentError, TransportError
from bootd.model.registry.image import ResolvedImage
from bootd.operations.boot.image_preview import promised_tree
from bootd.operations.boot.room import check_room
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey
from bootd.registry.reference import RegistryReference, parse_reference
from bootd.registry.sources.source import open_source

_log = logging.getLogger(__name__)

_UNKNOWN: Final = "0" * 64
"""In place of digests that only the kernel's content tells."""


def check_coming_kernel(host: Host, survey: Survey, resolved: ResolvedImage) -> None:
    """Refuse an image of a registry whose kernel will certainly not fit.

    Raises:
        BootPartitionFullError: it does not fit, whatever may be given up for it.
    """
    check_room(host, survey, None)
    if not isinstance(parse_reference(resolved.reference), RegistryReference):
        # There is nothing to fetch, and the exact answer comes soon.
        return
    known = [record.kernel for record in survey.records.values()]
    if not known or _fits(host, survey, max(known, key=lambda one: one.size)):
        return
    coming = _look_ahead(host, resolved)
    if coming is None:
        return
    sizes = coming.kernel.size, coming.initramfs.size
    if sizes not in {(one.kernel_size, one.initramfs_size) for one in known}:
        check_room(host, survey, _of_size(coming.version, *sizes))


def _fits(host: Host, survey: Survey, like: KernelFiles) -> bool:
    try:
        check_room(host, survey, _of_size(like.version, like.kernel_size, like.initramfs_size))
    except BootPartitionFullError:
        return False
    return True


def _of_size(version: str, kernel: int, initramfs: int) -> KernelFiles:
    return KernelFiles(
        version=version,
        kernel_object=_UNKNOWN,
        initramfs_object=_UNKNOWN,
        kernel_size=kernel,
        initramfs_size=initramfs,
        digest=_UNKNOWN,
    )


def _look_ahead(host: Host, resolved: ResolvedImage) -> KernelFound | None:
    """Return the kernel that an image says it has; None: it does not say, or not clearly."""
    sysroot = host.sysroot
    try:
        source = open_source(resolved.reference, host.registry, sysroot.partial, sysroot.disk)
        with closing(source):
            tree = promised_tree(source, resolved)
            return None if tree is None else find_kernel(tree)
    except (ContentError, TransportError) as error:
        # Whatever is wrong is told when the image is fetched.
        _log.debug("nothing is known of its kernel yet: %s", error.message)
        return None
