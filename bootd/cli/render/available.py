"""What was looked up last, in a line: to be had, here already, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootd.cli.render.text import moment, printable, short_digest

if TYPE_CHECKING:
    from bootd.model.documents import AvailableImage


def seen(available: AvailableImage | None) -> tuple[str, str]:
    """Return a line's name and its text; both are empty where there is nothing to tell."""
    if available is None:
        return "", ""
    when = moment(available.checked)
    what = named(available.image_version, available.digest)
    return {
        "new": ("Available", f"{what}, seen {when}"),
        "booted": ("Up to date", f"asked {when}"),
        "staged": ("Up to date", f"after a restart, asked {when}"),
        "queued": ("Up to date", f"after a restart, asked {when}"),
        "denied": ("Refused", f"{what}, which is on the deny list, seen {when}"),
        "unfit": ("Refused", f"{what}, which no host can use, seen {when}"),
    }.get(available.standing, ("", ""))


def named(version: str, digest: str) -> str:
    """Return an image as people call it: by its version, if it has one, and its digest."""
    return f"{printable(version)} ({short_digest(digest)})" if version else short_digest(digest)
