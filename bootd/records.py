"""Records: one pydantic model as JSON in a file of its own. Nothing else reads or writes them.

All records are written alike: indented by two spaces, with a line break at the end, replaced in one
durable step. Every file has a bound. A record that cannot be used is refused with its path and the
place in it, and is never taken for one that is absent; only of a cache, from which nothing follows,
that may be so.

A record may get new optional fields: an older bootd ignores what it does not know. What an older
bootd must not use raises the number of its ``format``.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bootd.durable import Disk
from bootd.model.errors import BootdError, DamagedRecordError, UnknownFormatError
from bootd.model.validation import first_error, in_words

_log = logging.getLogger(__name__)

MAX_BYTES: Final = 16 << 20
MAX_ETC_BYTES: Final = 64 << 20
"""Bound of a record that lists paths of ``/etc``, or has texts of files in it."""
_NOT_JSON: Final = "json_invalid"
"""How pydantic calls that error."""

_Model = TypeVar("_Model", bound=BaseModel)


def read_record(path: Path, model: type[_Model], max_bytes: int = MAX_BYTES) -> _Model | None:
    """Return the record that a file holds, or None where there is no such file.

    Args:
        path: the file.
        model: what it should hold; the default of its ``format``, if it has one, is the newest
            format that is known.
        max_bytes: a longer file is no record.

    Raises:
        DamagedRecordError: the file cannot be read, or it holds something else.
        UnknownFormatError: the record is of a newer bootd.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedRecordError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > max_bytes:
        raise DamagedRecordError(f"{path} has more than {max_bytes} bytes")
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        _check_format(path, data, model)
        if first_error(error)["type"] == _NOT_JSON:
            raise DamagedRecordError(f"{path} is not JSON: {first_error(error)['msg']}") from error
        raise DamagedRecordError(f"{path}: {in_words(error)}") from error
    except BootdError as error:
        # A digest or an ID refuses a text with an error of bootd's own.
        _check_format(path, data, model)
        raise DamagedRecordError(f"{path}: {error.message}") from error


def read_cache(path: Path, model: type[_Model], max_bytes: int = MAX_BYTES) -> _Model | None:
    """Return a record from which nothing follows; None as well where it cannot be used.

    Args:
        path: see `read_record`.
        model: see `read_record`.
        max_bytes: see `read_record`.
    """
    try:
        return read_record(path, model, max_bytes)
    except BootdError as error:
        _log.debug("%s", error.message)
        return None


def write_record(disk: Disk, path: Path, record: BaseModel, mode: int = 0o600) -> None:
    """Put a record in place of what the file held, durably.

    Args:
        disk: writes it.
        path: the file; its folder exists.
        record: the record.
        mode: the permissions of a new file.

    Raises:
        NoSpaceError, WriteFailedError: the disk is in the way; what was there stands.
    """
    disk.replace_file(path, encoded(record), mode)


def encoded(record: BaseModel) -> bytes:
    """Return the bytes of a record's file, for one that gets to the disk in another way."""
    return record.model_dump_json(indent=2).encode() + b"\n"


class _Format(BaseModel):
    """What is looked at of a record that cannot be used otherwise."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    format: int


def _check_format(path: Path, data: bytes, model: type[BaseModel]) -> None:
    """Refuse a record of a newer bootd, whatever else cannot be understood in it."""
    newest = model.model_fields.get("format")
    if newest is None:
        return
    try:
        given = _Format.model_validate_json(data).format
    except ValidationError:
        return
    if given > newest.default:
        raise UnknownFormatError(
            f"{path} has format {given}; this bootd knows format {newest.default}"
        )
