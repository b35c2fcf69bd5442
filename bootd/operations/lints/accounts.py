"""Users and groups whose numbers the next build may draw anew, and those that disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_NUMBER: Final = 2
"""The field of passwd(5) and group(5)."""
_FIRST_DRAWN: Final = 100
_NOBODY: Final = 65_534
_ID: Final = 2
"""The word of a line of sysusers.d(5)."""


@dataclass(slots=True)
class _Described:
    """What sysusers.d says of users, or of groups.

    Attributes:
        names: of all there are.
        numbers: by name, those that are written out, with the file that does.
    """

    names: set[str] = field(default_factory=set)
    numbers: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, name: str, number: str, path: str) -> None:
        self.names.add(name)
        if number.isascii() and number.isdigit():
            self.numbers.setdefault(name, (int(number), path))


def _look(image: ImageRoot) -> Iterator[Found]:
    described = dict(zip(("passwd", "group"), _described(image), strict=True))
    owned: dict[str, dict[int, list[str]]] = {}
    for kind, said in described.items():
        for tree in ("etc", "usr/etc"):
            numbers = _numbers(image.text(f"{tree}/{kind}"))
            yield from _disagreeing(f"{tree}/{kind}", numbers, said)
            for name, number in numbers.items():
                if not _FIRST_DRAWN <= number < _NOBODY or name in said.numbers:
                    continue
                if name not in said.names:
                    yield Found(f"{tree}/{kind}", f"{name} ({number}) is in no sysusers.d")
                    continue
                owned = owned or _owned(image)
                yield _drawn(f"{tree}/{kind}", name, number, owned[kind].get(number, []))


def _drawn(path: str, name: str, number: int, files: list[str]) -> Found:
    """Return what to say of a number that sysusers.d leaves open."""
    problem = f"{name} ({number}) has no number in sysusers.d, so the next build may draw another"
    if not files:
        return Found(path, problem, LintSeverity.INFO)
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return Found(path, f"{problem}; it has /{min(files)}{more}")


def _disagreeing(path: str, numbers: dict[str, int], said: _Described) -> Iterator[Found]:
    """Yield numbers that sysusers.d gives to another name, and names that it gives another one."""
    by_number: dict[int, str] = {}
    for name, number in numbers.items():
        by_number.setdefault(number, name)
    for name, (number, where) in said.numbers.items():
        if name in numbers:
            if numbers[name] != number:
                yield Found(path, f"{name} has the number {numbers[name]}, and {number} in {where}")
        elif number in by_number:
            yield Found(path, f"{number} is {by_number[number]}, and {name} in {where}")


def _numbers(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > _NUMBER and fields[_NUMBER].isascii() and fields[_NUMBER].isdigit():
            found.setdefault(fields[0], int(fields[_NUMBER]))
    return found


def _described(image: ImageRoot) -> tuple[_Described, _Described]:
    """Return what sysusers.d says of users and of groups."""
    users, groups = _Described(), _Described()
    files = [
        f"{tree}/{name}"
        for tree in ("usr/lib/sysusers.d", "etc/sysusers.d", "usr/etc/sysusers.d")
        for name in image.names(tree)
        if name.endswith(".conf")
    ]
    for path in files:
        for line in image.text(path).splitlines():
            words = [word.strip("\"'") for word in line.split()]
            kind = words[0].rstrip("!") if words else ""
            if kind not in {"u", "g"} or len(words) <= 1:
                continue
            number, _, group = (words[_ID] if len(words) > _ID else "-").partition(":")
            if kind == "u":
                users.add(words[1], number, path)
                # With a group of its own number a user gets none of its name.
                if not group:
                    groups.add(words[1], number, path)
            else:
                groups.add(words[1], number, path)
    return users, groups


def _owned(image: ImageRoot) -> dict[str, dict[int, list[str]]]:
    """Return paths in ``/usr`` and ``/etc`` by the numbers of their users and groups."""
    found: dict[str, dict[int, list[str]]] = {"passwd": {}, "group": {}}
    for path, uid, gid in (one for tree in ("usr", "etc") for one in image.owners(tree)):
        for kind, number in (("passwd", uid), ("group", gid)):
            if number >= _FIRST_DRAWN:
                found[kind].setdefault(number, []).append(path)
    return found


LINT = Lint(
    rule=LintRule(
        id="accounts",
        severity=LintSeverity.WARNING,
        reason=(
            "Numbers that packages drew at build time may be another user's in the next "
            "build: files in /var change their owner, those of /usr and /etc have to be given "
            "the numbers of each machine, which a sealed deployment cannot."
        ),
        mend="Describe each in /usr/lib/sysusers.d, with its number, as sysusers.d(5) says.",
    ),
    look=_look,
)
