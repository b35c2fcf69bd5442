"""Which edits of a deployment's ``/etc`` no other deployment has."""

from __future__ import annotations

from collections.abc import Sequence

from bootd.etc.disk.change import Change, changes_to
from bootd.etc.disk.snapshot import scan_folder
from bootd.etc.rules.compare import same_node
from bootd.etc.rules.decide import NEVER_CARRIED
from bootd.model.deployment import DeploymentId
from bootd.model.errors import DamagedImageError
from bootd.model.etc.change import CopyReason, EtcCopy
from bootd.model.tree import Directory, Metadata, Node, SpecialFile, lookup, walk
from bootd.operations.etc.merge import defaults_in
from bootd.operations.etc_copies import keep_copy
from bootd.operations.host import Host
from bootd.store.contents import StoreContents
from bootd.store.images.image import EROFS_NAME


def keep_edits(
    host: Host, deployment: DeploymentId, others: Sequence[DeploymentId]
) -> EtcCopy | None:
    """Keep a copy of the edits that stand in a deployment's ``/etc`` and in no other one's.

    Args:
        host: the machine, locked by the caller.
        deployment: the one that is going to be removed.
        others: those that stay.

    Raises:
        NoSpaceError, WriteFailedError: the copy could not be written.
        EtcTooLargeError: an ``/etc`` is larger than any merge takes.
    """
    settings = host.configuration.etc
    etc = host.sysroot.deployment(deployment) / "etc"
    if not (etc.is_dir() and settings.keep_days and settings.keep_mib):
        return None
    entries = edits_only_in(host, deployment, others)
    return keep_copy(host, deployment, CopyReason.COLLECTED, entries)


def edits_only_in(
    host: Host, deployment: DeploymentId, others: Sequence[DeploymentId]
) -> list[tuple[bytes, Node]]:
    """Return the paths at which a deployment has neither its default nor what another one has."""
    try:
        with defaults_in(host.sysroot.deployment(deployment) / EROFS_NAME) as defaults:
            return _only_in(host, deployment, defaults, others)
    except DamagedImageError:
        # Its defaults are not known any more; then all that nobody else has counts as edited.
        return _only_in(host, deployment, Directory(Metadata()), others)


def _only_in(
    host: Host, deployment: DeploymentId, defaults: Directory, others: Sequence[DeploymentId]
) -> list[tuple[bytes, Node]]:
    contents = StoreContents(host.sysroot)
    etc = host.sysroot.deployment(deployment) / "etc"
    folders = [host.sysroot.deployment(other) / "etc" for other in others]
    folders = [folder for folder in folders if folder.is_dir()]
    # Contents are measured only where sizes agree, so each side needs a look at the others first.
    sizes = [scan_folder(folder).root for folder in folders]
    mine = scan_folder(etc, contents, [defaults, *sizes]).root
    elsewhere = [scan_folder(folder, contents, [mine]).root for folder in folders]
    edited = {
        path: node for change in changes_to(b"", defaults, mine) for path, node in _edited(change)
    }
    return [
        (path, node)
        for path, node in edited.items()
        if path
        and path not in NEVER_CARRIED
        and not isinstance(node, SpecialFile)
        and not any(same_node(node, lookup(tree, path)) for tree in elsewhere)
    ]


def _edited(change: Change) -> list[tuple[bytes, Node]]:
    """Return what an edit made; of a folder that is new also what is in it."""
    path, default, node = change.path, change.live, change.wanted
    if node is None:
        return []
    if isinstance(node, Directory) and not isinstance(default, Directory):
        return [(path, node), *walk(node, path + b"/")]
    return [(path, node)]
