"""Which layers are in the store: those that have an index (`bootd.store.layer_index`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bootd.durable import TEMPORARY_PREFIX, storage_errors
from bootd.model.digest import Digest
from bootd.model.errors import (
    DamagedRecordError,
    DiffIdMismatchError,
    InvalidDigestError,
    InvalidLayerError,
    UnknownMediaTypeError,
)
from bootd.sysroot import Sysroot

_MESSAGE_LIMIT: Final = 300


@contextmanager
def in_layer(number: int) -> Iterator[None]:
    """Say of which of an image's layers a refusal speaks, in at most 300 characters.

    Args:
        number: the layer's, from 1, the lowest.

    Raises:
        InvalidLayerError, DiffIdMismatchError, UnknownMediaTypeError: what the body raised, with
            the number.
    """
    try:
        yield
    except (InvalidLayerError, DiffIdMismatchError, UnknownMediaTypeError) as error:
        message = f"layer {number}: {error.message}"
        if len(message) > _MESSAGE_LIMIT:
            message = message[: _MESSAGE_LIMIT - 1] + "…"
        raise type(error)(message, hint=error.hint) from error


def layer_path(sysroot: Sysroot, diff_id: Digest) -> Path:
    """Return where a layer's index is, whether it exists or not."""
    return sysroot.layers / diff_id


def has_layer(sysroot: Sysroot, diff_id: Digest) -> bool:
    """Return whether a layer is in the store, whole and durable."""
    return layer_path(sysroot, diff_id).is_file()


def all_layers(sysroot: Sysroot) -> list[Digest]:
    """Return the diff IDs of the layers in the store, sorted."""
    if not sysroot.layers.is_dir():
        return []
    with storage_errors("list", sysroot.layers):
        names = sorted(path.name for path in sysroot.layers.iterdir())
    layers = []
    for name in names:
        if not name.startswith(TEMPORARY_PREFIX):
            try:
                layers.append(Digest(name))
            except InvalidDigestError as error:
                raise DamagedRecordError(f"{sysroot.layers / name} is no layer") from error
    return layers
