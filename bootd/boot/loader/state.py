"""What stands under bootd's names for its boot loader, and whether it may be replaced."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bootd.boot.loader.file import (
    ANY_PROGRAM,
    NO_PROGRAM,
    LoaderFile,
    is_program,
    read_loader,
)
from bootd.model.boot.loader import LoaderRecord, WrittenLoader


@dataclass(frozen=True, slots=True)
class LoaderState:
    """One of bootd's names for a loader.

    Attributes:
        name: the path from the root of ``$BOOT``.
        problem: what is wrong with what is there, for people; None: it is a loader of bootd's.
        free: bootd may write it.
    """

    name: str
    problem: str | None = None
    free: bool = True


def loader_states(boot: Path, record: LoaderRecord, *, thorough: bool) -> list[LoaderState]:
    """Look at all of bootd's names.

    Args:
        boot: where ``$BOOT`` is mounted.
        record: what is known of bootd's loader.
        thorough: let damaged files be replaced; otherwise they stay, for they may be somebody's
            after all.

    Raises:
        WriteFailedError: a file cannot be read.
    """
    return [_state(boot, name, record, thorough=thorough) for name in record.names]


def _state(boot: Path, name: str, record: LoaderRecord, *, thorough: bool) -> LoaderState:
    path = boot / name
    newest = record.written[0]
    if path.is_dir():
        return LoaderState(name, f"{name} is a folder now, which bootd leaves", free=False)
    there = read_loader(path)
    if there is None:
        kind = "is empty" if path.exists() else "is missing"
        return LoaderState(name, f"the boot loader {name} {kind}")
    known = {one.sha256 for one in (record.written if record.complete else [newest])}
    if record.offered is not None and record.offered.loader is not None:
        # bootctl(1) of the image may have been quicker.
        known.add(record.offered.loader.sha256)
    return (
        LoaderState(name)
        if there[1].sha256 in known
        else _unknown(name, *there, record, thorough=thorough)
    )


def _unknown(
    name: str, data: bytes, file: LoaderFile, record: LoaderRecord, *, thorough: bool
) -> LoaderState:
    if file.sha256 in {one.sha256 for one in record.written}:
        return LoaderState(name, f"the boot loader {name} was not replaced yet")
    if _is_damaged(data, file, record.written[0]):
        hint = "" if thorough else "; 'bootctl-py fsck' puts it right"
        return LoaderState(name, f"the boot loader {name} is damaged{hint}", free=thorough)
    return LoaderState(
        name,
        f"{name} is {file.description} of another system now, which bootd leaves; to have bootd's "
        "there again, remove it and run 'bootctl-py fsck'",
        free=False,
    )


def _is_damaged(data: bytes, file: LoaderFile, expected: WrittenLoader) -> bool:
    """Tell whether it is what is left of bootd's loader, and no whole program of anybody's."""
    if file.version is not None:
        # Another version is another loader, whatever its size.
        like_ours = file.version == expected.version
    else:
        like_ours = file.description in (ANY_PROGRAM, NO_PROGRAM)
    return like_ours and (file.size == expected.size or not is_program(data))
