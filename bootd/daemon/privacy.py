"""What a job's result must not tell everybody.

Anybody on the bus may read a job's properties. A report about ``/etc`` names digests, sizes and
attributes of files that only root may read, and a digest of a short secret can be guessed; so of
each side of a conflict only the type is published. `EtcConflicts` gives the whole to those who may
see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SIDES: Final = ("base", "mine", "theirs")


def without_contents(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's document without what files of ``/etc`` hold."""
    public = dict(document)
    if isinstance(public.get("etc"), dict):
        public["etc"] = without_contents(public["etc"])
    if isinstance(public.get("conflicts"), list):
        public["conflicts"] = [_conflict(found) for found in public["conflicts"]]
    return public


def _conflict(conflict: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: {"type": value["type"]} if key in _SIDES else value for key, value in conflict.items()
    }
