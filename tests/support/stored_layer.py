"""A layer that came into a store in one go, as an upgrade that fetches nothing else does it."""

from __future__ import annotations

from typing import Any

from bootd.store.layer import import_layer
from bootd.store.layer_index import WrittenLayer
from bootd.store.publishing import publish_layers
from bootd.sysroot import Sysroot


def stored_layer(sysroot: Sysroot, *arguments: Any, **more: Any) -> WrittenLayer:
    """Import a layer (see `import_layer`) and publish it."""
    written = import_layer(sysroot, *arguments, **more)
    publish_layers(sysroot, [written])
    return written
