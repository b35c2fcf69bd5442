"""Layers get their names after a sync, during which the image is composed; and none if it fails."""

import os
import signal
from pathlib import Path

import pytest
from support.held_disk import HeldDisk
from support.images import OCI_LAYER, tar_layer

from bootd import child
from bootd.model.digest import Digest
from bootd.model.errors import BusyError, CancelledError, ProcessFailedError, WriteFailedError
from bootd.operations.pulling.publisher import LayerPublisher
from bootd.store.erofs import encode_erofs
from bootd.store.images.growing_tree import GrowingTree
from bootd.store.layer import import_layer
from bootd.store.layers import all_layers, has_layer
from bootd.sysroot import Sysroot

LAYERS = [tar_layer({f"usr/{name}": name.encode() * 99}) for name in "abc"]
A, B, C = (Digest.of(layer) for layer in LAYERS)


@pytest.fixture
def disk(tmp_path):
    return HeldDisk(tmp_path)


@pytest.fixture
def sysroot(tmp_path, disk):
    made = Sysroot.at(tmp_path / "root", disk)
    made.initialise()
    with made.lock(exclusive=True):
        yield made


def write(sysroot, count):
    return [
        import_layer(sysroot, [layer], media_type=OCI_LAYER, diff_id=Digest.of(layer))
        for layer in LAYERS[:count]
    ]


def test_a_layer_can_be_read_before_it_is_found_and_after(sysroot, disk):
    trees = [GrowingTree(sysroot, [A], {A}) for _ in range(2)]
    [layer] = write(sysroot, 1)
    for tree in trees:
        assert not tree.grow()
        tree.arrived(layer)
    with LayerPublisher(sysroot) as publisher:
        publisher.add(layer)
        disk.await_sync(1)
        assert trees[0].grow()
        assert not has_layer(sysroot, A)
        disk.let(1)
    assert has_layer(sysroot, A)
    assert not layer.index.exists()
    assert trees[1].grow()
    one, other = (b"".join(encode_erofs(tree.whole())) for tree in trees)
    assert one == other


def test_layers_that_come_during_a_sync_share_the_next(sysroot, disk):
    first, *others = write(sysroot, 3)
    with LayerPublisher(sysroot) as publisher:
        publisher.add(first)
        disk.await_sync(1)
        for layer in others:
            publisher.add(layer)
        assert all_layers(sysroot) == []
        disk.let(1)
        disk.await_sync(2)
        assert all_layers(sysroot) == [A]
        disk.let(2)
    assert all_layers(sysroot) == sorted([A, B, C])
    assert disk.syncs == 2


def publish_in_rounds(sysroot, disk, *layers):
    """Each but the last has a sync of its own."""
    *others, last = layers
    with LayerPublisher(sysroot) as publisher:
        for number, layer in enumerate(others, 1):
            publisher.add(layer)
            disk.await_sync(number)
        publisher.add(last)


@pytest.mark.parametrize("failing", [1, 2])
def test_after_a_sync_that_failed_nothing_is_published(sysroot, disk, failing):
    """Not even what another sync would vouch for: the kernel tells of a lost write only once."""
    disk.let(1, 2, 3)
    disk.let(failing, fail=True)
    layers = write(sysroot, 3)
    with pytest.raises(WriteFailedError, match="Input/output"):
        publish_in_rounds(sysroot, disk, *layers[:failing], layers[2])
    assert all_layers(sysroot) == [A][: failing - 1]
    assert disk.syncs == failing


def publish_and_fail(sysroot, layers):
    with LayerPublisher(sysroot) as publisher:
        for layer in layers:
            publisher.add(layer)
        raise KeyError


def test_what_was_written_stays_when_something_else_fails(sysroot, disk):
    disk.let(1, 2)
    layers = write(sysroot, 2)
    with pytest.raises(KeyError):
        publish_and_fail(sysroot, layers)
    assert all_layers(sysroot) == sorted([A, B])


def test_the_first_failure_is_the_one_to_report(sysroot, disk):
    disk.let(1, fail=True)
    layers = write(sysroot, 1)
    with pytest.raises(KeyError):
        publish_and_fail(sysroot, layers)
    assert all_layers(sysroot) == []


def publish_and_be_cancelled(sysroot, disk, layer):
    with sysroot.lock(exclusive=True), LayerPublisher(sysroot) as publisher:
        publisher.add(layer)
        disk.await_sync(1)
        raise CancelledError("no longer wanted")


def test_a_job_that_is_cancelled_leaves_the_sync_to_the_process(disk, tmp_path, monkeypatch):
    """It keeps the store locked until the layer is published."""
    monkeypatch.setattr(child, "LEAVE_SECONDS", 0.1)
    sysroot = Sysroot.at(tmp_path / "root", disk)
    sysroot.initialise()
    [layer] = write(sysroot, 1)
    with pytest.raises(CancelledError):
        publish_and_be_cancelled(sysroot, disk, layer)
    with pytest.raises(BusyError), sysroot.lock(exclusive=True):
        pass
    disk.let(1)
    with sysroot.lock(exclusive=True, wait_seconds=60):
        assert all_layers(sysroot) == [A]
    os.waitpid(-1, 0)


def publish_and_be_killed(sysroot, disk, layer):
    with LayerPublisher(sysroot) as publisher:
        publisher.add(layer)
        disk.await_sync(1)
        [process] = Path("/proc/thread-self/children").read_text().split()
        os.kill(int(process), signal.SIGKILL)


def test_that_the_process_was_killed_is_told(sysroot, disk):
    [layer] = write(sysroot, 1)
    with pytest.raises(ProcessFailedError, match="durable was killed"):
        publish_and_be_killed(sysroot, disk, layer)
    assert all_layers(sysroot) == []
