"""What an expression of ``file_contexts`` means, as a small tree. Pure.

libselinux hands each expression to PCRE2 and wants the whole path to match (selabel_file(5)). For a
whole match it is of no account in which order an engine tries things, so an expression is a
regular set, and an automaton finds it in one pass. What is no regular set is refused with its
reason: back references, atomic groups and possessive quantifiers; none is known from a policy. Of
look-around see `LookAroundError`. As in libselinux a path is bytes, and a dot stands for each byte.

Source: pcre2pattern(3); libselinux, src/regex.c (PCRE2_DOTALL, no PCRE2_UTF).
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import Final, NoReturn

ANY: Final = (1 << 256) - 1
"""The set of all bytes; a set is a number in which each byte has its bit."""
_REPEAT_LIMIT: Final = 255
_DEPTH_LIMIT: Final = 50
_COUNT: Final = re.compile(rb"\{([0-9]{1,5})(?:(,)([0-9]{1,5})?)?\}")
_QUANTIFIERS: Final = {b"*": (0, None), b"+": (1, None), b"?": (0, 1)}
_CONTROLS: Final = {b"t": 9, b"n": 10, b"f": 12, b"r": 13, b"e": 27, b"a": 7}
_POSIX: Final = re.compile(rb"\[:(\^?)([a-z]{1,10}):\]")
_HEX: Final = re.compile(rb"x([0-9A-Fa-f]{2})")
_LOOK_AROUND: Final = (b"?=", b"?!", b"?<=", b"?<!")


class ExpressionError(Exception):
    """An expression that is wrong, or means what no regular set means; the text says why."""


class LookAroundError(ExpressionError):
    """An expression that looks ahead or back; `bootd.store.selinux.look_around` may match it."""


def _set(characters: str) -> int:
    return sum(1 << ord(one) for one in characters)


_SPACES: Final = _set(" \t\n\v\f\r")
_WORDS: Final = _set(string.ascii_letters + string.digits + "_")
_CLASSES: Final = {
    b"d": _set(string.digits),
    b"D": ANY & ~_set(string.digits),
    b"s": _SPACES,
    b"S": ANY & ~_SPACES,
    b"w": _WORDS,
    b"W": ANY & ~_WORDS,
}
_NAMED: Final = {
    b"alpha": _set(string.ascii_letters),
    b"digit": _set(string.digits),
    b"alnum": _set(string.ascii_letters + string.digits),
    b"upper": _set(string.ascii_uppercase),
    b"lower": _set(string.ascii_lowercase),
    b"space": _SPACES,
    b"blank": _set(" \t"),
    b"punct": _set(string.punctuation),
    b"xdigit": _set(string.hexdigits),
    b"word": _WORDS,
    b"cntrl": (1 << 32) - 1 | 1 << 127,
    b"print": ANY & ~((1 << 32) - 1) & ((1 << 127) - 1),
    b"graph": ANY & ~((1 << 33) - 1) & ((1 << 127) - 1),
}


@dataclass(frozen=True, slots=True)
class OneOf:
    """One byte of a set."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of several."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same, `least` times or more, up to `most`; None: as often as one likes."""

    part: Expression
    least: int
    most: int | None


Expression = OneOf | Sequence | Either | Repeat


def parse(text: bytes) -> Expression:
    """Return what an expression means.

    Raises:
        LookAroundError: it looks ahead or back.
        ExpressionError: it cannot be used otherwise.
    """
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> Expression:
        if self._text.startswith(b"^"):
            self._at = 1
        expression = self._either()
        if self._at < len(self._text):
            self._fail("has a closing parenthesis too many")
        return expression

    def _fail(self, why: str) -> NoReturn:
        raise ExpressionError(why)

    def _next(self) -> bytes:
        """Return the next character, and nothing at the end."""
        return self._text[self._at : self._at + 1]

    def _either(self) -> Expression:
        parts = [self._sequence()]
        while self._next() == b"|":
            self._at += 1
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _sequence(self) -> Expression:
        parts: list[Expression] = []
        while self._next() not in (b"", b"|", b")"):
            if self._text[self._at :] == b"$":
                self._at += 1
                break
            parts.append(self._quantified(self._atom()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _quantified(self, atom: Expression) -> Expression:
        counts = self._quantifier()
        if counts is None:
            return atom
        least, most = counts
        if most is not None and most < least:
            self._fail("repeats something from more to fewer times")
        if max(least, most or 0) > _REPEAT_LIMIT:
            self._fail(f"repeats something more than {_REPEAT_LIMIT} times")
        if self._next() == b"+":
            self._fail("has a possessive quantifier")
        if self._next() == b"?":
            # Lazy: of a whole match it is all the same.
            self._at += 1
        if self._quantifier() is not None:
            self._fail("has a quantifier after a quantifier")
        return Repeat(atom, least, most)

    def _quantifier(self) -> tuple[int, int | None] | None:
        """Take a quantifier, if one comes next: the least and the most."""
        simple = _QUANTIFIERS.get(self._next())
        if simple is not None:
            self._at += 1
            return simple
        count = _COUNT.match(self._text, self._at)
        if count is None:
            return None
        self._at = count.end()
        least, comma, most = count.groups()
        return int(least), int(most) if most else None if comma else int(least)

    def _atom(self) -> Expression:
        character = self._next()
        self._at += 1
        if character == b"(":
            return self._group()
        if character == b"[":
            return OneOf(self._class())
        if character == b".":
            return OneOf(ANY)
        if character == b"\\":
            return OneOf(self._escape())
        if character in _QUANTIFIERS:
            self._fail("has a quantifier without anything before it")
        if character in (b"^", b"$"):
            self._fail(f"has {character.decode()} in the middle")
        return OneOf(1 << character[0])

    def _group(self) -> Expression:
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            self._fail(f"has groups more than {_DEPTH_LIMIT} deep")
        if self._text.startswith(_LOOK_AROUND, self._at):
            raise LookAroundError("looks ahead or back")
        if self._text.startswith(b"?:", self._at):
            self._at += 2
        elif self._next() in (b"?", b"*"):
            self._fail("has a group of an unknown kind")
        expression = self._either()
        if self._next() != b")":
            self._fail("has an open parenthesis")
        self._at += 1
        self._depth -= 1
        return expression

    def _escape(self) -> int:
        """Return the set that stands behind a backslash."""
        character = self._next()
        if not character:
            self._fail("ends with a backslash")
        hexadecimal = _HEX.match(self._text, self._at)
        if hexadecimal is not None:
            self._at = hexadecimal.end()
            return 1 << int(hexadecimal[1], 16)
        self._at += 1
        if character in _CLASSES:
            return _CLASSES[character]
        if character in _CONTROLS:
            return 1 << _CONTROLS[character]
        if character.isalnum():
            self._fail(f"has the unknown escape \\{character.decode()}")
        return 1 << character[0]

    def _class(self) -> int:
        """Return the set between brackets."""
        negated = self._next() == b"^"
        self._at += negated
        members, first = 0, True
        while first or self._next() != b"]":
            if not self._next():
                self._fail("has an open bracket")
            first = False
            members |= self._range()
        self._at += 1
        return ANY & ~members if negated else members

    def _range(self) -> int:
        """Return one part of what is between brackets: a range, a class or a character."""
        named = _POSIX.match(self._text, self._at)
        if named is not None:
            if named[2] not in _NAMED:
                self._fail(f"has the unknown class {named[2].decode()}")
            self._at = named.end()
            return _NAMED[named[2]] ^ (ANY if named[1] else 0)
        low = self._member()
        if self._next() != b"-" or self._text[self._at + 1 : self._at + 2] in (b"]", b""):
            return low
        if low.bit_count() != 1 or _POSIX.match(self._text, self._at + 1):
            return low
        self._at += 1
        high = self._member()
        if high.bit_count() != 1:
            return low | high | 1 << ord("-")
        if high < low:
            self._fail("has a range from more to less")
        return (high << 1) - low

    def _member(self) -> int:
        character = self._next()
        self._at += 1
        return self._escape() if character == b"\\" else 1 << character[0]
