"""OCI images built one layer at a time by umoci, which knows nothing of bootd."""

from __future__ import annotations

from pathlib import Path

from bootd.process import run

_TIMEOUT = 1_800.0


class LayeredImage:
    """A tree that is changed in place; each `seal` makes a layer of what changed since the last.

    Attributes:
        rootfs: the tree.
    """

    def __init__(self, layout: Path, work: Path, start: str | None = None) -> None:
        """Begin with an empty image in `layout`, or go on from its tag `start`.

        `work` must not exist; it is the caller's to remove.
        """
        self.layout = layout
        self._bundle = work
        if start is None:
            if not layout.exists():
                _umoci("init", "--layout", str(layout))
            _umoci("new", "--image", f"{layout}:empty")
        _umoci("unpack", "--image", f"{layout}:{start or 'empty'}", str(work))
        self.rootfs = work / "rootfs"

    def seal(self, tag: str) -> None:
        """Make a layer of all changes and tag the image that ends with it."""
        _umoci("repack", "--refresh-bundle", "--image", f"{self.layout}:{tag}", str(self._bundle))

    def branch(self, tag: str) -> None:
        """Tag an image with a layer of all changes since the last `seal`, which stays the base."""
        _umoci("repack", "--image", f"{self.layout}:{tag}", str(self._bundle))

    def publish(self, tag: str, version: str) -> None:
        """Give a tagged image its version."""
        _umoci(
            *("config", "--image", f"{self.layout}:{tag}"),
            *("--config.label", f"org.opencontainers.image.version={version}"),
            *("--manifest.annotation", f"org.opencontainers.image.version={version}"),
        )


def drop_unreachable(layout: Path, *tags: str) -> None:
    """Remove tags that were only steps, and the blobs that no other tag needs."""
    for tag in tags:
        _umoci("rm", "--image", f"{layout}:{tag}")
    _umoci("gc", "--layout", str(layout))


def _umoci(*arguments: str) -> None:
    run(["umoci", *arguments], timeout=_TIMEOUT)
