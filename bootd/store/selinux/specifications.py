"""The lines of ``file_contexts`` and of the substitutions beside it. Pure.

Format: selabel_file(5). Which line counts where several match is libselinux's rule
(src/label_file.c): one without metacharacters before all others, then the last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bootd.store.selinux.automaton import ALL_KINDS

FILE_LIMIT: Final = (4 << 20) - 1
"""Bytes of a file; those of distributions have half a million."""
LINES_LIMIT: Final = 100_000
EXPRESSION_LIMIT: Final = 4_095
"""As in libselinux."""
CONTEXT_LIMIT: Final = 1_024
NO_LABEL: Final = b"<<none>>"

_FIELDS: Final = 3
_KIND_NUMBERS: Final = {b"-": 0, b"d": 1, b"l": 2, b"c": 3, b"b": 4, b"p": 5, b"s": 6}
_LITERAL: Final = re.compile(rb"(?:[^\\.^$?*+|\[({\])}]|\\[.^$?*+|\[({\])}\-_,])*")
"""The beginning that says itself: of an escaped character only those that libselinux takes so."""
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_BELOW: Final = (b"(/.*)?", b"(/.*)*")
_QUANTIFIERS: Final = (b"?", b"*", b"+", b"{")


class SpecificationError(Exception):
    """A line that cannot be used; the text names file and line and says why."""


@dataclass(frozen=True, slots=True)
class Specification:
    """A line of ``file_contexts``.

    Attributes:
        expression: which paths it is for.
        kind: of which kind of file; `ALL_KINDS` for all.
        context: the label, None for ``<<none>>``.
        place: file and line, for messages.
    """

    expression: bytes
    kind: int
    context: bytes | None
    place: str


@dataclass(frozen=True, slots=True)
class Shape:
    """An expression by how it begins.

    Attributes:
        stem: the folder, or the file, that it names to begin with, absolute; empty for the root.
        rest: what is below that, as an expression; None where the stem is all of it.
        below: everything below the stem is meant, and nothing else is said.
        itself: the stem is meant, too.
    """

    stem: bytes
    rest: bytes | None = None
    below: bool = False
    itself: bool = False


def parse_specifications(name: str, data: bytes) -> Iterator[Specification]:
    """Yield the lines of a file that specify something.

    Raises:
        SpecificationError: one of them is too long, or is none.
    """
    for number, fields in _lines(name, data):
        place = f"{name}, line {number}"
        expression, *others = fields[:_FIELDS]
        kind = others.pop(0) if len(others) == _FIELDS - 1 else None
        if not others:
            raise SpecificationError(f"{place}: it gives no label")
        if kind is not None and (kind[:1] != b"-" or kind[1:] not in _KIND_NUMBERS):
            raise SpecificationError(f"{place}: no file is of the kind {_shown(kind)}")
        (context,) = others
        if len(expression) > EXPRESSION_LIMIT or len(context) > CONTEXT_LIMIT:
            raise SpecificationError(f"{place}: it has {len(expression) + len(context)} bytes")
        yield Specification(
            expression,
            ALL_KINDS if kind is None else _KIND_NUMBERS[kind[1:]],
            None if context == NO_LABEL else context,
            place,
        )


def parse_substitutions(name: str, data: bytes) -> list[tuple[bytes, bytes]]:
    """Return which folder stands for which other one, in the order in which they are tried.

    Raises:
        SpecificationError: there are too many of them.
    """
    pairs = [(fields[0], fields[1]) for _, fields in _lines(name, data) if len(fields) > 1]
    # libselinux looks at the last line first.
    return pairs[::-1]


def shape_of(expression: bytes) -> Shape | None:
    """Return how an expression begins, or None where it may begin with anything."""
    literal = _LITERAL.match(expression)
    assert literal is not None
    end = literal.end()
    rest = expression[end:]
    if not expression.startswith(b"/") or (b"|" in rest and _is_divided(rest)):
        return None
    if b"//" in literal[0] or (not rest and expression.endswith(b"/") and expression != b"/"):
        # No path is written like this; the automaton knows.
        return None
    if not rest:
        return Shape(_path(expression), itself=True)
    if rest in _BELOW and not literal[0].endswith(b"/"):
        return Shape(_path(literal[0]), below=True, itself=True)
    if rest == b".*" and literal[0].endswith(b"/"):
        # Of a path there is nothing behind a slash but at the root.
        return Shape(_path(literal[0]), below=True, itself=literal[0] == b"/")
    if rest.startswith(_QUANTIFIERS):
        end = _before_last(literal[0])
    slash = expression.rindex(b"/", 0, max(end, 1))
    return Shape(_path(expression[:slash]), rest=expression[slash + 1 :])


def _before_last(literal: bytes) -> int:
    """Return where the last character of a literal begins."""
    last = 0
    for one in re.finditer(rb"\\.|.", literal, re.DOTALL):
        last = one.start()
    return last


def _path(literal: bytes) -> bytes:
    return _ESCAPE.sub(rb"\1", literal).rstrip(b"/")


def _is_divided(rest: bytes) -> bool:
    """Return whether there is a bar outside of all parentheses and brackets."""
    depth, at = 0, 0
    while at < len(rest):
        character = rest[at : at + 1]
        if character == b"\\":
            at += 1
        elif character == b"[":
            # A closing bracket that comes first is one of the characters.
            at = rest.find(b"]", at + 2 + rest.startswith(b"^", at + 1))
            if at < 0:
                return False
        elif character in (b"(", b")"):
            depth += 1 if character == b"(" else -1
        elif character == b"|" and not depth:
            return True
        at += 1
    return False


def _lines(name: str, data: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the number and the fields of each line that has any."""
    if len(data) > FILE_LIMIT:
        raise SpecificationError(f"{name} has more than {FILE_LIMIT} bytes")
    lines = data.split(b"\n")
    if len(lines) > LINES_LIMIT:
        raise SpecificationError(f"{name} has more than {LINES_LIMIT} lines")
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if fields and not fields[0].startswith(b"#"):
            yield number, fields


def _shown(data: bytes) -> str:
    return data.decode(errors="backslashreplace")[:100]
