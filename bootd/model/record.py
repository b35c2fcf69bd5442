"""A file of one record: JSON of a known format, or an error that names the file and the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bootd.model.errors import DamagedRecordError, UnknownFormatError

_Model = TypeVar("_Model", bound=BaseModel)


def parse_record(path: Path, data: bytes, model: type[_Model]) -> _Model:
    """Return the record that a file holds.

    Args:
        path: the file, to be named.
        data: its content.
        model: what it should be; where that has ``format``, it is 1.

    Raises:
        DamagedRecordError: it is none.
        UnknownFormatError: it is one of a newer bootd.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedRecordError(f"{path} is not JSON: {error}") from error
    found = value.get("format", 1) if isinstance(value, dict) else None
    if "format" in model.model_fields and isinstance(found, int) and found > 1:
        raise UnknownFormatError(f"{path} has format {found}; this bootd knows format 1")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamagedRecordError(f"{path}: {where}: {first['msg']}") from error
