"""One automaton for many expressions, which reads a byte once whatever the expressions are.

It is made while it is used: a state is the set of places where the expressions may be, and a
step from it is worked out when a path takes it for the first time. So time grows with the length of
what is read and never with what an expression could try, as it does where an engine goes back; and
what a hostile expression can make of it, many and large states, is counted and has a bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bootd.store.selinux.expression import ANY, Either, Expression, OneOf, Repeat, Sequence

KINDS: Final = 7
"""Kinds of files; a specification is for one of them, or for all."""
ALL_KINDS: Final = KINDS
Best = tuple[int, ...]
"""For each kind of file the highest number of a specification that is for it, or -1."""
NOTHING: Final[Best] = (-1,) * KINDS
WORK_LIMIT: Final = 30_000_000
"""Steps for one policy, each a place that is looked at: 5 seconds. For all of a Debian its policy
takes less than a hundredth of them."""
_STEP_COST: Final = 32
"""What a new step costs besides: its memory is counted with it, 100 MB at most."""


class WorkError(Exception):
    """Expressions take more work than `WORK_LIMIT`."""


class State:
    """The places where expressions may be after some bytes.

    Attributes:
        best: which specifications match if a path ends here.
        moves: where a byte leads, of those that were asked for.
        is_steady: every byte leads to the same state again.
    """

    __slots__ = ("best", "is_steady", "moves", "places")

    def __init__(self, places: tuple[int, ...], best: Best) -> None:
        self.places = places
        self.best = best
        self.moves: dict[int, State] = {}
        self.is_steady = not places


class Automaton:
    """The places of all expressions, and the states that were met."""

    def __init__(self, limit: int = WORK_LIMIT) -> None:
        self._left = limit
        self._tables: list[bytes] = []
        """Of each place: for each byte whether it leads on; empty where none is read."""
        self._after: list[list[int]] = []
        """Of each place: where it leads."""
        self._accepts: dict[int, tuple[int, int]] = {}
        """Of places at an end: the specification's number, and the kind it is for."""
        self._made: dict[int, bytes] = {}
        self._reached: dict[int, tuple[int, ...]] = {}
        self._states: dict[tuple[int, ...], State] = {}
        self.nowhere = self._state(())

    def add(self, expression: Expression, number: int, kind: int) -> int:
        """Add an expression; return the place where it begins.

        Raises:
            WorkError: it is too much.
        """
        end = self._place(b"", [])
        self._accepts[end] = number, kind
        return self._build(expression, end)

    def begin(self, state: State, places: Iterable[int]) -> State:
        """Return a state in which further expressions begin."""
        reached = {one for place in places for one in self._reach(place)}
        return self._state(tuple(sorted(reached.union(state.places))))

    def run(self, state: State, data: bytes) -> State:
        """Return the state after some bytes.

        Raises:
            WorkError: it is too much.
        """
        for byte in data:
            if state.is_steady:
                return state
            move = state.moves.get(byte)
            state = move if move is not None else self._step(state, byte)
        return state

    def _step(self, state: State, byte: int) -> State:
        self.spend(_STEP_COST + len(state.places))
        tables, after, reach = self._tables, self._after, self._reach
        reached = {
            one
            for place in state.places
            if tables[place] and tables[place][byte]
            for one in reach(after[place][0])
        }
        self.spend(len(reached))
        found = self._state(tuple(sorted(reached)))
        state.moves[byte] = found
        return found

    def _state(self, places: tuple[int, ...]) -> State:
        state = self._states.get(places)
        if state is None:
            state = self._states[places] = State(places, self._best(places))
            state.is_steady = self._leads_to_itself(places)
        return state

    def _leads_to_itself(self, places: tuple[int, ...]) -> bool:
        every = self._table(ANY)
        reading = [place for place in places if self._tables[place]]
        if any(self._tables[place] is not every for place in reading):
            return False
        return {one for place in reading for one in self._reach(self._after[place][0])} == {*places}

    def _best(self, places: tuple[int, ...]) -> Best:
        ends = [self._accepts[place] for place in places if place in self._accepts]
        if not ends:
            return NOTHING
        best = [-1] * KINDS
        for number, kind in ends:
            for one in range(KINDS) if kind == ALL_KINDS else (kind,):
                best[one] = max(best[one], number)
        return tuple(best)

    def _reach(self, place: int) -> tuple[int, ...]:
        """Return the places that read a byte, or are an end, and are reached without reading."""
        known = self._reached.get(place)
        if known is None:
            seen = {place}
            stack = [place]
            reading = []
            while stack:
                one = stack.pop()
                if self._tables[one] or one in self._accepts:
                    reading.append(one)
                    continue
                for following in self._after[one]:
                    if following not in seen:
                        seen.add(following)
                        stack.append(following)
            self.spend(len(seen))
            known = self._reached[place] = tuple(reading)
        return known

    def _build(self, expression: Expression, after: int) -> int:
        match expression:
            case OneOf(bytes=members):
                return self._place(self._table(members), [after])
            case Sequence(parts=parts):
                for part in reversed(parts):
                    after = self._build(part, after)
                return after
            case Either(parts=parts):
                return self._place(b"", [self._build(part, after) for part in parts])
            case Repeat(part=part, least=least, most=most):
                return self._repeat(part, least, most, after)

    def _repeat(self, part: Expression, least: int, most: int | None, after: int) -> int:
        if most is None:
            after = self._place(b"", [after])
            self._after[after].append(self._build(part, after))
        else:
            end = after
            for _ in range(most - least):
                after = self._place(b"", [end, self._build(part, after)])
        for _ in range(least):
            after = self._build(part, after)
        return after

    def _place(self, table: bytes, after: list[int]) -> int:
        self.spend(_STEP_COST)
        self._tables.append(table)
        self._after.append(after)
        return len(self._tables) - 1

    def _table(self, members: int) -> bytes:
        table = self._made.get(members)
        if table is None:
            table = bytes(members >> byte & 1 for byte in range(256))
            self._made[members] = table
        return table

    def spend(self, work: int) -> None:
        """Count work.

        Raises:
            WorkError: it is too much.
        """
        self._left -= work
        if self._left < 0:
            raise WorkError
