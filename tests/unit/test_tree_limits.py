"""What no entry of an image may be, and how many attributes an image may have."""

from __future__ import annotations

import pytest
from support.boot_tree import small_file, tree_of

from bootd.model.errors import InvalidLayerError
from bootd.model.tree import Metadata, RegularFile
from bootd.store.images.tree_limits import limit_refusals
from bootd.store.layer_entry import DEPTH_LIMIT, PATH_LIMIT
from bootd.store.tar.attributes import ATTRIBUTES_LIMIT, AttributeBound


def with_attributes(size: int) -> RegularFile:
    return RegularFile(Metadata(xattrs={b"user.large": bytes(size)}), 0, content=b"")


@pytest.mark.parametrize(
    ("path", "is_fit"),
    [
        ("/a" * (DEPTH_LIMIT + 1), True),
        ("/a" * (DEPTH_LIMIT + 2), False),
        (("/" + "a" * 255) * ((PATH_LIMIT - 1) // 256), True),
        (("/" + "a" * 255) * ((PATH_LIMIT - 1) // 256 + 1), False),
    ],
)
def test_paths(path: str, is_fit: bool) -> None:
    refusals = list(limit_refusals(tree_of({path: small_file(b"")})))
    assert [refusal.path for refusal in refusals] == ([] if is_fit else [path[1:]])


def test_attributes_of_a_file() -> None:
    tree = tree_of({"/usr/a": with_attributes(32_000), "/usr/b": with_attributes(33_000)})
    (refusal,) = limit_refusals(tree)
    assert refusal.path == "usr/b"
    assert "more than 32767" in refusal.error.message


def test_attributes_of_all_files_are_told_once() -> None:
    one = with_attributes(32_000)
    tree = tree_of({f"/usr/{number}": one for number in range(ATTRIBUTES_LIMIT // 31_000)})
    (refusal,) = limit_refusals(tree)
    assert "the image" in refusal.error.message


def test_small_attributes_go_with_their_entries() -> None:
    bound = AttributeBound("a layer")
    for _ in range(300_000):
        bound.add({b"security.ima": bytes(400)})


@pytest.mark.parametrize("surplus", [0, 1])
def test_the_bound(surplus: int) -> None:
    bound = AttributeBound("a layer")
    name = b"user.x"
    rounds = ATTRIBUTES_LIMIT // (32 << 10)
    for number in range(rounds):
        more = surplus if number == rounds - 1 else 0
        xattrs = {name: bytes((32 << 10) + 512 - len(name) + more)}
        if more:
            with pytest.raises(InvalidLayerError, match="a layer"):
                bound.add(xattrs)
        else:
            bound.add(xattrs)
