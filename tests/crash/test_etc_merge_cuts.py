"""The power goes while a random /etc is carried over at shutdown; the next one does it again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.effort import examples
from support.etc_strategies import CONTENTS, TREES
from support.etc_trees import flatten, lay_out, read_back
from support.machine import Machine, installed
from support.power import LOSSES, CutDisk, Loss, PowerCut, cut_disk

from bootd.durable import Disk
from bootd.model.deployment import DeploymentId
from bootd.model.tree import Directory
from bootd.operations.finalize import finalize
from bootd.operations.progress import Silent

EXAMPLES = settings(examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def staged() -> Iterator[Machine]:
    """A machine with v2 staged."""
    folder = Path(tempfile.mkdtemp(prefix="bootd-merge-cuts-"))
    machine = installed(folder)
    machine.upgrade()
    yield machine
    shutil.rmtree(folder)


@EXAMPLES
@given(tree=TREES, loss=st.sampled_from(LOSSES), data=st.data())
def test_a_merge_that_was_cut_and_repeated_gives_the_same(
    staged: Machine, tree: Directory, loss: Loss, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        whole = copied(staged, place / "whole", tree)
        finalize(whole.host, Silent())
        expected = result(whole)
        cut = data.draw(st.integers(0, len(cut_disk(whole).steps) - 1))
        doomed = copied(staged, place / "cut", tree, cut)
        with pytest.raises(PowerCut):
            finalize(doomed.host, Silent())
        cut_disk(doomed).lose(loss)
        survivor = Machine(doomed.folder, staged.image, Disk(), staged.configuration)
        survivor.power_on()
        finalize(survivor.host, Silent())
        assert result(survivor) == expected
        old = survivor.etc(first(survivor))
        assert read_back(old, times=False) == flatten(tree, CONTENTS, times=False)


def copied(machine: Machine, folder: Path, tree: Directory, cut: int | None = None) -> Machine:
    """The machine with another /etc."""
    found = machine.copy(folder / "root", CutDisk(folder / "limbo", cut))
    etc = found.etc(first(found))
    shutil.rmtree(etc)
    lay_out(tree, etc, CONTENTS)
    return found


def first(machine: Machine) -> DeploymentId:
    """The deployment of v1, which ran when v2 was staged."""
    ids = machine.sysroot.deployment_ids()
    return next(one for one in ids if machine.sysroot.read_deployment(one).version == "v1")


def result(machine: Machine) -> object:
    ids = machine.sysroot.deployment_ids()
    second = next(one for one in ids if machine.sysroot.read_deployment(one).version == "v2")
    return read_back(machine.etc(second))
