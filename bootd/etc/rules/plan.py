"""The plan of a merge: the tree that will stand, what people are asked, how each path went. Pure.

`bootd.etc.rules.decide` makes a plan. Whoever knows better than the rules for whole files (account
databases, derived files, policies) changes it by the methods of `Plan` alone: tree, conflicts and
counts change together, or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from bootd.etc.rules.compare import LABELS, comparable_xattrs
from bootd.model.etc.report import ConflictKind, NoteKind
from bootd.model.tree import Directory, Metadata, Node, RegularFile, SpecialFile, Symlink


class Side(Enum):
    """Which tree a content is read from."""

    MINE = "mine"
    THEIRS = "theirs"


class Tally(Enum):
    """Which way a path went; the values are fields of `EtcCounts`."""

    TAKEN = "taken"
    REMOVED = "removed"
    KEPT = "kept"
    DELETED = "deleted"
    MERGED = "merged"


class Versions(NamedTuple):
    """What stands at one path in each tree; None: nothing."""

    base: Node | None
    mine: Node | None
    theirs: Node | None


@dataclass(slots=True)
class Outcome:
    """What the merged tree holds at one path.

    Attributes:
        content: the node whose type and content it has; of a folder only the type counts.
        side: the tree that node is in.
        metadata: all of mode, owner, attributes and time, as decided.
        children: what a folder holds.
    """

    content: Node
    side: Side
    metadata: Metadata
    children: dict[bytes, Outcome] = field(default_factory=dict)

    @classmethod
    def of_image(cls, theirs: Node) -> Outcome:
        """Return the outcome in which a node of the image stands with all that is below it."""
        entries = theirs.entries if isinstance(theirs, Directory) else {}
        children = {name: cls.of_image(node) for name, node in entries.items()}
        return cls(theirs, Side.THEIRS, theirs.metadata, children)

    def node(self) -> Node:
        """Return what will stand there, with all that is below."""
        match self.content:
            case Directory():
                children = {name: child.node() for name, child in self.children.items()}
                return Directory(self.metadata, children)
            case RegularFile() | Symlink() | SpecialFile() as leaf:
                # The same node where it is the same: one whose content is unknown equals no other.
                same = leaf.metadata is self.metadata or leaf.metadata == self.metadata
                return leaf if same else replace(leaf, metadata=self.metadata)

    def with_content(self, content: Node, side: Side) -> Outcome:
        """Return this outcome with another content and that content's time."""
        metadata = self.metadata.with_mtime(content.metadata.mtime)
        return Outcome(content, side, metadata, self.children)

    def below(self, path: bytes) -> Iterator[bytes]:
        """Yield the paths of all that is in a folder which stands at `path`."""
        for name, child in self.children.items():
            yield path + b"/" + name
            yield from child.below(path + b"/" + name)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Both sides changed a path, differently; mine stands."""

    path: bytes
    kind: ConflictKind
    versions: Versions
    detail: str = ""


@dataclass(slots=True)
class Plan:
    """The merged tree and what there is to say about it.

    Attributes:
        root: what ``/etc`` will be.
        conflicts: in the order of their paths; one path may have one of content and one of
            metadata.
        notes: path and kind of what there is to tell besides.
        ways: by path, which way it went; a path where nothing happened has none.
    """

    root: Outcome
    conflicts: list[Conflict]
    notes: list[tuple[bytes, NoteKind]]
    ways: dict[bytes, Tally]

    @property
    def tallies(self) -> Counter[Tally]:
        """How many paths went which way."""
        return Counter(self.ways.values())

    def tree(self) -> Directory:
        """Return the merged tree."""
        root = self.root.node()
        assert isinstance(root, Directory)
        return root

    def at(self, path: bytes) -> Outcome | None:
        """Return what will stand at a path; None: nothing. An empty path is the root."""
        outcome: Outcome | None = self.root
        for name in path.split(b"/") if path else ():
            outcome = None if outcome is None else outcome.children.get(name)
        return outcome

    def has_folder_for(self, path: bytes) -> bool:
        """Tell whether the folder that a path is in will stand."""
        parent = self.at(path.rpartition(b"/")[0])
        return parent is not None and isinstance(parent.content, Directory)

    def put(self, path: bytes, outcome: Outcome | None) -> None:
        """Let something else stand at a path, or nothing; nobody was asked, and no count changes.

        The folder of the path stands (see `has_folder_for`).
        """
        before, _, name = path.rpartition(b"/")
        parent = self.at(before)
        assert parent is not None
        if not path:
            assert outcome is not None
            self.root = outcome
        elif outcome is None:
            parent.children.pop(name, None)
        else:
            parent.children[name] = outcome

    def resolve(self, conflict: Conflict, outcome: Outcome | None, way: Tally) -> bool:
        """Answer a conflict: let `outcome` stand at its path, or nothing.

        What was below the path counts as removed where no folder stands there any more. The path
        itself counts as `way` as soon as it has no other conflict.

        Returns:
            False where the folder of the path does not stand; nothing was changed.
        """
        path = conflict.path
        if not self.has_folder_for(path):
            return False
        before = self.at(path)
        if before is not None and (outcome is None or not isinstance(outcome.content, Directory)):
            self.ways |= dict.fromkeys(before.below(path), Tally.REMOVED)
        self.put(path, outcome)
        self.conflicts.remove(conflict)
        if all(one.path != path for one in self.conflicts):
            self.ways[path] = way
        return True

    def take_theirs(self, conflict: Conflict) -> bool:
        """Answer a conflict with what the image has, be it nothing; see `resolve`."""
        theirs, there = conflict.versions.theirs, self.at(conflict.path)
        if theirs is None:
            return self.resolve(conflict, None, Tally.REMOVED)
        if there is not None and conflict.kind is ConflictKind.METADATA:
            metadata = dressed(theirs.metadata, there.metadata.mtime, there.metadata)
            outcome = replace(there, metadata=metadata)
        elif there is not None and conflict.kind is ConflictKind.CONTENT:
            outcome = there.with_content(theirs, Side.THEIRS)
        else:
            outcome = Outcome.of_image(theirs)
        return self.resolve(conflict, outcome, Tally.TAKEN)

    def dismiss(self, conflict: Conflict) -> None:
        """Take a conflict for none: mine stands, and nobody is asked."""
        self.conflicts.remove(conflict)

    def explain(self, conflict: Conflict, detail: str) -> None:
        """Leave a conflict open and say more about it."""
        self.conflicts[self.conflicts.index(conflict)] = replace(conflict, detail=detail)

    def ask(self, conflicts: Iterable[Conflict]) -> None:
        """Add conflicts that the rules for whole files do not know of; no count changes."""
        self.conflicts = sorted([*self.conflicts, *conflicts], key=lambda one: one.path)


def dressed(chosen: Metadata, mtime: tuple[int, int], labelled: Metadata) -> Metadata:
    """Return what was chosen with a time, and the labels of `labelled`."""
    if mtime == chosen.mtime and not chosen.xattrs and not labelled.xattrs:
        return chosen
    labels = {name: value for name, value in labelled.xattrs.items() if name in LABELS}
    xattrs = comparable_xattrs(chosen) | labels
    return Metadata(chosen.permissions, chosen.uid, chosen.gid, *mtime, xattrs)
