"""What a root file system lies on that only an initramfs can put together. Pure.

A root on a plain partition is there as soon as the disk is. One on dm-crypt, LVM or md has to be
opened or assembled first, and an initramfs that was made for all machines does that only for what
the kernel arguments name (dracut.cmdline(7); systemd-cryptsetup-generator(8)).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

_ALL: Final = "rd.auto"
_HALVES: Final = re.compile(r"(?P<group>(?:[^-]|--)+)-(?P<volume>(?:[^-]|--)+)")
"""How device mapper names a logical volume: hyphens of both names are doubled."""


def stack_warnings(listing: bytes, arguments: Sequence[str]) -> list[str]:
    """Return a sentence for each layer below a root that no kernel argument speaks of.

    Args:
        listing: what ``lsblk --json --inverse`` prints for the root's device, with the columns
            PATH, TYPE, FSTYPE and UUID.
        arguments: all kernel arguments of the machine.
    """
    found = [
        f"The root file system is on {layer.what}, {layer.device}: the image's initramfs has to be "
        f"able to set that up, and to be told to, as with --kernel-argument {layer.argument}."
        for device in json.loads(listing)["blockdevices"]
        for layer in _layers(device)
        if not any(argument.startswith((layer.family, _ALL)) for argument in arguments)
    ]
    return list(dict.fromkeys(found))


class _Layer(NamedTuple):
    """A layer, the device that it makes, and the argument by which dracut sets that up."""

    what: str
    device: str
    family: str
    argument: str


def _layers(device: dict[str, Any]) -> Iterator[_Layer]:
    below = device.get("children", ())
    path, kind = device["path"], device["type"] or ""
    identity = next((one["uuid"] for one in below if one["uuid"]), "UUID")
    name = path.rpartition("/")[2]
    if kind == "crypt":
        yield _Layer("dm-crypt", path, "rd.luks.", f"rd.luks.name={identity}={name}")
    elif kind == "lvm":
        yield _Layer("LVM", path, "rd.lvm.", f"rd.lvm.lv={_volume(name)}")
    elif kind.startswith("raid"):
        yield _Layer("md RAID", path, "rd.md.", f"rd.md.uuid={_array(identity)}")
    elif kind == "mpath":
        yield _Layer("multipath", path, "rd.multipath", "rd.multipath=1")
    for one in below:
        yield from _layers(one)


def _array(identity: str) -> str:
    """Return an array's UUID as mdadm(8) writes it; blkid(8) puts hyphens into it."""
    digits = identity.replace("-", "")
    return ":".join(digits[start : start + 8] for start in range(0, len(digits), 8))


def _volume(name: str) -> str:
    match = _HALVES.fullmatch(name)
    if match is None:
        return "GROUP/VOLUME"
    return f"{match['group']}/{match['volume']}".replace("--", "-")
