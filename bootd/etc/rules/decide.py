"""The three-way rules of ``/etc`` (docs/etc.md, "Whole files"). Pure: trees in, a plan out.

Base is what the machine's defaults were, mine what it made of them, theirs the new defaults. At
each path content and metadata are decided apart: changed on one side only, that side; to the same
on both, that; differently on both, mine, and a conflict. No combination of trees raises.

Beyond that:

* A folder's content is that it is one; what it holds is decided path by path, as long as theirs has
  the folder, too. One that became a file, a link or nothing there goes whole, or stays whole when
  something of mine is in it. A folder that was deleted here comes back when theirs has new names in
  it.
* Metadata only means something on the type of file it was given to. On what the image removed or
  replaced by another type, a change of it is dropped with a note.
* A special file of mine that is no one's default is not carried: the rules see nothing there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from bootd.etc.rules.compare import same_content, same_metadata, same_node, same_tree, same_type
from bootd.etc.rules.plan import Conflict, Outcome, Plan, Side, Tally, Versions, dressed
from bootd.model.etc.report import ConflictKind, NoteKind
from bootd.model.tree import Directory, Metadata, Node, RegularFile, SpecialFile, walk

NEVER_CARRIED: Final = frozenset({b".updated"})
"""Names right below ``/etc`` that no merge carries: without the stamp, ``ConditionNeedsUpdate=`` of
systemd holds at the next boot (systemd-update-done.service(8))."""


def decide(base: Directory, mine: Directory, theirs: Directory) -> Plan:
    """Apply the rules to three trees of ``/etc``."""
    decision = _Decision(_linked_files(mine))
    versions = Versions(*(_without(NEVER_CARRIED, tree) for tree in (base, mine, theirs)))
    root = decision.at(b"", versions)
    assert root is not None
    # Mine stands at a conflict. Of a folder that only holds something of mine the image's metadata
    # would be taken.
    for path in {conflict.path for conflict in decision.conflicts} & decision.ways.keys():
        if decision.ways[path] in (Tally.MERGED, Tally.TAKEN):
            decision.ways[path] = Tally.KEPT
    conflicts = sorted(decision.conflicts, key=lambda conflict: conflict.path)
    return Plan(root, conflicts, sorted(decision.notes), decision.ways)


def _alike_specials(base: Node | None, mine: Node | None) -> Iterator[int]:
    """Return the identities of the special files of mine that base has at the same paths."""
    if isinstance(base, Directory) and isinstance(mine, Directory):
        for name, node in mine.entries.items():
            yield from _alike_specials(base.entries.get(name), node)
    elif isinstance(mine, SpecialFile) and same_content(mine, base):
        yield id(mine)


@dataclass(slots=True)
class _Decision:
    """One run over the trees; `linked` are the identities of my files with several names.

    `shipped` are those of my special files that base has alike, in folders that stay whole.
    """

    linked: frozenset[int]
    shipped: set[int] = field(default_factory=set)
    conflicts: list[Conflict] = field(default_factory=list)
    notes: list[tuple[bytes, NoteKind]] = field(default_factory=list)
    ways: dict[bytes, Tally] = field(default_factory=dict)

    def at(self, path: bytes, versions: Versions) -> Outcome | None:
        """Decide one path with all that is below it; None: nothing stands there."""
        base, mine, theirs = versions
        if base and theirs and isinstance(mine, RegularFile) and _all_same(versions):
            return self._untouched(base, mine, theirs)
        if isinstance(mine, SpecialFile) and not (
            same_content(mine, base) or same_content(mine, theirs) or id(mine) in self.shipped
        ):
            self.notes.append((path, NoteKind.SPECIAL_SKIPPED))
            versions = Versions(base, None, theirs)
        if isinstance(versions.mine, Directory):
            outcome = self._my_folder(path, versions)
        elif isinstance(versions.theirs, Directory):
            outcome = self._their_folder(path, versions)
        else:
            outcome = self._no_folder(path, versions)
        way = _way(versions, stands=outcome is not None)
        if way is not None:
            self.ways[path] = way
        self._note_dropped_metadata(path, versions, outcome)
        return outcome

    def _untouched(self, base: Node, mine: Node, theirs: Node) -> Outcome:
        """Decide a file that all three have alike, as nearly all of ``/etc`` is."""
        newer = theirs if mine.metadata.mtime == base.metadata.mtime else mine
        side = self._source(mine)
        content = mine if side is Side.MINE else theirs
        return Outcome(content, side, dressed(theirs.metadata, newer.metadata.mtime, mine.metadata))

    def _source(self, mine: Node | None) -> Side:
        """Return the side to read from what both have."""
        # A file of several names keeps them when its own node is the source of each.
        return Side.MINE if id(mine) in self.linked else Side.THEIRS

    def _my_folder(self, path: bytes, versions: Versions) -> Outcome | None:
        base, _, theirs = versions
        if isinstance(base, Directory) and not isinstance(theirs, Directory):
            return self._folder_without_theirs(path, versions)
        children = self._children(path, versions)
        if not isinstance(theirs, Directory) and not same_content(base, theirs):
            self._conflict(path, versions)
        return self._keep(path, versions, Side.MINE, children)

    def _folder_without_theirs(self, path: bytes, versions: Versions) -> Outcome | None:
        """Decide a folder of mine and base which theirs has as a file or link, or not at all.

        With something of mine left in it the folder is one thing and one question: what nobody
        changed stays beside it, since half a folder is neither side's configuration.
        """
        trial = _Decision(self.linked, self.shipped)
        if not trial._children(path, versions):
            self.conflicts += trial.conflicts
            self.notes += trial.notes
            self.ways |= trial.ways
            return self._take(path, versions, Side.THEIRS)
        self.shipped |= set(_alike_specials(versions.base, versions.mine))
        children = self._children(path, Versions(None, versions.mine, None))
        self._conflict(path, versions)
        return self._keep(path, versions, Side.MINE, children)

    def _their_folder(self, path: bytes, versions: Versions) -> Outcome | None:
        base, mine, theirs = versions
        if mine is None and isinstance(base, Directory):
            return self._deleted_folder(path, versions)
        if same_content(mine, base):
            children = self._children(path, Versions(None, None, theirs))
            return self._keep(path, versions, Side.THEIRS, children)
        if not same_tree(base, theirs):
            self._conflict(path, versions)
        return self._take(path, versions, Side.MINE)

    def _deleted_folder(self, path: bytes, versions: Versions) -> Outcome | None:
        children = self._children(path, versions)
        if children:
            self.notes.append((path, NoteKind.FOLDER_REVIVED))
            return self._keep(path, versions, Side.THEIRS, children)
        if not same_node(versions.base, versions.theirs):
            self._conflict(path, versions)
        return None

    def _no_folder(self, path: bytes, versions: Versions) -> Outcome | None:
        """Decide where at most base is a folder."""
        base, mine, theirs = versions
        if same_content(mine, theirs):
            return self._take(path, versions, self._source(mine))
        if same_content(mine, base):
            return self._take(path, versions, Side.THEIRS)
        if not same_content(base, theirs) or (mine is None and not same_node(base, theirs)):
            self._conflict(path, versions)
        return self._take(path, versions, Side.MINE)

    def _children(self, path: bytes, versions: Versions) -> dict[bytes, Outcome]:
        base, mine, theirs = (
            node.entries if isinstance(node, Directory) else {} for node in versions
        )
        prefix = path + b"/" if path else b""
        outcomes = {}
        for name in sorted(base.keys() | mine.keys() | theirs.keys()):
            below = Versions(base.get(name), mine.get(name), theirs.get(name))
            outcome = self.at(prefix + name, below)
            if outcome is not None:
                outcomes[name] = outcome
        return outcomes

    def _take(self, path: bytes, versions: Versions, side: Side) -> Outcome | None:
        """Take a side as it is, which may be nothing."""
        content = versions.mine if side is Side.MINE else versions.theirs
        return None if content is None else self._keep(path, versions, side, {})

    def _keep(
        self, path: bytes, versions: Versions, side: Side, children: dict[bytes, Outcome]
    ) -> Outcome:
        content = versions.mine if side is Side.MINE else versions.theirs
        assert content is not None
        alike = Versions(*(node if same_type(node, content) else None for node in versions))
        chosen = self._metadata(path, alike)
        labelled = alike.mine.metadata if alike.mine else chosen
        metadata = dressed(chosen, _mtime(alike, content), labelled)
        return Outcome(content, side, metadata, children)

    def _metadata(self, path: bytes, alike: Versions) -> Metadata:
        """Return the metadata that stands, of versions that are all of the decided type."""
        base, mine, theirs = alike
        if mine is None or theirs is None:
            only = mine or theirs
            assert only is not None
            return only.metadata
        if same_metadata(mine, theirs) or (base is not None and same_metadata(mine, base)):
            return theirs.metadata
        if base is None or not same_metadata(theirs, base):
            self.conflicts.append(Conflict(path, ConflictKind.METADATA, alike))
        return mine.metadata

    def _conflict(self, path: bytes, versions: Versions) -> None:
        _, mine, theirs = versions
        if mine is None:
            kind = ConflictKind.DELETED_HERE
        elif theirs is None:
            kind = ConflictKind.DELETED_THERE
        elif same_type(mine, theirs):
            kind = ConflictKind.CONTENT
        else:
            kind = ConflictKind.TYPE
        self.conflicts.append(Conflict(path, kind, versions))

    def _note_dropped_metadata(
        self, path: bytes, versions: Versions, outcome: Outcome | None
    ) -> None:
        base, mine, _ = versions
        if base is None or mine is None or not same_content(base, mine):
            return
        gone = outcome is None or not same_type(outcome.content, mine)
        if gone and not same_metadata(base, mine):
            self.notes.append((path, NoteKind.METADATA_DROPPED))


def _way(versions: Versions, *, stands: bool) -> Tally | None:
    """Return which way a path went; None: nothing happened to it, or it is nowhere."""
    base, mine, theirs = versions
    if mine is None:
        if stands:
            return Tally.TAKEN
        return Tally.DELETED if theirs is not None else None
    if not stands:
        return Tally.REMOVED
    if theirs is None:
        return Tally.KEPT
    changed_here = not same_node(base, mine)
    changed_there = not same_node(base, theirs)
    if changed_here:
        return Tally.MERGED if changed_there else Tally.KEPT
    return Tally.TAKEN if changed_there else None


def _all_same(versions: Versions) -> bool:
    base, mine, theirs = versions
    return same_node(mine, base) and same_node(mine, theirs)


def _mtime(alike: Versions, content: Node) -> tuple[int, int]:
    """Return the modification time: that of the content's side.

    Where both sides have the same content the times themselves are merged three ways, so that an
    untouched file gets its new default's time and a touched one keeps its own.
    """
    base, mine, theirs = alike
    if mine is None or theirs is None or not same_content(mine, theirs):
        return content.metadata.mtime
    touched = (
        base is not None and same_content(base, mine) and mine.metadata.mtime != base.metadata.mtime
    )
    return (mine if touched else theirs).metadata.mtime


def _linked_files(mine: Directory) -> frozenset[int]:
    """Return the identities of the files that stand under several names."""
    names = Counter(id(node) for _, node in walk(mine) if isinstance(node, RegularFile))
    return frozenset(identity for identity, count in names.items() if count > 1)


def _without(names: frozenset[bytes], directory: Directory) -> Directory:
    entries = {name: node for name, node in directory.entries.items() if name not in names}
    return Directory(directory.metadata, entries)
