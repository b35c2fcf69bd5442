"""Where a policy says what becomes of a path that both sides changed.

It runs after the account databases were settled, which no policy touches: a user is a row in
several of them. What is each machine's own is no conflict. What cannot be done as a policy says
stays the conflict it was, and says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bootd.etc.accounts.records import DATABASES
from bootd.etc.disk.contents import Contents
from bootd.etc.disk.descriptors import chunks_of, closing, open_file, open_parent
from bootd.etc.rules.lines import MAX_TEXT, LinesClashError, merge_lines
from bootd.etc.rules.plan import Conflict, Outcome, Plan, Side, Tally
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
            plan.dismiss(conflict)
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
        path, theirs = conflict.path, conflict.versions.theirs
        if not self.plan.has_folder_for(path):
            detail = "its folder was deleted here, so the policy is not followed"
            self.plan.explain(conflict, detail)
        elif policy is EtcPolicy.TAKE_THEIRS:
            self.plan.take_theirs(conflict)
            self._tell(conflict, "the image's was taken, yours given up")
        elif policy is EtcPolicy.KEEP_BOTH and theirs is not None:
            if conflict.kind is not ConflictKind.METADATA and not isinstance(theirs, Directory):
                self._keep_both(conflict, theirs)
        elif policy is EtcPolicy.MERGE and conflict.kind is ConflictKind.CONTENT:
            self._merge(conflict)

    def _keep_both(self, conflict: Conflict, theirs: Node) -> None:
        beside = conflict.path + NEW_SUFFIX
        where, there = etc_path(beside), self.plan.at(beside)
        if there is not None and isinstance(there.content, Directory):
            detail = f"{where} is a folder, so the image's is not beside it"
        else:
            self.plan.put(beside, Outcome(theirs, Side.THEIRS, theirs.metadata))
            detail = f"the image's is beside it as {where}"
        self.plan.explain(conflict, detail)

    def _merge(self, conflict: Conflict) -> None:
        try:
            data = self._merged(conflict)
        except LinesClashError as error:
            self.plan.explain(conflict, f"not merged by line: {error}")
            return
        mine, theirs, there = (*conflict.versions[1:], self.plan.at(conflict.path))
        assert mine is not None
        assert theirs is not None
        assert there is not None
        newest = max(mine.metadata, theirs.metadata, key=lambda metadata: metadata.mtime)
        outcome = there.with_content(RegularFile(newest, len(data), data), Side.MINE)
        self.plan.resolve(conflict, outcome, Tally.MERGED)
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


def _text_file(node: Node | None) -> RegularFile:
    if not isinstance(node, RegularFile):
        raise LinesClashError("it is no regular file")
    if node.size > MAX_TEXT:
        raise LinesClashError(f"it has more than {MAX_TEXT >> 20} MiB")
    return node
