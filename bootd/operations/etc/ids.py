"""Which numbers merges chose for users and groups, and whether a name may have the image's again.

The record stands in the folder of the deployment whose ``/etc`` has these users. A name whose
number a merge chose gets the one that a later image has for it only while no file can belong to
either: the machine's ``/var`` and ``/etc`` are looked through for that, within bounds. What cannot
be looked at, another disk say, may have such a file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bootd.boot.devices.mounts import mount_of, mounts
from bootd.etc.accounts.chosen import Chosen, Move, possible_moves
from bootd.etc.accounts.records import GROUP, MAX_ID, PASSWD
from bootd.etc.disk.contents import Contents
from bootd.etc.disk.descriptors import opened_folder
from bootd.etc.disk.snapshot import scan_folder
from bootd.etc.rules.compare import same_metadata, same_type
from bootd.etc.rules.settle import databases_in, databases_of
from bootd.model.deployment import DeploymentId
from bootd.model.errors import WriteFailedError
from bootd.model.etc.report import escape, unescape
from bootd.model.tree import Directory, Node, lookup, walk
from bootd.operations.host import PHYSICAL_ROOT, Host
from bootd.records import read_record, write_record
from bootd.sysroot import Sysroot

CHOSEN_NAME: Final = "etc-ids.json"
MAX_LOOKED_AT: Final = 200_000
"""Most files of ``/var`` that are looked at; with more, no number changes."""
_MAX_NAMES: Final = 10_000
_ACLS: Final = (b"system.posix_acl_access", b"system.posix_acl_default")
_ACL_HEADER: Final = 4
_ACL_ENTRY: Final = Struct("<HHI")
"""Tag, permissions, number (Linux, include/uapi/linux/posix_acl_xattr.h)."""
_ACL_DATABASES: Final = {0x02: PASSWD, 0x08: GROUP}
_PASSING: Final = frozenset((
    "autofs", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "erofs", "fusectl", "hugetlbfs", "iso9660", "mqueue", "nsfs", "overlay", "proc", "pstore",
    "ramfs", "securityfs", "squashfs", "sysfs", "tmpfs", "tracefs", "vfat",
))  # fmt: skip
"""File systems that keep no owners of their own, or none beyond a boot."""

Number = tuple[str, int]


class ChosenRecord(BaseModel):
    """``deployments/<id>/etc-ids.json``; names are printable as in reports."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    users: dict[str, int] = Field(default_factory=dict, max_length=_MAX_NAMES)
    """Numbers that merges chose, by name."""
    groups: dict[str, int] = Field(default_factory=dict, max_length=_MAX_NAMES)
    users_left_out: list[str] = Field(default_factory=list, max_length=_MAX_NAMES)
    """Whom a merge left out."""
    groups_left_out: list[str] = Field(default_factory=list, max_length=_MAX_NAMES)


def read_chosen(sysroot: Sysroot, deployment: DeploymentId) -> Chosen:
    """Return what merges chose for the users and groups of a deployment.

    Raises:
        DamagedRecordError: it cannot be read.
    """
    path = sysroot.deployment(deployment) / CHOSEN_NAME
    found = read_record(path, ChosenRecord) or ChosenRecord()
    numbers = {PASSWD: found.users, GROUP: found.groups}
    left_out = {PASSWD: found.users_left_out, GROUP: found.groups_left_out}
    return Chosen(
        {
            database: {unescape(name): number for name, number in names.items()}
            for database, names in numbers.items()
        },
        {database: frozenset(map(unescape, names)) for database, names in left_out.items()},
    )


def write_chosen(sysroot: Sysroot, folder: Path, chosen: Chosen) -> None:
    """Put what merges chose into a deployment's folder, durably; nothing where they chose nothing.

    Of more names than a record holds the rest is forgotten: their numbers stay as they are.
    """
    users, groups = (
        {escape(name): number for name, number in sorted(names.items())[:_MAX_NAMES]}
        for names in (chosen.numbers.get(PASSWD, {}), chosen.numbers.get(GROUP, {}))
    )
    no_users, no_groups = (
        sorted(map(escape, names))[:_MAX_NAMES]
        for names in (chosen.left_out.get(PASSWD, ()), chosen.left_out.get(GROUP, ()))
    )
    path = folder / CHOSEN_NAME
    if users or groups or no_users or no_groups:
        record = ChosenRecord(
            users=users, groups=groups, users_left_out=no_users, groups_left_out=no_groups
        )
        write_record(sysroot.disk, path, record)
    elif path.exists():
        sysroot.disk.remove_file(path)


