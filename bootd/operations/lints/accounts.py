"""Users that nothing but /etc/passwd knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image_root import ImageRoot
from bootd.operations.lint import Found, Lint

_NUMBER: Final = 2
"""The field of passwd(5) and group(5)."""
_FIRST_DRAWN: Final = 100
_NOBODY: Final = 65_534


def _look(image: ImageRoot) -> Iterator[Found]:
    for kind, letters in (("passwd", "u"), ("group", "gu")):
        described = _described(image, letters)
        for tree in ("etc", "usr/etc"):
            for name, number in _drawn(image.text(f"{tree}/{kind}")):
                if name not in described:
                    yield Found(f"{tree}/{kind}", f"{name} ({number}) is in no sysusers.d")


def _drawn(text: str) -> Iterator[tuple[str, int]]:
    """Yield accounts whose numbers are neither fixed by the distribution nor nobody's."""
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > _NUMBER and fields[_NUMBER].isascii() and fields[_NUMBER].isdigit():
            number = int(fields[_NUMBER])
            if _FIRST_DRAWN <= number < _NOBODY:
                yield fields[0], number


def _described(image: ImageRoot, letters: str) -> set[str]:
    files = [
        f"{tree}/{name}"
        for tree in ("usr/lib/sysusers.d", "etc/sysusers.d", "usr/etc/sysusers.d")
        for name in image.names(tree)
        if name.endswith(".conf")
    ]
    lines = (line.split() for path in files for line in image.text(path).splitlines())
    return {words[1] for words in lines if len(words) > 1 and words[0].rstrip("!") in [*letters]}


LINT = Lint(
    rule=LintRule(
        id="accounts",
        severity=LintSeverity.WARNING,
        reason=(
            "Numbers that packages drew at build time may be another user's in the next "
            "build, and then files in /var change their owner."
        ),
        mend="Describe each in /usr/lib/sysusers.d, with its number, as sysusers.d(5) says.",
    ),
    look=_look,
)
