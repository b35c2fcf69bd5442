"""Images that no host can use: each is noted, and what only it brought goes at once.

A digest stands for its content, so what is wrong with that stays wrong: nobody fetches it again
until another version of bootd has other rules, or somebody lets it be tried again. That holds for
errors of content alone. Damage on the way, a full disk or a machine's own settings pass.

Order of writes: layers and objects go first, the digest is noted last. Whoever is cut off before
finds the image unfit once more, and then does both.
"""

from __future__ import annotations

import logging
from typing import Final

from bootd.boot.kernels.arguments import image_arguments
from bootd.boot.kernels.image_kernel import find_kernel
from bootd.model.errors import (
    BootdError,
    ContentError,
    DeniedDigestError,
    DiffIdMismatchError,
    InvalidImageError,
    InvalidLayerError,
    StorageError,
)
from bootd.model.registry.image import ResolvedImage
from bootd.model.tree import Directory
from bootd.operations.host import Host
from bootd.operations.image.unfit_list import UnfitImage, add_unfit, find_like, what_is_wrong
from bootd.store.contents import StoreContents
from bootd.store.images.image import all_images
from bootd.store.tar.decompress import UNPACKED_LIMIT
from bootd.store.upkeep.collect import sweep

_log = logging.getLogger(__name__)

_CAUSES: Final = (InvalidLayerError, DiffIdMismatchError, InvalidImageError)
"""What is raised for content that was proven to be what its digests promise."""
_HINT: Final = (
    "It is not fetched again. Publish a mended image; 'bootctl-py denied allow DIGEST' lets this "
    "one be tried once more."
)


def refuse_denied(host: Host, resolved: ResolvedImage) -> None:
    """Refuse an image that failed on this machine, or that no host can use.

    Raises:
        DeniedDigestError: it is on the deny list, or known to be unfit.
    """
    refuse_unfit(host, resolved)
    denial = host.sysroot.read_denied().find(resolved.digest)
    if denial is not None:
        raise DeniedDigestError(
            f"{resolved.digest} is on the deny list since {denial.when:%Y-%m-%d}: {denial.cause}"
        )


def refuse_unfit(host: Host, resolved: ResolvedImage) -> None:
    """Refuse an image that no host can use; one with the fault of another is noted with it.

    Raises:
        DeniedDigestError: that is known.
        NoSpaceError, WriteFailedError: it could not be noted.
    """
    unfit = find_like(host.sysroot, resolved)
    if unfit is None:
        return
    if unfit.digest != resolved.digest:
        add_unfit(host.sysroot, unfit.model_copy(update={"digest": resolved.digest}))
    raise DeniedDigestError(
        f"{resolved.digest} is unfit, known since {unfit.when:%Y-%m-%d}: {what_is_wrong(unfit)}",
        hint=_HINT,
    )


def check_promises(resolved: ResolvedImage) -> None:
    """Refuse, before a byte of them is fetched, layers that will turn out too large.

    Raises:
        InvalidLayerError: one is larger packed than it may be unpacked.
    """
    for number, (layer, _) in enumerate(resolved.layers, 1):
        if layer.size > UNPACKED_LIMIT:
            raise InvalidLayerError(
                f"layer {number}, {layer.digest}, has {layer.size} bytes; it may unpack to "
                f"{UNPACKED_LIMIT}"
            )


def check_tree(host: Host, root: Directory) -> None:
    """Refuse what an image's layers come to, before it is written, if no host could boot it.

    Raises:
        ContentError: it has no kernel, or more than one, or asks for what is no argument.
    """
    find_kernel(root)
    image_arguments(root, StoreContents(host.sysroot))


def is_unfit(error: BootdError) -> bool:
    """Tell whether an error in bringing an image into the store is for good."""
    return isinstance(error, _CAUSES)


def give_up_image(host: Host, resolved: ResolvedImage, error: ContentError) -> None:
    """Remove what an unfit image left in the store, and note that it is unfit.

    If the disk is in the way of that, it is logged: the image's own fault is what counts.

    Args:
        host: the machine, under an exclusive lock of the caller.
        resolved: the image; nothing is deployed of it.
        error: what is wrong with it.
    """
    sysroot, digest = host.sysroot, resolved.digest
    try:
        sweep(sysroot, {one for one in all_images(sysroot) if one != digest}, _nothing_to_report)
    except StorageError as problem:
        _log.warning("what %s left was not removed: %s", digest, problem.message)
    try:
        add_unfit(sysroot, UnfitImage.of(resolved, error, host.clock.now()))
    except StorageError as problem:
        _log.warning("that %s is unfit could not be noted: %s", digest, problem.message)
        return
    _log.warning("%s is unfit and is not fetched again: %s", digest, error.message)


def _nothing_to_report() -> None:
    """Sweeping is not worth a phase of its own."""
