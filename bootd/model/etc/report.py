r"""What a merge of ``/etc`` did, or would do, and what a machine changed in its ``/etc``.

Paths are absolute (``/etc/...``) and printable: bytes of no printable UTF-8, and backslashes, stand
as ``\xNN``. `escape` and `unescape` turn each into the other without loss. Lists are bounded;
`truncated` says how many items a list would have had beyond that.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bootd.model.errors import InvalidArgumentError
from bootd.model.hash_algorithm import VERITY_HEX
from bootd.model.readers import GuardedText, Reader, ShownText

MAX_CONFLICTS: Final = 1_000
MAX_NOTES: Final = 1_000
MAX_CHANGES: Final = 10_000
MAX_XATTRS: Final = 32
_MAX_TEXT: Final = 1 << 18
_ESCAPED: Final = re.compile(rb"\\x([0-9a-f]{2})")


def escape(name: bytes) -> str:
    r"""Return a file name or path as printable text, other bytes and backslashes as ``\xNN``."""
    text = name.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        character if character.isprintable() and character != "\\" else _hexadecimal(character)
        for character in text
    )


def unescape(text: str) -> bytes:
    """Return the bytes that `escape` made `text` of.

    Raises:
        InvalidArgumentError: a backslash starts no escape, or the text is not UTF-8.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = b"\\"
    if b"\\" in _ESCAPED.sub(b"", data):
        raise InvalidArgumentError(
            f"{text[:100]!r} is not a path as bootd prints it",
            hint="Write a backslash as \\x5c and other bytes as \\xNN.",
        )
    return _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), data)


