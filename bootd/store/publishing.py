"""Publishing: layers that are written become durable, and then are found.

Order of writes (docs/architecture.md, "What is written, and in which order"): one syncfs for what
all of them wrote, then the name of each index.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from bootd.store.layer_index import WrittenLayer
from bootd.store.layers import layer_path
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)


def publish_layers(sysroot: Sysroot, layers: Iterable[WrittenLayer]) -> None:
    """Make layers durable, then give their indexes the names by which they are found.

    Raises:
        NoSpaceError, WriteFailedError: that failed; layers without a name are not in the store.
    """
    sysroot.disk.sync_filesystem(sysroot.layers)
    for layer in layers:
        sysroot.disk.rename_file(layer.index, layer_path(sysroot, layer.diff_id))
        _log.debug("layer %s is in the store", layer.diff_id)
