"""Bringing edits of ``/etc`` along when the machine goes to a deployment that has an older one.

It is a merge like any other: mine is the ``/etc`` of the deployment that is left, theirs the one
that waits in the other, and base what mine was to begin with, as far as that is known: its
defaults, and at paths where it began with what the other still has, just that. So what was edited,
or deleted, only since then is a change of one side, and an edit that was made in the other later is
none that mine took back. Order of writes: a copy of what the
merge replaces there; the merged ``/etc`` under a temporary name, syncfs, and then both change names
at once. The target may boot at any moment, and has a whole ``/etc`` at each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootd.durable import temporary_name
from bootd.etc.disk.change import changes_to
from bootd.etc.disk.folder_contents import FolderContents
from bootd.etc.disk.snapshot import scan_folder
from bootd.etc.merge import merge_trees, preview_merge
from bootd.etc.report import describe
from bootd.etc.rules.decide import NEVER_CARRIED
from bootd.etc.rules.settle import Elsewhere
from bootd.model.deployment import DeploymentId
from bootd.model.etc.change import CopyReason
from bootd.model.etc.report import EtcReport, below_etc, etc_path
from bootd.model.tree import Directory, Node, lookup, walk
from bootd.operations.etc.merge import Sides, accounts_elsewhere, as_due, defaults_in
from bootd.operations.etc.moment import Edits, fingerprint, read_edits
from bootd.operations.etc.rules import policies_going_back
from bootd.operations.etc_copies import keep_copy
from bootd.operations.etc_derive import add_due
from bootd.operations.host import Host
from bootd.store.contents import StoreContents
from bootd.store.images.image import EROFS_NAME


@dataclass(frozen=True, slots=True)
class Carried:
    """What carrying did.

    Attributes:
        report: of the merge.
        kept_as: the copy of what it replaced, or None.
    """

    report: EtcReport
    kept_as: str | None


def left_behind(host: Host, left: DeploymentId, target: DeploymentId) -> list[str]:
    """Return the paths at which carrying the edits along would change the target's ``/etc``.

    Args:
        host: the machine, locked by the caller.
        left: the deployment that the machine is on.
        target: the one it goes to.

    Raises:
        EtcTooLargeError, WriteFailedError, DamagedImageError: what is there cannot be read.
    """
    with _sides(host, left, target) as three:
        return [] if three is None else [etc_path(path) for path, _ in _replaced(three)]


def carry(host: Host, left: DeploymentId, target: DeploymentId) -> Carried:
    """Merge the edits of the one deployment into the ``/etc`` of the other, durably.

    Raises:
        NoSpaceError: there is no room; nothing was changed.
        EtcTooLargeError, WriteFailedError, DamagedImageError, DamagedObjectError: nothing was
            changed.
    """
    disk = host.sysroot.disk
    finished = host.sysroot.deployment(target) / "etc"
    building = temporary_name(finished)
    with _sides(host, left, target) as three:
        if three is None:
            return Carried(EtcReport(), None)
        replaced = _replaced(three)
        if not replaced:
            return Carried(EtcReport(), None)
        disk.remove_tree(building)
        trees = merge_trees(
            three.base, three.mine, three.theirs, three.contents, building, policies=three.policies
        )
        kept = keep_copy(
            host,
            target,
            CopyReason.CARRIED,
            [(path, node) for path, node in replaced if node is not None],
            [path for path, node in replaced if node is None],
        )
    # Before the exchange: to make them anew once too often does no harm.
    add_due(host.sysroot, target, as_due(trees))
    disk.exchange_directories(building, finished)
    disk.remove_tree(building)
    return Carried(trees.report, None if kept is None else kept.name)


@contextmanager
def _sides(host: Host, left: DeploymentId, target: DeploymentId) -> Iterator[Sides | None]:
    mine, waiting = (host.sysroot.deployment(one) / "etc" for one in (left, target))
    if left == target or not (mine.is_dir() and waiting.is_dir()):
        yield None
        return
    store = StoreContents(host.sysroot)
    erofs = host.sysroot.deployment(target) / EROFS_NAME
    policies = policies_going_back(host.configuration.etc, erofs, store)
    with defaults_in(host.sysroot.deployment(left) / EROFS_NAME) as base:
        # Contents are measured where sizes agree, so the one side needs a look at the other first.
        theirs = scan_folder(waiting, store, (base, scan_folder(mine).root)).root
        contents = FolderContents(waiting, walk(theirs), store)
        began = _began_with(host, left, base, theirs, waiting)
        known = accounts_elsewhere(erofs, store)
        elsewhere = Elsewhere(known, known)
        yield Sides(left, began, mine, theirs, contents, policies, elsewhere)


def _began_with(
    host: Host, left: DeploymentId, defaults: Directory, theirs: Directory, waiting: Path
) -> Directory:
    """Return the defaults with what the other one has where the ``/etc`` began with the same."""
    edits = read_edits(host.sysroot, left)
    began = defaults
    store = StoreContents(host.sysroot)
    for path, digest in sorted((edits or Edits()).edits.items()):
        place = below_etc(path)
        node = lookup(theirs, place)
        if fingerprint(describe(node, place, waiting, store)) == digest:
            began = _with_node(began, place.split(b"/"), node)
    return began


def _with_node(folder: Directory, names: Sequence[bytes], node: Node | None) -> Directory:
    """Return a folder that has a node at a path; the folder that was given stays as it is.

    A folder keeps what it holds, since each path stands for itself.
    """
    name, *rest = names
    if not name:
        return Directory(node.metadata, folder.entries) if node else folder
    entries = dict(folder.entries)
    there = entries.get(name)
    if rest:
        if isinstance(there, Directory):
            entries[name] = _with_node(there, rest, node)
    elif node is None:
        entries.pop(name, None)
    elif isinstance(node, Directory):
        held = there.entries if isinstance(there, Directory) else {}
        entries[name] = Directory(node.metadata, held)
    else:
        entries[name] = node
    return Directory(folder.metadata, entries)


def _replaced(three: Sides) -> list[tuple[bytes, Node | None]]:
    """Return what stands in the target at each path that the merge changes, a folder's whole."""
    sides = three.base, three.mine, three.theirs
    planned = preview_merge(*sides, three.contents, three.policies).merged
    found: list[tuple[bytes, Node | None]] = []
    for change in changes_to(b"", three.theirs, planned):
        found.append((change.path, change.live))
        if isinstance(change.live, Directory) and not isinstance(change.wanted, Directory):
            found += walk(change.live, change.path + b"/")
    return [(path, node) for path, node in found if path and path not in NEVER_CARRIED]
