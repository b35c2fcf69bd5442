"""What is on the boot partition, as a table."""

from __future__ import annotations

from typing import Final

from bootd.cli.render.marked import renders
from bootd.cli.render.text import printable, size, table
from bootd.cli.style import Style
from bootd.model.boot.usage import BootFolder, BootOwner, BootUsageDocument

_SHORT: Final = 12


@renders
def render_boot_usage(document: BootUsageDocument, style: Style) -> str:
    """Return who holds what, and what a cleanup would free."""
    rows = [
        (size(one.bytes), _user(one), _folder(one.folder), "would go" if one.removable else "")
        for one in document.kernels
    ]
    rows += [(size(one.bytes), "others", one.path, "") for one in document.others]
    free = f"{size(document.free)} of {size(document.size)} are free on the boot partition."
    freed = (
        f"'bootctl-py cleanup' would free {style.good(size(document.freed_bytes))} there."
        if document.freed_bytes
        else "'bootctl-py cleanup' would free nothing there."
    )
    return "\n".join([free, table(("SIZE", "OF", "WHERE", "CLEANUP"), rows, style), freed])


def _user(folder: BootFolder) -> str:
    if folder.deployments:
        return " ".join(folder.deployments)
    match folder.owner:
        case BootOwner.OWN:
            return "a deployment without an entry"
        case BootOwner.NEIGHBOUR:
            return f"another installation ({folder.installation or 'an older one'})"
        case BootOwner.OTHER:
            return "others"
        case BootOwner.NOBODY:
            return "nobody"


def _folder(name: str) -> str:
    shown = printable(name)
    return f"bootd/{shown[:_SHORT]}…" if len(shown) > _SHORT else f"bootd/{shown}"
