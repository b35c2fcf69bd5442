"""Where a policy says what becomes of a path that both sides changed.

It runs after the account databases were settled, which no policy touches: a user is a row in
several of them. What is each machine's own is no conflict. What cannot be done as a policy says
stays the conflict it was, and says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from bootd.etc.accounts.records import DATABASES
from bootd.etc.disk.contents import Contents
from bootd.etc.disk.descriptors import chunks_of, closing, open_file, open_parent
from bootd.etc.rules.decide import Conflict, Outcome, Plan, Side, Tally, dressed
from bootd.etc.rules.lines import MAX_TEXT, LinesClashError, merge_lines
from bootd.etc.rules.policy import EtcPolicies
from bootd.model.etc.policy import EtcPolicy
from bootd.model.etc.report import ConflictKind, EtcNote, NoteKind, etc_path
from bootd.model.tree import Directory, Node, RegularFile

NEW_SUFFIX: Final = b".bootd-new"
MAX_MERGED: Final = 32 << 20
"""Most bytes of merged text that one merge holds in memory."""
_ACCOUNTS: Final = frozenset(name.encode() for name in DATABASES)


def settle_text(plan: Plan, mine: int, contents: Contents, policies: EtcPolicies) -> list[EtcNote]:
    """Put what the policies say into a plan; return what there is to tell.

    Args:
        plan: what the whole-file rules decided.
        mine: a descriptor of the machine's ``/etc``.
        contents: where image files come from.
        policies: by path.

    Raises:
        DamagedObjectError: a content of an image is missing.
    """
    settling = _Settling(plan, mine, contents)
    for conflict in [one for one in plan.conflicts if one.kind is not ConflictKind.ACCOUNT]:
        if policies.is_own(conflict.path):
            plan.conflicts.remove(conflict)
        elif conflict.path not in _ACCOUNTS:
            settling.apply(policies.policy(conflict.path), conflict)
    return settling.notes


@dataclass(slots=True)
class _Settling:
    plan: Plan
    mine: int
    contents: Contents
    merged: int = 0
    notes: list[EtcNote] = field(default_factory=list)

    def apply(self, policy: EtcPolicy, conflict: Conflict) -> None:
        if policy is EtcPolicy.KEEP_MINE:
            return
        place = _place(self.plan.root, conflict.path)
        if place is None:
            self._explain(conflict, "its folder was deleted here, so the policy is not followed")
            return
        folder, name = place
        theirs = conflict.versions.theirs
        if policy is EtcPolicy.TAKE_THEIRS:
            take_theirs(self.plan, conflict)
            self._tell(conflict, "the image's was taken, yours given up")
        elif policy is EtcPolicy.KEEP_BOTH and theirs is not None:
            if conflict.kind is not ConflictKind.METADATA and not isinstance(theirs, Directory):
                self._keep_both(conflict, folder, name + NEW_SUFFIX, theirs)
        elif policy is EtcPolicy.MERGE and conflict.kind is ConflictKind.CONTENT:
            self._merge(conflict, folder.children[name])

    def _keep_both(self, conflict: Conflict, folder: Outcome, name: bytes, theirs: Node) -> None:
        where = etc_path(conflict.path + NEW_SUFFIX)
        there = folder.children.get(name)
        if there is not None and isinstance(there.content, Directory):
            self._explain(conflict, f"{where} is a folder, so the image's is not beside it")
            return
        folder.children[name] = Outcome(theirs, Side.THEIRS, theirs.metadata)
        self._explain(conflict, f"the image's is beside it as {where}")

    def _merge(self, conflict: Conflict, outcome: Outcome) -> None:
        try:
            data = self._merged(conflict)
        except LinesClashError as error:
            self._explain(conflict, f"not merged by line: {error}")
            return
        _, mine, theirs = conflict.versions
        assert mine is not None
        assert theirs is not None
        newest = max((mine, theirs), key=_time).metadata
        dress = replace(
            outcome.metadata,
            mtime_seconds=newest.mtime_seconds,
            mtime_nanoseconds=newest.mtime_nanoseconds,
        )
        outcome.content, outcome.side = RegularFile(dress, len(data), data), Side.MINE
        outcome.metadata = dress
        _settled(self.plan, conflict, Tally.MERGED)
        self._tell(conflict, "merged by line")

    def _merged(self, conflict: Conflict) -> bytes:
        base, mine, theirs = conflict.versions
        data = merge_lines(
            b"" if base is None else self._image_text(base),
            self._own_text(mine, conflict.path),
            self._image_text(theirs),
        )
        self.merged += len(data)
        if self.merged > MAX_MERGED:
            raise LinesClashError(f"more than {MAX_MERGED >> 20} MiB would be merged")
        return data

    def _image_text(self, node: Node | None) -> bytes:
        file = _text_file(node)
        if file.content is not None:
            return file.content
        with closing(self.contents.open(file)) as descriptor:
            assert descriptor is not None
            return b"".join(chunks_of(descriptor, MAX_TEXT))

    def _own_text(self, node: Node | None, path: bytes) -> bytes:
        file = _text_file(node)
        if file.content is not None:
            return file.content
        with (
            closing(open_parent(self.mine, path)) as parent,
            closing(
                None if parent is None else open_file(path.rpartition(b"/")[2], parent)
            ) as descriptor,
        ):
            if descriptor is None:
                raise LinesClashError("it vanished while it was read")
            return b"".join(chunks_of(descriptor, MAX_TEXT))

    def _tell(self, conflict: Conflict, detail: str) -> None:
        path = etc_path(conflict.path)
        self.notes.append(EtcNote(path=path, kind=NoteKind.POLICY, detail=detail))

    def _explain(self, conflict: Conflict, detail: str) -> None:
        index = self.plan.conflicts.index(conflict)
        self.plan.conflicts[index] = replace(conflict, detail=detail)


def take_theirs(plan: Plan, conflict: Conflict) -> bool:
    """Let the image's stand at a conflict, be it nothing, so that it is none any more.

    Returns:
        False where the folder of the path does not stand; then nothing is changed.
    """
    place = _place(plan.root, conflict.path)
    if place is None:
        return False
    folder, name = place
    there, theirs = folder.children.get(name), conflict.versions.theirs
    kept = 0 if there is None else _count(there)
    if conflict.kind is ConflictKind.METADATA:
        assert there is not None
        assert theirs is not None
        time = there.metadata.mtime_seconds, there.metadata.mtime_nanoseconds
        there.metadata = dressed(theirs.metadata, time, there.metadata)
    elif conflict.kind is ConflictKind.CONTENT:
        assert there is not None
        assert theirs is not None
        _replace(there, theirs, Side.THEIRS)
    elif theirs is None:
        del folder.children[name]
    else:
        folder.children[name] = _outcome_of(theirs)
    if conflict.kind in (ConflictKind.DELETED_THERE, ConflictKind.TYPE):
        # Of a folder all that is in it was kept, and goes now.
        plan.tallies[Tally.KEPT] -= kept - 1
        plan.tallies[Tally.REMOVED] += kept - 1
    _settled(plan, conflict, Tally.REMOVED if theirs is None else Tally.TAKEN)
    return True


def _settled(plan: Plan, conflict: Conflict, way: Tally) -> None:
    plan.conflicts.remove(conflict)
    if not any(one.path == conflict.path for one in plan.conflicts):
        was_deleted = conflict.kind is ConflictKind.DELETED_HERE
        plan.tallies[Tally.DELETED if was_deleted else Tally.KEPT] -= 1
        plan.tallies[way] += 1


def _place(root: Outcome, path: bytes) -> tuple[Outcome, bytes] | None:
    """Return the folder of a path in the plan, and the name in it; None: no such folder stands."""
    *folders, name = path.split(b"/")
    here: Outcome | None = root
    for folder in folders:
        here = None if here is None else here.children.get(folder)
    return None if here is None or not isinstance(here.content, Directory) else (here, name)


def _outcome_of(theirs: Node) -> Outcome:
    """Return the outcome in which a node of the image stands with all that is below it."""
    entries = theirs.entries if isinstance(theirs, Directory) else {}
    children = {name: _outcome_of(node) for name, node in entries.items()}
    return Outcome(theirs, Side.THEIRS, theirs.metadata, children)


def _count(outcome: Outcome) -> int:
    return 1 + sum(map(_count, outcome.children.values()))


def _replace(outcome: Outcome, content: Node, side: Side) -> None:
    time = content.metadata
    outcome.content, outcome.side = content, side
    outcome.metadata = replace(
        outcome.metadata,
        mtime_seconds=time.mtime_seconds,
        mtime_nanoseconds=time.mtime_nanoseconds,
    )


def _text_file(node: Node | None) -> RegularFile:
    if not isinstance(node, RegularFile):
        raise LinesClashError("it is no regular file")
    if node.size > MAX_TEXT:
        raise LinesClashError(f"it has more than {MAX_TEXT >> 20} MiB")
    return node


def _time(node: Node) -> tuple[int, int]:
    return node.metadata.mtime_seconds, node.metadata.mtime_nanoseconds
