"""The devicetree of a board: which file of an image it is.

A board whose firmware does not describe it needs one file that does, and an image for several
boards has hundreds. Which it is says the file ``/etc/kernel/devicetree`` of the machine, else
``/usr/lib/kernel/devicetree`` of the image: a name relative to where kernel packages put them. An
image for one board has the file itself beside its kernel.

Sources: kernel-install(8), for the two files that name one, and its plugin 90-loaderentry for the
folders; ostree(1), for the file beside the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from bootd.model.errors import NoDevicetreeError
from bootd.model.tree import Node, RegularFile

NAMED_BY_THE_MACHINE: Final = "/etc/kernel/devicetree"
NAMED_BY_THE_IMAGE: Final = "/usr/lib/kernel/devicetree"
MAX_NAME_FILE: Final = 4_096

_SHOWN: Final = 200
_FOLDERS: Final = (
    "/usr/lib/firmware/{version}/device-tree",
    "/usr/lib/linux-image-{version}",
    "/usr/lib/modules/{version}/dtb",
)
_BESIDE_THE_KERNEL: Final = "/usr/lib/modules/{version}/devicetree"
_NAME: Final = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9,._+@-]*/)*[A-Za-z0-9_-][A-Za-z0-9,._+@-]*")


def pick_devicetree(
    named: list[tuple[str, bytes]], version: str, look: Callable[[str], Node | None]
) -> RegularFile | None:
    """Return the devicetree to boot with, or None: the firmware has it.

    Args:
        named: path and content of each file there is that names one, the first being the one that
            counts. One without a name says that none is wanted.
        version: the kernel's.
        look: returns what the image has at a path.

    Raises:
        NoDevicetreeError: what is named is not there, or is no file.
    """
    if not named:
        path = _BESIDE_THE_KERNEL.format(version=version)
        node = look(path)
        return None if node is None else _checked(path, node)
    said_by, content = named[0]
    name = content.decode(errors="replace").strip()
    if not name:
        return None
    if _NAME.fullmatch(name) is None:
        raise NoDevicetreeError(f"{said_by} names {name[:200]!r}, which is no devicetree's name")
    paths = [f"{folder.format(version=version)}/{name}" for folder in _FOLDERS]
    for path in paths:
        node = look(path)
        if node is not None:
            return _checked(path, node)
    raise NoDevicetreeError(
        f"{said_by} names the devicetree {name[:_SHOWN]}; the image has none of {', '.join(paths)}"
    )


def _checked(path: str, node: Node) -> RegularFile:
    if not isinstance(node, RegularFile):
        raise NoDevicetreeError(f"{path} is not a regular file")
    if node.verity is None:
        raise NoDevicetreeError(f"{path} has {node.size} bytes, too few for a devicetree")
    return node
