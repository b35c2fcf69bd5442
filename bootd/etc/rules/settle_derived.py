"""Where derived files are no conflicts, and what is to be made anew after a merge. Pure.

Such a file is nobody's edit: the image's stands until the new deployment makes it anew out of the
merged inputs, before its services start. A rule is due where anything that it makes, or makes it
from, is another in the merged ``/etc`` than in the image's, and somebody has one of its files at
all. What is the same on both sides was made by whoever built the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bootd.etc.rules.compare import same_content
from bootd.etc.rules.derived import Derived
from bootd.etc.rules.plan import Conflict, Plan
from bootd.model.etc.report import ConflictKind, EtcNote, NoteKind, etc_path
from bootd.model.tree import Directory, Node

_SHOWN: Final = 5
"""How many more of a rule's paths a note names."""


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be made anew after a merge.

    Attributes:
        derived: the rule.
        paths: of what it makes that which is another than in the image, or was; all if nothing is.
    """

    derived: Derived
    paths: list[bytes]

    def note(self) -> EtcNote:
        """Return what there is to tell."""
        first, *more = self.paths
        words = [f"rule {self.derived.name}: {self.derived.rule.command[0]}"]
        if more:
            named = ", ".join(map(etc_path, more[:_SHOWN]))
            rest = len(more) - _SHOWN
            words.append(f"also {named}{f' and {rest} more' if rest > 0 else ''}")
        return EtcNote(path=etc_path(first), kind=NoteKind.DERIVED, detail="; ".join(words))


def settle_derived(
    plan: Plan, mine: Directory, theirs: Directory, rules: Iterable[Derived]
) -> dict[str, list[bytes]]:
    """Let the image's stand where derived files clash; return those paths, by rule.

    Args:
        plan: what the whole-file rules decided.
        mine: the machine's tree.
        theirs: the new defaults.
        rules: what can be made anew in the new deployment.
    """
    settled: dict[str, list[bytes]] = {}
    listed = list(rules)
    used: dict[str, bool] = {}
    for conflict in [one for one in plan.conflicts if one.kind is not ConflictKind.ACCOUNT]:
        rule = next((one for one in listed if _is_made(one, conflict)), None)
        if rule is None:
            continue
        if rule.name not in used:
            used[rule.name] = rule.has_inputs(mine, theirs)
        if not used[rule.name]:
            continue
        if not plan.take_theirs(conflict):
            # Its folder was deleted here, and stays so unless the rule makes it.
            plan.dismiss(conflict)
        settled.setdefault(rule.name, []).append(conflict.path)
    return settled


def due_rules(
    rules: Iterable[Derived],
    mine: Directory,
    theirs: Directory,
    merged: Directory,
    settled: Mapping[str, list[bytes]],
) -> list[Due]:
    """Return what is to be made anew, by rule.

    Args:
        rules: what can be.
        mine: the machine's tree.
        theirs: the new defaults.
        merged: what the merge made of them.
        settled: where derived files clashed, by rule.
    """
    listed = list(rules)
    if not listed:
        return []
    differing = dict(_differences(theirs, merged))
    coming = dict(_differences(mine, merged)) if any(one.followed for one in listed) else {}
    found = []
    for one in listed:
        other = [path for path, node in differing.items() if one.concerns(path, node)]
        other += [path for path in coming if one.follows(path)]
        if one.name not in settled and not other:
            continue
        outputs = {*one.outputs_in(mine), *one.outputs_in(theirs)}
        if outputs and one.has_inputs(mine, theirs):
            changed = {*settled.get(one.name, ()), *other} & outputs
            found.append(Due(one, sorted(changed or outputs, key=one.rank)))
    return found


def _is_made(rule: Derived, conflict: Conflict) -> bool:
    """Tell whether no side of a conflict has anything there that the rule would not make."""
    _, mine, theirs = conflict.versions
    there = [node for node in (mine, theirs) if node is not None]
    return bool(there) and all(rule.makes(conflict.path, node) for node in there)


def _differences(
    theirs: Node | None, merged: Node | None, path: bytes = b""
) -> Iterator[tuple[bytes, Node]]:
    """Yield each path at which two trees have another content, with what one of them has there."""
    if theirs is merged:
        return
    if path and not same_content(theirs, merged):
        node = merged if merged is not None else theirs
        assert node is not None
        yield path, node
    one, other = (node.entries if isinstance(node, Directory) else {} for node in (theirs, merged))
    for name in sorted(one.keys() | other.keys()):
        below = path + b"/" + name if path else name
        yield from _differences(one.get(name), other.get(name), below)
