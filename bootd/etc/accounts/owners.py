"""What the numbers of an image's users and groups are on a machine. Pure.

A file belongs to a name, and its number says which: the image's number, the name it has in the
image, the number of that name here. Where several names have one number in the image, the one that
has it here too is meant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bootd.etc.accounts.records import GROUP, ID, PASSWD, read_table

Databases = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Numbers:
    """The users and groups of a system.

    Attributes:
        users: numbers by name.
        groups: numbers by name.
    """

    users: dict[bytes, int]
    groups: dict[bytes, int]

    @classmethod
    def of(cls, *sources: Databases) -> Numbers:
        """Read databases; of a name in several sources the first counts, as for nsswitch.conf(5).

        Args:
            sources: passwd(5) and group(5) by their names, where there are such.
        """
        return cls(_numbers(PASSWD, sources), _numbers(GROUP, sources))

    def fingerprint(self) -> str:
        """Return a digest that changes when a name or number does."""
        lines = [
            f"{kind}:{name.hex()}:{number}"
            for kind, names in (("user", self.users), ("group", self.groups))
            for name, number in sorted(names.items())
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Owners:
    """What numbers of an image mean here; each answer is a number, or None for nobody.

    Attributes:
        user: of a user's number.
        group: of a group's number.
    """

    user: Callable[[int], int | None]
    group: Callable[[int], int | None]


def owners_of(image: Numbers, here: Numbers) -> Owners:
    """Return what the numbers of an image mean on a machine.

    A number that has no name in the image stays what it is unless somebody has it here: then its
    files would become a stranger's.
    """
    return Owners(_target(image.users, here.users), _target(image.groups, here.groups))


def _numbers(database: str, sources: tuple[Databases, ...]) -> dict[bytes, int]:
    numbers: dict[bytes, int] = {}
    for source in sources:
        for name, row in read_table(database, source.get(database, b"")).rows.items():
            numbers.setdefault(name, int(row[ID]))
    return numbers


def _target(image: dict[bytes, int], here: dict[bytes, int]) -> Callable[[int], int | None]:
    names: dict[int, list[bytes]] = {}
    for name, number in image.items():
        names.setdefault(number, []).append(name)
    taken = set(here.values())

    def target(number: int) -> int | None:
        if number not in names:
            return None if number in taken else number
        known = [here[name] for name in names[number] if name in here]
        if number in known:
            return number
        return known[0] if known else None

    return target