def _hexadecimal(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def etc_path(relative: bytes) -> str:
    """Return how reports name a path that is relative to ``/etc``; empty is ``/etc`` itself."""
    return path_below("/etc", relative)


def path_below(folder: str, relative: bytes) -> str:
    """Return how reports name a path that is relative to a folder; empty is the folder itself."""
    return f"{folder}/{escape(relative)}" if relative else folder


def below_etc(path: str) -> bytes:
    """Return the path, relative to ``/etc``, that reports name so; the reverse of `etc_path`.

    Raises:
        InvalidArgumentError: it is not a path as bootd prints it.
    """
    return unescape(path).removeprefix(b"/etc").removeprefix(b"/")


def asked_below_etc(path: str) -> bytes:
    """Return the path, relative to ``/etc``, that somebody wrote; empty is ``/etc`` itself.

    Args:
        path: from the root, as reports print it; slashes at its end do not count.

    Raises:
        InvalidArgumentError: it is not below ``/etc``, or not written as bootd prints paths.
    """
    names = unescape(path).rstrip(b"/").split(b"/")
    if names[:2] != [b"", b"etc"] or any(name in (b"", b".", b"..") for name in names[2:]):
        raise InvalidArgumentError(
            f"{path[:200]!r} is no path below /etc",
            hint="Write it from the root and without '..', such as /etc/ssh/sshd_config.",
        )
    return b"/".join(names[2:])


class ConflictKind(StrEnum):
    """How both sides disagree; the machine's own stands in every case."""

    CONTENT = "content"
    """Both changed, or added, a file or a symbolic link, and not to the same."""
    METADATA = "metadata"
    """Both changed mode, owner, group or extended attributes, and not to the same."""
    TYPE = "type"
    """A file here is a folder or a symbolic link there, or the like."""
    DELETED_HERE = "deleted-here"
    """Deleted on this machine, changed by the image: it stays deleted."""
    DELETED_THERE = "deleted-there"
    """Changed on this machine, removed from the image: it stays."""
    ACCOUNT = "account"
    """Users or groups in an account database disagree; `EtcConflict.detail` says what stands."""


class NoteKind(StrEnum):
    """What is worth telling although nobody has to decide anything."""

    SPECIAL_SKIPPED = "special-skipped"
    """A socket, FIFO or device was not carried over."""
    FOLDER_REVIVED = "folder-revived"
    """A folder that was deleted here is back, because the image has new files in it."""
    FOLDER_KEPT = "folder-kept"
    """A folder that the image dropped stays, because it holds files of this machine."""
    METADATA_DROPPED = "metadata-dropped"
    """Mode, owner or attributes were changed here on what the image has removed or replaced."""
    XATTR_DROPPED = "xattr-dropped"
    """The file system would not take an extended attribute."""
    CHANGING = "changing"
    """It was written to again and again while it was read: what was read last is carried."""
    ACCOUNT = "account"
    """Something about a row of an account database, which the detail tells."""
    LATE = "late"
    """It was edited after the deployment was staged, and is carried over as it was at the end."""
    POLICY = "policy"
    """Both sides changed it, and a policy settled that; the detail tells how."""
    DERIVED = "derived"
    """It is made from other files, so the new deployment makes it anew before its services start;
    the detail names the rule, its program, and what else it makes."""
    LEADS_NOWHERE = "leads-nowhere"
    """A symbolic link leads to what the new image does not have any more; the detail has where."""
    PRESET = "preset"
    """A unit that is new in the image is not enabled, though a preset says so: systemd asks presets
    only when a machine starts for the first time. The detail has the command."""
    RULES = "rules"
    """What the image says about its ``/etc`` cannot be used and is ignored."""
    IMMUTABLE = "immutable"
    """It is immutable or may only be added to (chattr(1)); it is so again once the new deployment
    has started."""
    UNLOCKED = "unlocked"
    """The lock of the account databases could not be had; they were read without it."""
    OWNERS = "owners"
    """Files of the image have other owners than its numbers say; the detail tells how many."""


class EtcSide(BaseModel):
    """What stands at a path on one side.

    Of what only root may read, the digest of a short secret can be guessed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    type: Literal["absent", "file", "folder", "symlink", "special"]
    size: Annotated[int | None, Reader.INSPECTOR] = None
    digest: GuardedText | None = Field(default=None, pattern=VERITY_HEX)
    """fs-verity digest of a file's content, as objects are named; None where it is no file."""
    target: GuardedText | None = Field(default=None, max_length=_MAX_TEXT)
    mode: GuardedText | None = Field(default=None, max_length=5)
    """Octal permissions, e.g. ``0644``."""
    uid: Annotated[int | None, Reader.INSPECTOR] = None
    gid: Annotated[int | None, Reader.INSPECTOR] = None
    xattrs: Annotated[dict[GuardedText, GuardedText], Reader.INSPECTOR] = Field(
        default_factory=dict, max_length=MAX_XATTRS
    )
    """The first extended attributes by name, with the SHA-256 of each value."""


class EtcConflict(BaseModel):
    """One disagreement."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    path: ShownText = Field(max_length=_MAX_TEXT)
    kind: ConflictKind
    base: EtcSide
    """The default that the machine ran with."""
    mine: EtcSide
    """What this machine made of it; this is what the merged ``/etc`` holds."""
    theirs: EtcSide
    """The new default; it can be read below ``/usr/etc`` of the new deployment."""
    detail: ShownText = Field(default="", max_length=_MAX_TEXT)
    """What exactly, where the path alone does not say it."""
    security: bool = False
    """The machine or the image says that this path matters for security."""


class EtcNote(BaseModel):
    """One remark."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    path: ShownText = Field(max_length=_MAX_TEXT)
    kind: NoteKind
    detail: ShownText = Field(default="", max_length=_MAX_TEXT)


class EtcCounts(BaseModel):
    """How many paths went which way; a path is counted once, an unchanged one not at all."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    taken: int = 0
    """Changed or added by the image, taken."""
    removed: int = 0
    """Removed by the image, gone."""
    kept: int = 0
    """Changed or added on this machine, kept; conflicts among them."""
    deleted: int = 0
    """Deleted on this machine, still deleted."""
    merged: int = 0
    """Changed on both sides without a conflict."""
    conflicts: int = 0
    """Conflicts found, whether listed or truncated."""
    security: int = 0
    """Those of them that matter for security."""


class ChangeKind(StrEnum):
    """How what stands at a path becomes another: by the machine, or by a merge."""

    ADDED = "added"
    REMOVED = "removed"
    TYPE = "type"
    CONTENT = "content"
    METADATA = "metadata"
    CONTENT_AND_METADATA = "content-and-metadata"


class EtcStep(BaseModel):
    """What becomes of one path of the machine's ``/etc``."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    path: ShownText = Field(max_length=_MAX_TEXT)
    kind: ChangeKind


class EtcReport(BaseModel):
    """What a merge did, or what a preview says it would do."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    kind: Literal["EtcReport"] = "EtcReport"
    version: Literal[1] = 1
    counts: EtcCounts = Field(default_factory=EtcCounts)
    conflicts: list[EtcConflict] = Field(default_factory=list, max_length=MAX_CONFLICTS)
    notes: list[EtcNote] = Field(default_factory=list, max_length=MAX_NOTES)
    truncated: int = 0
    """Conflicts and notes that are counted here instead of listed."""
    changes: list[EtcStep] = Field(default_factory=list, max_length=MAX_CHANGES)
    """Of a preview: the paths that would be another than they are now, of a removed folder only
    the folder. A merge that was made does not list them."""
    more_changes: int = 0
    """How many beyond those."""


class EtcChange(BaseModel):
    """One local change."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    path: ShownText = Field(max_length=_MAX_TEXT)
    kind: ChangeKind
    base: EtcSide
    mine: EtcSide


class EtcDiff(BaseModel):
    """What a machine changed against its defaults; of a removed folder only the folder."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    kind: Literal["EtcDiff"] = "EtcDiff"
    version: Literal[1] = 1
    changes: list[EtcChange] = Field(default_factory=list, max_length=MAX_CHANGES)
    truncated: int = 0
