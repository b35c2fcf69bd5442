"""Machines with random users, groups and files that go through random images.

The operations of an upgrade that have to do with accounts and owners are the real ones, on EROFS
files and folders; only what brings an image and what starts it is left out.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bootd.model.config import Configuration
from bootd.model.deployment import DeploymentId
from bootd.model.etc.report import ConflictKind, EtcReport
from bootd.model.tree import Directory, Metadata, Node
from bootd.operations.etc.ids import write_chosen
from bootd.operations.etc.merge import coming_moves, merge_into
from bootd.operations.etc.owners import OwnersHere, owners_here
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey, blind_survey
from bootd.registry.settings import RegistrySettings
from bootd.store.objects.files import object_path
from bootd.sysroot import Sysroot
from support.etc_trees import MemoryContents, folder
from support.trees import image_of

NAMES = ["bin", "chrony", "crontab", "dhcp", "kea", "redis", "ssh"]
LOCAL_NAMES = ["alice", "bob", "contractors", "redis", "kea"]
NUMBERS = [*range(100, 107), 996, 997, 998, 999, 1000, 1001]
FILES = ["f0", "f1", "f2", "f3"]
Ids = dict[str, int]


@dataclass
class Image:
    """What an image says: numbers by name, and its files with mode, owner, group and a list."""

    users: Ids
    groups: Ids
    primary: Ids
    files: dict[str, tuple[int, int, int, int | None]] = field(default_factory=dict)

    @classmethod
    def random(cls, random: Random, before: Image | None) -> Image:
        """An image that has much in common with the one before it, as a rule."""
        users = dict(before.users) if before else {}
        groups = dict(before.groups) if before else {}
        for names in (users, groups):
            for name in NAMES:
                if random.random() < (0.3 if before else 0.6):
                    names.pop(name, None)
                    if random.random() < 0.7:
                        names[name] = _number(random, names)
        if random.random() < 0.5:
            groups |= {name: n for name, n in users.items() if n not in groups.values()}
        users, groups = {"root": 0, **users}, {"root": 0, **groups}
        known = list(groups.values())
        primary = {
            name: 0 if name == "root" else groups.get(name, random.choice([*known, 106]))
            for name in users
        }
        image = cls(users, groups, primary)
        for place in ("usr/", "etc/"):
            for name in FILES:
                if random.random() < 0.8:
                    image.files[place + name] = image._file(random)
        return image

    def _file(self, random: Random) -> tuple[int, int, int, int | None]:
        users, groups = list(self.users.values()), list(self.groups.values())
        odd = random.random() < 0.1
        return (
            random.choice([0o644, 0o640, 0o600, 0o4755, 0o2755, 0o660]),
            random.choice(NUMBERS) if odd else random.choice(users),
            random.choice(NUMBERS) if odd else random.choice(groups),
            random.choice(users) if random.random() < 0.15 else None,
        )

    def databases(self) -> dict[str, str]:
        """The four databases."""
        return {
            "passwd": "".join(
                f"{name}:x:{number}:{self.primary[name]}::/:/bin/false\n"
                for name, number in self.users.items()
            ),
            "group": "".join(f"{name}:x:{number}:\n" for name, number in self.groups.items()),
            "shadow": "".join(f"{name}:!*:1::::::\n" for name in self.users),
            "gshadow": "".join(f"{name}:!*::\n" for name in self.groups),
        }


@dataclass
class World:
    """One machine.

    Attributes:
        folder: where it is.
        touched: files of ``/etc`` whose owner was changed here, or which the image has no more.
        images: those it ran, the newest last.
        reports: of their merges.
    """

    folder: Path
    touched: set[str] = field(default_factory=set)
    images: list[Image] = field(default_factory=list)
    reports: list[EtcReport] = field(default_factory=list)
    contents: MemoryContents = field(default_factory=MemoryContents)

    @property
    def sysroot(self) -> Sysroot:
        return Sysroot.at(self.folder)

    @property
    def deployment(self) -> DeploymentId:
        return DeploymentId(f"{len(self.images):016x}.0")

    @property
    def etc(self) -> Path:
        return self.sysroot.deployment(self.deployment) / "etc"

    @property
    def erofs(self) -> Path:
        return self.sysroot.deployment(self.deployment) / "root.erofs"

    @property
    def var(self) -> Path:
        return self.sysroot.store / "var"

    def start(self, image: Image) -> None:
        """Let the machine run its first image."""
        for path in (self.var, self.folder / "proc"):
            path.mkdir(parents=True)
        self.upgrade(image)

    def upgrade(self, image: Image) -> None:
        """Stage an image, merge, and run it."""
        host = Host(self.sysroot, Configuration(), RegistrySettings(root=self.folder))
        found: Survey = blind_survey(self.sysroot)
        plain = self.folder / "image.erofs"
        plain.write_bytes(image_of(self._tree(image)))
        self._store()
        owners = owners_here(host, found, plain) or OwnersHere()
        self.images.append(image)
        self.erofs.parent.mkdir(parents=True)
        self.erofs.write_bytes(owners.content or plain.read_bytes())
        moves = coming_moves(host, found, self.deployment)
        merged = merge_into(host, found, self.deployment, self.etc, moves)
        write_chosen(self.sysroot, self.etc.parent, merged.chosen)
        self.reports.append(merged.report)
        # What the image dropped and the machine keeps is no file of an image any more.
        self.touched |= {
            one.path.removeprefix("/etc/")
            for one in merged.report.conflicts
            if one.kind is ConflictKind.DELETED_THERE
        }
        (self.folder / "proc/cmdline").write_text(f"bootd={self.deployment}\n")

    def live(self, random: Random) -> None:
        """What an administrator and programs do between two upgrades."""
        for _ in range(random.randrange(5)):
            random.choice([self._add, self._delete, self._renumber, self._own, self._change])(
                random
            )
        for _ in range(random.randrange(3)):
            path = self.var / f"{len(list(self.var.iterdir()))}"
            path.touch()
            self._chown(random, path)

    def rows(self, database: str) -> list[list[str]]:
        """The rows of passwd or group, as they are here."""
        return [line.split(":") for line in (self.etc / database).read_text().splitlines()]

    def _write(self, database: str, rows: list[list[str]]) -> None:
        text = "".join(":".join(row) + "\n" for row in rows)
        (self.etc / database).write_text(text)

    def _add(self, random: Random) -> None:
        name = random.choice(LOCAL_NAMES)
        taken = {row[2] for one in ("passwd", "group") for row in self.rows(one)}
        free = [str(number) for number in NUMBERS if str(number) not in taken]
        if any(row[0] == name for one in ("passwd", "group") for row in self.rows(one)) or not free:
            return
        number = random.choice(free)
        self._write("group", [*self.rows("group"), [name, "x", number, ""]])
        if random.random() < 0.7:
            row = [name, "x", number, number, "", "/", "/bin/sh"]
            self._write("passwd", [*self.rows("passwd"), row])

    def _delete(self, random: Random) -> None:
        for database in ("passwd", "group"):
            gone = random.choice(NAMES)
            self._write(database, [row for row in self.rows(database) if row[0] != gone])

    def _renumber(self, random: Random) -> None:
        database = random.choice(["passwd", "group"])
        rows = self.rows(database)
        row = random.choice(rows)
        number = str(random.choice(NUMBERS))
        if row[0] != "root" and number not in {other[2] for other in rows}:
            row[2] = number
            self._write(database, rows)

    def _own(self, random: Random) -> None:
        path = self.etc / f"own{random.randrange(3)}"
        path.touch()
        self._chown(random, path)

    def _change(self, random: Random) -> None:
        path = self.etc / random.choice(FILES)
        if not path.exists():
            return
        if random.random() < 0.5:
            path.write_text(f"changed {random.random()}\n")
        else:
            self._chown(random, path)
            self.touched.add(path.name)

    def _chown(self, random: Random, path: Path) -> None:
        uid, gid = (int(random.choice(self.rows(one))[2]) for one in ("passwd", "group"))
        os.chown(path, uid, gid)

    def _tree(self, image: Image) -> Directory:
        etc: dict[str, Node] = {
            name: self.contents.file(text, 0o600 if "shadow" in name else 0o644, uid=0, gid=0)
            for name, text in image.databases().items()
        }
        usr: dict[str, Node] = {}
        for path, (mode, uid, gid, listed) in image.files.items():
            place, _, name = path.partition("/")
            held = {} if listed is None else {b"system.posix_acl_access": _list(mode, listed)}
            node = self.contents.file(f"{path} {len(self.images) // 2}\n")
            node.metadata = Metadata(mode, uid, gid, 1, 0, held)
            (etc if place == "etc" else usr)[name] = node
        plain = {"uid": 0, "gid": 0}
        return folder({"usr": folder({**usr, "etc": folder(etc, **plain)}, **plain)}, **plain)

    def _store(self) -> None:
        for digest, data in self.contents.objects.items():
            path = object_path(self.sysroot, digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def world(folder: Path, seed: int) -> Iterator[World]:
    """A random machine, again after each upgrade; between two somebody works on it."""
    random = Random(seed)
    machine = World(folder)
    image = Image.random(random, None)
    machine.start(image)
    for _ in range(random.choice([1, 2, 3])):
        machine.live(random)
        yield machine
        image = Image.random(random, image)
        machine.upgrade(image)
        yield machine


def _number(random: Random, taken: Ids) -> int:
    free = [number for number in NUMBERS if number not in taken.values()]
    number: int = random.choice(free if random.random() < 0.95 else NUMBERS)
    return number


def _list(mode: int, number: int) -> bytes:
    """An access control list that lets a user read, and fits the mode (acl(5))."""
    nobody, group = 0xFFFF_FFFF, mode >> 3 & 7
    entries = [(1, mode >> 6 & 7, nobody), (2, 4, number), (4, group, nobody)]
    entries += [(16, group, nobody), (32, mode & 7, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)
