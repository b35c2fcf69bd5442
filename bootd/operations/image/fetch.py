"""An image by digest, whether the store has it already or not; nothing is staged."""

from __future__ import annotations

from dataclasses import replace

from bootd.model.digest import Digest
from bootd.model.errors import ContentError, ImageNotFoundError
from bootd.operations.host import Host
from bootd.operations.image.resolve import resolve
from bootd.operations.image.unfit import (
    check_promises,
    check_tree,
    give_up_image,
    is_unfit,
    refuse_unfit,
)
from bootd.operations.progress import Phase, Progress
from bootd.operations.pull import missing_layers, pull
from bootd.registry.reference import CopiedReference, parse_reference
from bootd.registry.sources.copied import copies_discarded
from bootd.store.images.image import StoredImage, compose_image, has_image, open_image
from bootd.store.upkeep.space import check_space, needed_space


def fetched_image(host: Host, digest: Digest, progress: Progress) -> StoredImage:
    """Return an image of the repository that the machine follows, fetched if need be.

    It stays in the store until the next collection, so that staging it soon is quick.

    Args:
        host: the machine, under an exclusive lock of the caller.
        digest: the manifest's, or that of an index that has one for this machine.
        progress: told what is done.

    Raises:
        NoImageConfiguredError: the machine follows no image.
        DeniedDigestError: the image is known to be unfit.
        NoSpaceError: there is no room; said before anything is fetched.
        NotTrustedError, InvalidTrustPolicyError: see `bootd.operations.image.resolve`.
        TransportError, ContentError, StorageError: see `pull`.
    """
    progress.report(Phase.RESOLVING)
    if has_image(host.sysroot, digest):
        return open_image(host.sysroot, digest)
    followed = parse_reference(host.followed_image())
    if isinstance(followed, CopiedReference):
        reference = str(followed)
    else:
        reference = str(replace(followed, tag=None, digest=digest))
    with copies_discarded(host.sysroot.partial, host.sysroot.disk):
        return _fetched(host, reference, digest, progress)


def _fetched(host: Host, reference: str, digest: Digest, progress: Progress) -> StoredImage:
    resolved = resolve(host, reference)
    if digest not in {resolved.digest, resolved.seen.top}:
        raise ImageNotFoundError(f"{reference} is {resolved.digest} now, and not {digest}")
    refuse_unfit(host, resolved)
    missing = [descriptor for descriptor, _ in missing_layers(host, resolved)]
    check_space(host.sysroot.store, needed_space(missing))
    try:
        check_promises(resolved)
        with pull(host, resolved, progress) as pulled:
            progress.report(Phase.COMPOSING)
            check_tree(host, pulled.tree.whole())
            composed = compose_image(host.sysroot, resolved, pulled.tree)
    except ContentError as error:
        if is_unfit(error):
            give_up_image(host, resolved, error)
        raise
    return composed.publish()
