"""Accounts that an image has below ``/usr/lib`` and not in ``/etc``, as nss-altfiles reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bootd.etc.accounts.findings import WORD, Finding
from bootd.etc.accounts.records import GROUP, ID, PASSWD, read_table
from bootd.etc.accounts.rows import shown

_CHANGES_ID: Final = {PASSWD: "usermod --uid", GROUP: "groupmod --gid"}


def clashes_elsewhere(
    mine: Mapping[str, bytes], before: Mapping[str, bytes], after: Mapping[str, bytes]
) -> list[Finding]:
    """Return which accounts that an image brings below ``/usr/lib`` have the id of another here.

    Both names are one to the kernel then. Those that the image before had as well were told.

    Args:
        mine: passwd and group of the machine.
        before: passwd and group below ``/usr/lib`` of the image that it ran.
        after: those of the new image.
    """
    clashes = []
    for database in (PASSWD, GROUP):
        here, old, new = (
            read_table(database, side.get(database, b"")).rows for side in (mine, before, after)
        )
        owners: dict[int, bytes] = {}
        for name, row in here.items():
            owners.setdefault(int(row[ID]), name)
        for name, row in new.items():
            other = owners.get(int(row[ID]))
            known = name in old and old[name][ID] == row[ID]
            if other is not None and name not in here and other not in new and not known:
                text = (
                    f"{WORD[database]} {shown(name)}: in /usr/lib/{database} of the image, with "
                    f"the id {int(row[ID])}, which belongs to {shown(other)} here; give "
                    f"{shown(other)} another one, with its files ({_CHANGES_ID[database]})"
                )
                clashes.append(Finding(database, text, conflict=True))
    return clashes
