"""SELinux labels of what arrives in ``/etc``, by the policy that will be in force there.

That is the policy as the merge leaves it: the image's, with what this machine's administrator added
(``file_contexts.local``, or modules of their own). A file that the machine has with a label keeps
that one, since restorecon(8) and chcon(1) are the administrator's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from bootd.etc.disk.contents import Openable
from bootd.etc.disk.descriptors import chunks_of, closing, open_file, open_parent
from bootd.etc.rules.compare import SELINUX, same_type
from bootd.etc.rules.plan import Outcome, Plan, Side
from bootd.model.tree import Directory, Node, RegularFile

READ_LIMIT: Final = 16 << 20
"""Most bytes of one of the policy's files."""
Read = Callable[[str], bytes | None]
"""Returns what a file below ``/etc`` will hold; None where there will be no such file."""
Labels = Callable[[bytes, Node], bytes | None]
"""Returns the label of what will stand at an absolute path; None: it has none."""
Labelling = Callable[[Read], Labels | None]
"""Makes labels of the policy that is read; None: there is none, or it cannot be used. The store
answers this; the merge only knows the shape."""


def label_plan(
    plan: Plan, mine: Directory, source: int, contents: Openable, labelling: Labelling
) -> None:
    """Label what a plan lets arrive, and what of the machine's has no label yet.

    Args:
        plan: it is changed in place.
        mine: the machine's tree.
        source: a descriptor of the machine's ``/etc``.
        contents: where image files come from.
        labelling: makes the labels.

    Raises:
        DamagedObjectError: a content of the image is missing.
    """
    labels = labelling(_PlannedFiles(plan, source, contents).read)
    if labels is not None:
        _label(plan.root, mine, b"/etc", labels)


def _label(outcome: Outcome, mine: Node | None, path: bytes, labels: Labels) -> None:
    has_own = mine is not None and same_type(mine, outcome.content)
    if not has_own or SELINUX not in outcome.metadata.xattrs:
        label = labels(path, outcome.content)
        xattrs = {name: one for name, one in outcome.metadata.xattrs.items() if name != SELINUX}
        if label is not None:
            xattrs[SELINUX] = label
        outcome.metadata = replace(outcome.metadata, xattrs=xattrs)
    below = mine.entries if isinstance(mine, Directory) else {}
    for name, child in outcome.children.items():
        _label(child, below.get(name), path + b"/" + name, labels)


@dataclass(frozen=True, slots=True)
class _PlannedFiles:
    plan: Plan
    source: int
    contents: Openable

    def read(self, name: str) -> bytes | None:
        path = name.encode()
        outcome = self.plan.at(path)
        if outcome is None or not isinstance(outcome.content, RegularFile):
            return None
        if outcome.content.content is not None:
            return outcome.content.content
        if outcome.side is Side.THEIRS:
            with closing(self.contents.open(outcome.content)) as descriptor:
                assert descriptor is not None
                return b"".join(chunks_of(descriptor, READ_LIMIT))
        with (
            closing(open_parent(self.source, path)) as parent,
            closing(
                None if parent is None else open_file(path.rpartition(b"/")[2], parent)
            ) as descriptor,
        ):
            return None if descriptor is None else b"".join(chunks_of(descriptor, READ_LIMIT))
