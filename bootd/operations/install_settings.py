"""What an administrator may say about a machine when it is installed, and where it goes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, cast

from bootd.boot.kernels.arguments import Contents, join_arguments, key_of, split_arguments
from bootd.durable import Disk
from bootd.model.errors import (
    InvalidArgumentError,
    InvalidKernelArgumentsError,
    InvalidTreeError,
)
from bootd.model.hash_algorithm import HASH_ALGORITHMS, SHA256
from bootd.model.links import steps
from bootd.model.tree import Directory, Metadata, Node, RegularFile, lookup
from bootd.registry.reference import parse_reference
from bootd.store.images.host_layout import HostLayout
from bootd.sysroot import KERNEL_ARGUMENT

MAX_KEYS: Final = 65_536
KEYS_PATH: Final = b"root/.ssh/authorized_keys"
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME: Final = re.compile(rf"(?=.{{1,64}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII | re.IGNORECASE)
_KEY: Final = re.compile(rb"(?:^|\s)(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+\s+AAAA[A-Za-z0-9+/]")
IDENTITY: Final = ("hostname", "machine-id")
"""What of ``/etc`` says which machine it is."""
_UNINITIALIZED: Final = b"uninitialized\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a machine begins.

    Attributes:
        image: the reference to install from.
        follow: the reference to follow afterwards; None: the same.
        kernel_arguments: what is added to the image's own, each one word.
        root_keys: lines for root's ``authorized_keys``.
        hostname: None: the image's.
        store_hash: by which the store names what it holds, a name of `HASH_ALGORITHMS`.
    """

    image: str
    follow: str | None = None
    kernel_arguments: tuple[str, ...] = ()
    root_keys: bytes | None = None
    hostname: str | None = None
    store_hash: str = SHA256.name

    def check(self) -> None:
        """Refuse what cannot be meant, before anything is touched.

        Raises:
            InvalidReferenceError: a reference does not follow the grammar.
            InvalidArgumentError: a kernel argument, the key, the host name or the hash cannot be
                used.
        """
        parse_reference(self.image)
        parse_reference(self.follow or self.image)
        for argument in self.kernel_arguments:
            _check_argument(argument)
        if self.root_keys is not None:
            _check_keys(self.root_keys)
        if self.hostname is not None and _HOSTNAME.fullmatch(self.hostname) is None:
            raise InvalidArgumentError(
                f"{self.hostname[:100]!r} is no host name",
                hint="Use up to 64 letters, digits, hyphens and dots (hostname(5)).",
            )
        if self.store_hash not in HASH_ALGORITHMS:
            raise InvalidArgumentError(
                f"a store cannot have the hash {self.store_hash[:100]!r}",
                hint=f"It can have {' or '.join(HASH_ALGORITHMS)}.",
            )

    def machine_arguments(self, root: tuple[str, ...]) -> list[str]:
        """Return the kernel arguments that are the machine's own.

        Args:
            root: those that find the root file system; left out where one of its own was given.
        """
        given = {key_of(argument) for argument in self.kernel_arguments}
        found = () if "root" in given else root
        writable = () if given & {"rw", "ro"} else ("rw",)
        return [*found, *writable, *self.kernel_arguments]


def add_root_keys(layout: HostLayout, keys: bytes, contents: Contents, seconds: int) -> None:
    """Add root's keys to the ``/var`` of a host's layout, where ``/root`` leads to.

    Args:
        layout: an image's tree as a host has it; its ``/var`` is changed in place.
        keys: lines to add to those the image has.
        contents: reads what the image has.
        seconds: the time that new files get.

    Raises:
        InvalidTreeError: ``/root`` does not lead to ``/var``, where alone a key would stay.
    """
    root = Directory(layout.root.metadata, {**layout.root.entries, b"var": layout.var})
    path = resolve(root, KEYS_PATH)
    if path[0] != b"var":
        shown = b"/".join(path).decode(errors="replace")
        raise InvalidTreeError(
            f"root's keys would be in /{shown}, which is a part of the image and cannot be changed",
            hint="Make /root a symbolic link to var/roothome in the image.",
        )
    folder = root
    for name in path[:-1]:
        node = folder.entries.setdefault(
            name, Directory(Metadata(permissions=0o700, mtime_seconds=seconds))
        )
        assert isinstance(node, Directory)
        folder = node
    there = folder.entries.get(path[-1])
    before = contents.read(there) if isinstance(there, RegularFile) else b""
    data = before + (b"" if before.endswith(b"\n") or not before else b"\n") + keys.rstrip() + b"\n"
    metadata = Metadata(permissions=0o600, mtime_seconds=seconds)
    folder.entries[path[-1]] = RegularFile(metadata, len(data), content=data)


def resolve(root: Directory, path: bytes) -> list[bytes]:
    """Return where a path leads in a tree when every symbolic link is followed.

    What does not exist is taken as it is written.

    Raises:
        InvalidTreeError: it leads through a file, out of the tree or in circles.
    """
    place, node = b"", cast("Node | None", root)
    for below, child in steps(path, partial(lookup, root)):
        if node is not None and not isinstance(node, Directory):
            raise InvalidTreeError(f"/{path.decode()} leads through a file in the image")
        place, node = below, child
    return place.split(b"/")


def write_identity(disk: Disk, etc: Path, hostname: str | None) -> None:
    """Give a machine's new ``/etc`` its host name, and an ID that the first boot makes.

    Whatever an image has as its ID, the first start of the machine is a first boot to systemd: with
    an empty file it would make an ID, too, but start nothing that has ``ConditionFirstBoot=yes``,
    such as what makes the SSH host keys (machine-id(5), "First Boot Semantics").
    """
    name, machine_id = (etc / one for one in IDENTITY)
    if hostname is not None:
        disk.replace_file(name, f"{hostname}\n".encode(), 0o644)
    disk.replace_file(machine_id, _UNINITIALIZED, 0o444)


def _check_argument(argument: str) -> None:
    try:
        words = split_arguments(argument)
        join_arguments(words)
    except InvalidKernelArgumentsError as error:
        raise InvalidArgumentError(error.message) from error
    if words != [argument]:
        raise InvalidArgumentError(
            f"{argument[:200]!r} is not one kernel argument",
            hint="Give --kernel-argument once for each; quote spaces with double quotes.",
        )
    if key_of(argument) == KERNEL_ARGUMENT:
        raise InvalidArgumentError(f"{argument[:200]!r} is for bootd to say")


def _check_keys(keys: bytes) -> None:
    lines = [line for line in keys.splitlines() if line.strip() and not line.startswith(b"#")]
    if len(keys) > MAX_KEYS or not lines or not all(map(_KEY.search, lines)):
        raise InvalidArgumentError(
            "the file with root's SSH key holds something else than public keys",
            hint="Name a file like ~/.ssh/id_ed25519.pub or authorized_keys.",
        )
