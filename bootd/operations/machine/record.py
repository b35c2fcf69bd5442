"""Reads a JSON record that an operation keeps beside what it is about."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bootd.model.errors import DamagedRecordError

_Model = TypeVar("_Model", bound=BaseModel)


def read_record(path: Path, model: type[_Model], limit: int) -> _Model | None:
    """Return a record, or None where there is none.

    Args:
        path: the file.
        model: what it holds.
        limit: most bytes that are read; a longer one is damaged.

    Raises:
        DamagedRecordError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return model.model_validate_json(stream.read(limit))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise DamagedRecordError(f"{path} cannot be read: {error}") from error
