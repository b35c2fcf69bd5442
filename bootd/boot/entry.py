"""One boot entry of bootd's own as a value: its file name and its text.

The name is ``bootd-<serial, 4 digits or more>-<deployment ID>[+LEFT-DONE].conf``. The serial stands
in the name, by which GRUB sorts, and as `version`, by which systemd-boot sorts; all entries share
one sort key, so both start the highest serial (docs/decisions/0005-boot-order-by-serial.md). Names
are lower case and plain ASCII, because ``$BOOT`` is usually VFAT. An entry that breaks one of these
rules is not taken for ours.

Source: UAPI.1 Boot Loader Specification, "Type #1 Boot Loader Specification Entries" and
"Boot counting".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from bootd.boot.kernels.arguments import join_arguments, key_of, split_arguments
from bootd.model.boot.command_line import first_value
from bootd.model.deployment import DeploymentId, DeploymentRecord
from bootd.model.errors import (
    InvalidArgumentError,
    InvalidBootEntryError,
    InvalidKernelArgumentsError,
)
from bootd.sysroot import INTEGRITY_ARGUMENT, KERNEL_ARGUMENT

PREFIX: Final = "bootd-"
SUFFIX: Final = ".conf"
SORT_KEY: Final = "bootd"
MAX_ENTRY_BYTES: Final = 65_536
MAX_SERIAL: Final = 999_999_999
KERNEL_FOLDER: Final = "bootd"
"""Where ``$BOOT`` keeps kernels, one folder for each pair of kernel and initramfs."""
INSTALLATION_KEY: Final = "x-bootd-installation"
"""The line that says which installation of bootd an entry belongs to; boot loaders skip it."""
KERNEL_NAME: Final = "vmlinuz"
INITRAMFS_NAME: Final = "initrd"
DEVICETREE_NAME: Final = "devicetree"
"""The file beside the kernel, and the key of the line that names it."""

_MAX_TITLE: Final = 200
MAX_VALUE: Final = 4_096
MAX_EXTRA: Final = 100
SOURCE_KEY: Final = "x-options-source-"
"""With a program's name: which of the options it owns. Other tools read and write it as well."""
COMMENT: Final = "#"
"""The key of a comment among the lines of others."""
_NAME: Final = re.compile(
    r"bootd-(?P<serial>[0-9]{4,9})-(?P<deployment>[0-9a-f]{16}\.[0-9]{1,9})"
    r"(?:\+(?P<left>[0-9]{1,2})-(?P<done>[0-9]{1,2}))?\.conf",
    re.ASCII,
)
PATH: Final = re.compile(r"(?:/[A-Za-z0-9+_-][A-Za-z0-9+._-]*)+", re.ASCII)
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_INSTALLATION: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_OWN_KEYS: Final = frozenset(
    {"title", "version", "sort-key", INSTALLATION_KEY, "linux", "initrd", "options"}
)
_REPEATABLE: Final = frozenset({"initrd", "options"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BootEntry:
    """One entry: what its name says and what its file says.

    Attributes:
        serial: place in the boot order; the highest boots next.
        deployment: what it boots.
        tries_left: boots the loader still grants; 0: bad; None: not counted, good.
        tries_done: boots that were tried.
        title: what the boot menu shows.
        linux: the kernel's path from the root of ``$BOOT``.
        initrds: paths of what is loaded beside it, in order.
        arguments: kernel arguments besides ``bootd=<deployment>``.
        installation: the ID of the installation it belongs to; None: an older bootd wrote it.
        extra: lines with other keys and comments, added by somebody, kept in order.
    """

    serial: int
    deployment: DeploymentId
    tries_left: int | None = None
    tries_done: int = 0
    title: str
    linux: str
    initrds: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    installation: str | None = None
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def file_name(self) -> str:
        """The name in ``loader/entries``, with the counter."""
        return self.plain_name if self.tries_left is None else self._counted_name

    @property
    def plain_name(self) -> str:
        """The name without the counter: the identity of the entry, and its name once good."""
        return f"{self._stem}{SUFFIX}"

    @property
    def version(self) -> str:
        """What systemd-boot sorts by, descending."""
        return f"{self.serial:04d}"

    @property
    def sort_key(self) -> str:
        """What systemd-boot sorts by first, ascending."""
        return SORT_KEY

    @property
    def machine_id(self) -> str | None:
        """What systemd-boot sorts by between sort key and version; nobody should set it."""
        return next((value for key, value in self.extra if key == "machine-id"), None)

    @property
    def _stem(self) -> str:
        return f"{PREFIX}{self.serial:04d}-{self.deployment}"

    @property
    def _counted_name(self) -> str:
        return f"{self._stem}+{self.tries_left}-{self.tries_done}{SUFFIX}"


def compose_entry(
    record: DeploymentRecord,
    *,
    serial: int,
    tries: int | None,
    title: str,
    folder: str | None = None,
    installation: str | None = None,
) -> BootEntry:
    """Return the entry that boots a deployment.

    Args:
        record: the deployment.
        serial: see `next_serial` in `bootd.boot.listing`.
        tries: boots it is granted before the loader falls back; None: not counted.
        title: a name for people, usually ``PRETTY_NAME`` of the image's os-release(5); line breaks
            and other control characters in it do not matter.
        folder: the name of the kernel's folder below `KERNEL_FOLDER`; None: its digest.
        installation: the ID of the installation that the deployment is a part of.
    """
    folder = folder or record.kernel.digest
    return BootEntry(
        serial=serial,
        deployment=record.id,
        tries_left=tries,
        title=_clean_title(title) or f"bootd {record.id}",
        linux=f"/{KERNEL_FOLDER}/{folder}/{KERNEL_NAME}",
        initrds=(f"/{KERNEL_FOLDER}/{folder}/{INITRAMFS_NAME}",),
        arguments=(*_integrity(record), *record.kernel_arguments),
        installation=installation,
        extra=tuple(_own_lines(record, folder)),
    )


def _own_lines(record: DeploymentRecord, folder: str) -> Iterator[tuple[str, str]]:
    if record.kernel.devicetree_object is not None:
        yield DEVICETREE_NAME, f"/{KERNEL_FOLDER}/{folder}/{DEVICETREE_NAME}"
    for name, words in sorted(record.argument_sources.items()):
        yield f"{SOURCE_KEY}{name}", " ".join(words)


def command_line(record: DeploymentRecord) -> str:
    """Return the options of the entry that boots a deployment.

    Raises:
        InvalidKernelArgumentsError: the kernel would not take them.
    """
    own = f"{KERNEL_ARGUMENT}={record.id}"
    return join_arguments([own, *_integrity(record), *record.kernel_arguments])


def sources_of(entry: BootEntry) -> dict[str, list[str]]:
    """Return which arguments programs own, by their names, as an entry says it.

    What somebody wrote there and is no list of arguments is owned by nobody.
    """
    sources: dict[str, list[str]] = {}
    for key, value in entry.extra:
        name = key.removeprefix(SOURCE_KEY)
        if name != key and value:
            with suppress(InvalidKernelArgumentsError):
                sources[name] = split_arguments(value)
    return sources


def integrity_of(entry: BootEntry) -> str | None:
    """Return what an entry demands of the files it boots; None: it does not say."""
    return first_value(" ".join(entry.arguments), INTEGRITY_ARGUMENT)


def _integrity(record: DeploymentRecord) -> list[str]:
    return [f"{INTEGRITY_ARGUMENT}=verity={record.erofs}"] if record.sealed else []


def render_entry(entry: BootEntry) -> bytes:
    """Return the text of an entry's file.

    Raises:
        InvalidBootEntryError: a field holds what cannot stand in such a file.
        InvalidKernelArgumentsError: the kernel would not take the arguments.
    """
    options = join_arguments([f"{KERNEL_ARGUMENT}={entry.deployment}", *entry.arguments])
    lines = [
        ("title", entry.title),
        ("version", entry.version),
        ("sort-key", SORT_KEY),
        *([(INSTALLATION_KEY, entry.installation)] if entry.installation else []),
        ("linux", entry.linux),
        *(("initrd", path) for path in entry.initrds),
        ("options", options),
        *entry.extra,
    ]
    data = "".join(f"{key} {value}\n" for key, value in lines).encode()
    if parse_entry(entry.file_name, data) != entry:
        raise InvalidBootEntryError(f"{entry.file_name} cannot be written as it is meant")
    return data


def is_own_name(name: str) -> bool:
    """Tell whether a file in ``loader/entries`` claims to be bootd's; any other is foreign."""
    folded = name.lower()
    return folded.startswith(PREFIX) and folded.endswith(SUFFIX)


def parse_entry(name: str, data: bytes) -> BootEntry:
    """Return what an entry of bootd's own says.

    Raises:
        InvalidBootEntryError: it is not one that bootd writes, or somebody broke it.
    """
    serial, deployment, left, done = parse_name(name)
    values, extra = _parse_lines(name, data)
    entry = BootEntry(
        serial=serial,
        deployment=deployment,
        tries_left=left,
        tries_done=done,
        title=_single(name, values, "title"),
        linux=_single(name, values, "linux"),
        initrds=tuple(values.get("initrd", ())),
        arguments=_arguments(name, deployment, values.get("options", [])),
        installation=values.get(INSTALLATION_KEY, [None])[0],
        extra=tuple(extra),
    )
    for key, expected in (("version", entry.version), ("sort-key", SORT_KEY)):
        if (actual := _single(name, values, key)) != expected:
            raise InvalidBootEntryError(f"{name} has {key} {actual[:100]!r} and not {expected!r}")
    if entry.installation is not None and _INSTALLATION.fullmatch(entry.installation) is None:
        raise InvalidBootEntryError(
            f"{name} has {INSTALLATION_KEY} {entry.installation[:100]!r}, which is no ID"
        )
    if not entry.initrds:
        raise InvalidBootEntryError(f"{name} has no initrd")
    for path in (entry.linux, *entry.initrds):
        if PATH.fullmatch(path) is None:
            raise InvalidBootEntryError(f"{name} names {path[:200]!r}, which is no plain path")
    return entry


def parse_name(name: str) -> tuple[int, DeploymentId, int | None, int]:
    """Return serial, deployment, tries left and tries done of a file name.

    Raises:
        InvalidBootEntryError: it is not a name that bootd writes.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InvalidBootEntryError(f"{name[:300]!r} is not the name of an entry bootd writes")
    try:
        deployment = DeploymentId(match["deployment"])
    except InvalidArgumentError as error:
        raise InvalidBootEntryError(f"{name}: {error.message}") from error
    serial = int(match["serial"])
    left = None if match["left"] is None else int(match["left"])
    done = int(match["done"] or 0)
    counter = "" if left is None else f"+{left}-{done}"
    if name != f"{PREFIX}{serial:04d}-{deployment}{counter}{SUFFIX}":
        # Two spellings of one entry would be two entries to the loader and one to us.
        raise InvalidBootEntryError(f"{name} has leading zeros that bootd does not write")
    return serial, deployment, left, done


def text_lines(data: bytes) -> list[tuple[str, str]]:
    """Return (key, value) of each line of any Type #1 entry; comments are left out.

    Bytes that are not UTF-8 are replaced; nothing raises, for the files may be anybody's.
    """
    return [line for line in _all_lines(data) if line[0] != COMMENT]


def _all_lines(data: bytes) -> list[tuple[str, str]]:
    lines = []
    for line in data[:MAX_ENTRY_BYTES].decode(errors="replace").split("\n"):
        words = line.split(maxsplit=1)
        if words and words[0].startswith(COMMENT):
            lines.append((COMMENT, line.strip().removeprefix(COMMENT).strip()))
        elif words:
            lines.append((words[0], words[1].strip() if len(words) > 1 else ""))
    return lines


def _parse_lines(name: str, data: bytes) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    if len(data) > MAX_ENTRY_BYTES:
        raise InvalidBootEntryError(f"{name} has more than {MAX_ENTRY_BYTES} bytes")
    values: dict[str, list[str]] = {}
    extra: list[tuple[str, str]] = []
    for key, value in _all_lines(data):
        if key == COMMENT:
            if value.isprintable() and len(value) <= MAX_VALUE and len(extra) < MAX_EXTRA:
                extra.append((key, value))
            continue
        _check_line(name, key, value)
        if key in _OWN_KEYS:
            values.setdefault(key, []).append(value)
        else:
            extra.append((key, value))
    if len(extra) > MAX_EXTRA:
        raise InvalidBootEntryError(f"{name} has {len(extra)} lines bootd does not know")
    for key, several in values.items():
        if len(several) > 1 and key not in _REPEATABLE:
            raise InvalidBootEntryError(f"{name} has {key} {len(several)} times")
    return values, extra


def _check_line(name: str, key: str, value: str) -> None:
    # Programs that own arguments leave their key without a value when they have none.
    is_empty = not value and not key.startswith("x-")
    if _KEY.fullmatch(key) is None or is_empty or not value.isprintable():
        raise InvalidBootEntryError(f"{name} has the line {f'{key} {value}'[:200]!r}")
    if len(value) > MAX_VALUE:
        raise InvalidBootEntryError(f"{name} has a {key} of {len(value)} characters")


def _single(name: str, values: dict[str, list[str]], key: str) -> str:
    if key not in values:
        raise InvalidBootEntryError(f"{name} has no {key}")
    return values[key][0]


def _arguments(name: str, deployment: DeploymentId, options: list[str]) -> tuple[str, ...]:
    try:
        arguments = split_arguments(" ".join(options))
    except InvalidKernelArgumentsError as error:
        raise InvalidBootEntryError(f"{name}: {error.message}") from error
    own = f"{KERNEL_ARGUMENT}={deployment}"
    if [word for word in arguments if key_of(word) == KERNEL_ARGUMENT] != [own]:
        raise InvalidBootEntryError(f"{name} does not have {own} exactly once in its options")
    arguments.remove(own)
    return tuple(arguments)


def _clean_title(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text[:MAX_VALUE])
    return " ".join(shown.split())[:_MAX_TITLE].rstrip()
