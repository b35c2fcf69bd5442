"""What the last check found: what ``status`` shows, and what makes a poll conditional."""

from __future__ import annotations

import json
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bootd.model.documents import AvailableImage
from bootd.model.image import CachedCheck
from bootd.sysroot import Sysroot

_FILE_NAME: Final = "check.json"
_MAX_BYTES: Final = 1 << 20


class LastCheck(BaseModel):
    """``check.json``: a cache, so one that cannot be read is as good as none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    available: AvailableImage
    cached: CachedCheck


def read_last_check(sysroot: Sysroot) -> LastCheck | None:
    """Return what was kept, or None; the next check then asks in full."""
    try:
        with (sysroot.store / _FILE_NAME).open("rb") as stream:
            return LastCheck.model_validate_json(stream.read(_MAX_BYTES))
    except (FileNotFoundError, ValidationError):
        return None


def write_last_check(sysroot: Sysroot, last: LastCheck) -> None:
    """Keep an answer."""
    text = json.dumps(last.model_dump(mode="json"), indent=2, sort_keys=True)
    sysroot.disk.replace_file(sysroot.store / _FILE_NAME, text.encode() + b"\n")
