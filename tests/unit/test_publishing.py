"""Layers get their names after a sync, during which the image is composed; and none if it fails."""

import threading
from contextlib import contextmanager

import pytest
from support.images import OCI_LAYER, tar_layer

from bootd.durable import Disk
from bootd.model.digest import Digest
from bootd.model.errors import WriteFailedError
from bootd.store.erofs import encode_erofs
from bootd.store.growing_tree import GrowingTree
from bootd.store.layer import import_layer
from bootd.store.layers import all_layers, has_layer
from bootd.store.publishing import LayerPublisher
from bootd.sysroot import Sysroot

LAYERS = [tar_layer({f"usr/{name}": name.encode() * 99}) for name in "abc"]
A, B, C = (Digest.of(layer) for layer in LAYERS)


class SlowDisk(Disk):
    """Counts syncs, and holds each until it is told to let it end, or to let it fail."""

    def __init__(self):
        self.syncs = 0
        self.fails = set()
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def sync_filesystem(self, path):
        self.syncs += 1
        self.begun.release()
        self.may_end.acquire()
        if self.syncs in self.fails:
            raise WriteFailedError(f"cannot sync the file system of {path}: Input/output error")


@pytest.fixture
def disk():
    return SlowDisk()


@pytest.fixture
def sysroot(tmp_path, disk):
    made = Sysroot.at(tmp_path / "root", disk)
    made.initialise()
    return made


def write(sysroot, *numbers):
    return [
        import_layer(sysroot, [LAYERS[one]], media_type=OCI_LAYER, diff_id=Digest.of(LAYERS[one]))
        for one in numbers
    ]


@contextmanager
def publishing(sysroot, disk):
    """A publisher that does not have to wait for its syncs when it ends."""
    with LayerPublisher(sysroot) as publisher:
        try:
            yield publisher
        finally:
            for _ in LAYERS:
                disk.may_end.release()


def test_a_layer_can_be_read_before_it_is_found_and_after(sysroot, disk):
    trees = [GrowingTree(sysroot, [A], {A}) for _ in range(2)]
    with publishing(sysroot, disk) as publisher:
        [layer] = write(sysroot, 0)
        for tree in trees:
            assert not tree.grow()
            tree.arrived(layer)
        publisher.add(layer)
        disk.begun.acquire()
        assert trees[0].grow()
        assert not has_layer(sysroot, A)
    assert has_layer(sysroot, A)
    assert not layer.index.exists()
    assert trees[1].grow()
    one, other = (b"".join(encode_erofs(tree.whole())) for tree in trees)
    assert one == other


def test_layers_that_come_during_a_sync_share_the_next(sysroot, disk):
    first, *others = write(sysroot, 0, 1, 2)
    with publishing(sysroot, disk) as publisher:
        publisher.add(first)
        disk.begun.acquire()
        for layer in others:
            publisher.add(layer)
        assert all_layers(sysroot) == []
        disk.may_end.release()
        disk.begun.acquire()
        assert all_layers(sysroot) == [A]
    assert all_layers(sysroot) == sorted([A, B, C])
    assert disk.syncs == 2


def publish_in_rounds(sysroot, disk, *layers):
    """Each but the last has a sync of its own."""
    *others, last = layers
    with LayerPublisher(sysroot) as publisher:
        for layer in others:
            publisher.add(layer)
            disk.begun.acquire()
        publisher.add(last)


@pytest.mark.parametrize("failing", [1, 2])
def test_after_a_sync_that_failed_nothing_is_published(sysroot, disk, failing):
    """Not even what another sync would vouch for: the kernel tells of a lost write only once."""
    disk.fails = {failing}
    layers = write(sysroot, 0, 1, 2)
    for _ in layers:
        disk.may_end.release()
    with pytest.raises(WriteFailedError, match="Input/output"):
        publish_in_rounds(sysroot, disk, *layers[:failing], layers[2])
    assert all_layers(sysroot) == [A][: failing - 1]
    assert disk.syncs == failing


def publish_and_fail(sysroot, disk, layers):
    with publishing(sysroot, disk) as publisher:
        for layer in layers:
            publisher.add(layer)
        raise KeyError


def test_what_was_written_stays_when_something_else_fails(sysroot, disk):
    layers = write(sysroot, 0, 1)
    with pytest.raises(KeyError):
        publish_and_fail(sysroot, disk, layers)
    assert all_layers(sysroot) == sorted([A, B])


def test_the_first_failure_is_the_one_to_report(sysroot, disk):
    disk.fails = {1}
    layers = write(sysroot, 0)
    with pytest.raises(KeyError):
        publish_and_fail(sysroot, disk, layers)
    assert all_layers(sysroot) == []
