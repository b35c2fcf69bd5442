"""Which label a path gets: the specifications of a policy by the folder they begin at.

Nearly all of them are a path, or a path with everything below it, and are found by name. Those
that remain wait at the folder that they name to begin with, and join the automaton when a walk
comes there; so an expression for what an image does not have is never looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from bootd.store.selinux.automaton import (
    ALL_KINDS,
    KINDS,
    NOTHING,
    WORK_LIMIT,
    Automaton,
    Best,
    State,
    WorkError,
)
from bootd.store.selinux.expression import ExpressionError, LookAroundError, parse
from bootd.store.selinux.look_around import LookAround, look_around
from bootd.store.selinux.specifications import (
    Shape,
    Specification,
    SpecificationError,
    shape_of,
)


@dataclass(slots=True)
class _Name:
    """A name that specifications begin with.

    Attributes:
        names: those in it.
        exact: specifications that are this path, by kind.
        tree: the same for those that are this path and everything below.
        below: the same for those that are everything below.
        waiting: the others, which begin in this folder.
        begins: where those begin in the automaton, once a walk came here.
        looking: those of them that look around.
    """

    names: dict[bytes, _Name] = field(default_factory=dict)
    exact: Best = NOTHING
    tree: Best = NOTHING
    below: Best = NOTHING
    waiting: list[tuple[bytes, int]] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    looking: list[LookAround] = field(default_factory=list)


_NOBODY: Final = _Name()


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, and what is known of all that is in it.

    Attributes:
        path: which folder, without a slash at its end.
        state: where the expressions are behind its slash.
        tree: which specifications are for everything in it.
        name: what begins with its path.
        looking: the expressions that look around and are for something in it.
    """

    path: bytes
    state: State
    tree: Best
    name: _Name
    looking: tuple[LookAround, ...]


class LabelIndex:
    """Finds the label of a path.

    Args:
        specifications: as they are in the files, those that count less first.
        work: see `bootd.store.selinux.automaton.WORK_LIMIT`.

    Raises:
        SpecificationError: here and in all that it does: a specification cannot be used, or all
            of them together are too much work.
    """

    def __init__(self, specifications: Iterable[Specification], work: int = WORK_LIMIT) -> None:
        self._specifications = list(specifications)
        self._contexts = [one.context for one in self._specifications]
        self._automaton = Automaton(work)
        self._work = work
        self._root = _Name()
        start = _Name()
        for number, one in enumerate(self._specifications):
            shape = shape_of(one.expression)
            if shape is None:
                start.waiting.append((one.expression, number))
            else:
                self._enter(shape, number, one.kind)
        self._wake(start)
        self._wake(self._root)
        state = self._run(self._begun(self._automaton.nowhere, start.begins), b"/")
        state = self._begun(state, self._root.begins)
        tree = tuple(map(max, self._root.tree, self._root.below))
        looking = (*start.looking, *self._root.looking)
        self.root = Place(b"", state, tree, self._root, looking)
        """The root folder."""

    def label(self, folder: Place, name: bytes, kind: int) -> bytes | None:
        """Return the label of what stands in a folder under a name; None: it has none."""
        best = folder.tree[kind]
        below = folder.name.names.get(name)
        if below is not None:
            if below.exact[kind] >= 0:
                return self._contexts[below.exact[kind]]
            best = max(best, below.tree[kind])
        state = folder.state
        if not state.is_steady:
            state = self._run(state, name)
        best = max(best, state.best[kind])
        if folder.looking:
            best = self._looked(folder.looking, folder.path + b"/" + name, kind, best)
        return self._contexts[best] if best >= 0 else None

    def root_label(self, kind: int) -> bytes | None:
        """Return the label of the root itself."""
        top = self._root
        if top.exact[kind] >= 0:
            return self._contexts[top.exact[kind]]
        best = max(top.tree[kind], self.root.state.best[kind])
        best = self._looked(self.root.looking, b"/", kind, best)
        return self._contexts[best] if best >= 0 else None

    def enter(self, folder: Place, name: bytes) -> Place:
        """Return a folder that stands in another one."""
        below = folder.name.names.get(name, _NOBODY)
        path = folder.path + b"/" + name
        state = self._run(self._run(folder.state, name), b"/")
        looking = folder.looking
        self._wake(below)
        if below.begins:
            state = self._begun(state, below.begins)
        if below.looking:
            looking = (*looking, *below.looking)
        tree = folder.tree
        if below.tree is not NOTHING:
            tree = tuple(map(max, tree, below.tree))
        if below.below is not NOTHING:
            tree = tuple(map(max, tree, below.below))
        return Place(path, state, tree, below, looking)

    def find(self, path: bytes) -> Place:
        """Return the folder at a path, absolute; the root for the root."""
        folder = self.root
        for name in path.split(b"/"):
            if name:
                folder = self.enter(folder, name)
        return folder

    def check(self) -> None:
        """Look at the expressions that wait at any folder."""
        names = [self._root]
        while names:
            name = names.pop()
            self._wake(name)
            names += name.names.values()

    def _wake(self, name: _Name) -> None:
        """Let the expressions that wait at a folder begin."""
        while name.waiting:
            rest, number = name.waiting.pop()
            one = self._specifications[number]
            try:
                try:
                    name.begins.append(self._automaton.add(parse(rest), number, one.kind))
                except LookAroundError:
                    name.looking.append(look_around(one.expression, number))
            except ExpressionError as error:
                shown = one.expression[:100].decode(errors="backslashreplace")
                raise SpecificationError(f"{one.place}: the expression {shown} {error}") from error
            except WorkError:
                raise self._too_much() from None

    def _begun(self, state: State, begins: list[int]) -> State:
        try:
            return self._automaton.begin(state, begins)
        except WorkError:
            raise self._too_much() from None

    def _run(self, state: State, data: bytes) -> State:
        try:
            return self._automaton.run(state, data)
        except WorkError:
            raise self._too_much() from None

    def _looked(self, looking: tuple[LookAround, ...], path: bytes, kind: int, best: int) -> int:
        """Return the highest of a number and those of the expressions that match a path."""
        for one in looking:
            if one.number > best and self._specifications[one.number].kind in (kind, ALL_KINDS):
                try:
                    self._automaton.spend(one.work(path))
                except WorkError:
                    raise self._too_much() from None
                if one.matches(path):
                    best = one.number
        return best

    def _enter(self, shape: Shape, number: int, kind: int) -> None:
        name = self._root
        for part in shape.stem.split(b"/"):
            if part:
                name = name.names.setdefault(part, _Name())
        if shape.rest is not None:
            name.waiting.append((shape.rest, number))
        elif not shape.below:
            name.exact = _with(name.exact, number, kind)
        elif shape.itself:
            name.tree = _with(name.tree, number, kind)
        else:
            name.below = _with(name.below, number, kind)

    def _too_much(self) -> SpecificationError:
        return SpecificationError(
            f"its expressions would take more than {self._work} steps to match"
        )


def _with(best: Best, number: int, kind: int) -> Best:
    """Return the best with one more specification, which counts more than those before."""
    if kind == ALL_KINDS:
        return (number,) * KINDS
    return *best[:kind], number, *best[kind + 1 :]