def moves_to(
    host: Host,
    chosen: Chosen,
    *,
    base: Directory,
    mine: Path,
    theirs: Directory,
    contents: Contents,
) -> tuple[Move, ...]:
    """Return which names are to get the number of a new image.

    Args:
        host: the machine.
        chosen: what merges chose before.
        base: the defaults that it runs with.
        mine: its ``/etc``.
        theirs: the new defaults.
        contents: where image files come from.

    Raises:
        EtcTooLargeError, DamagedObjectError: see `bootd.etc.merge.merge_trees`.
    """
    if not any(chosen.numbers.values()):
        return ()
    with opened_folder(mine) as etc:
        here = databases_of(etc)
    before, there = (databases_in(defaults, contents) for defaults in (base, theirs))
    possible = list(possible_moves(chosen, before, here, there))
    asked = {(move.database, number) for move in possible for number in (move.old, move.new)}
    if not asked:
        return ()
    used = _used_in_etc(base, mine, theirs, asked) | _used_in_var(host, asked)
    return tuple(
        move
        for move in possible
        if not {(move.database, move.old), (move.database, move.new)} & used
    )


def _used_in_etc(base: Directory, mine: Path, theirs: Directory, asked: set[Number]) -> set[Number]:
    """Return which numbers files of the machine's ``/etc`` have that will not be the image's."""
    return {
        number
        for path, node in walk(scan_folder(mine).root)
        for number in asked & set(_numbers_of(node))
        if not _follows(lookup(base, path), node, lookup(theirs, path))
    }


def _follows(base: Node | None, mine: Node, theirs: Node | None) -> bool:
    """Tell whether a merge gives a path the owner that it has in the new image."""
    return base is not None and same_metadata(base, mine) and same_type(mine, theirs)


def _numbers_of(node: Node) -> Iterator[Number]:
    yield PASSWD, node.metadata.uid
    yield GROUP, node.metadata.gid
    for name in _ACLS:
        yield from _listed(node.metadata.xattrs.get(name, b""))


def _used_in_var(host: Host, asked: set[Number]) -> set[Number]:
    """Return which numbers files in ``/var`` have; all of them where that cannot be known."""
    var = host.sysroot.store / "var"
    try:
        if host.sysroot.physical == PHYSICAL_ROOT and _has_other_disks(host, var):
            return asked
        used: set[Number] = set()
        for number, entry in enumerate(_entries(var)):
            if number == MAX_LOOKED_AT:
                return asked
            used |= asked & set(_owners_of(entry))
    except (OSError, WriteFailedError):
        return asked
    return used


def _has_other_disks(host: Host, var: Path) -> bool:
    """Tell whether some other file system may have files of the machine's users."""
    own = mount_of(var)
    return own is None or any(
        mount.kind not in _PASSING
        and mount.number != own.number
        and not mount.point.is_relative_to(host.sysroot.boot)
        for mount in mounts()
    )


def _entries(folder: Path) -> Iterator[os.DirEntry[bytes]]:
    """Yield all that is below a folder on one file system, not following links.

    Raises:
        OSError: something cannot be read, or another file system is mounted there.
    """
    device = folder.stat().st_dev
    waiting = [os.fsencode(folder)]
    while waiting:
        try:
            listed = os.scandir(waiting.pop())
        except FileNotFoundError:
            continue
        with listed:
            for entry in listed:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    if entry.stat(follow_symlinks=False).st_dev != device:
                        raise OSError(f"{entry.path!r} is on another file system")
                    waiting.append(entry.path)


def _owners_of(entry: os.DirEntry[bytes]) -> Iterable[Number]:
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    yield PASSWD, found.st_uid
    yield GROUP, found.st_gid
    if not stat.S_ISLNK(found.st_mode):
        for name in _ACLS[: 1 + stat.S_ISDIR(found.st_mode)]:
            yield from _listed(_attribute(entry.path, name))


def _attribute(path: bytes, name: bytes) -> bytes:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        # There is none, the file system knows none, or the file is gone.
        return b""


def _listed(value: bytes) -> Iterator[Number]:
    """Yield whom an access control list names."""
    for place in range(_ACL_HEADER, len(value) - _ACL_ENTRY.size + 1, _ACL_ENTRY.size):
        tag, _, number = _ACL_ENTRY.unpack_from(value, place)
        if tag in _ACL_DATABASES and number <= MAX_ID:
            yield _ACL_DATABASES[tag], number
