"""Random lives of a machine: whatever is done in whatever order, it boots and keeps its ``/etc``.

A model of a few lines says what must be true; it knows nothing of how bootd does it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.machine import Machine, publish
from support.small_boot import limit_boot, release

from bootd.boot.kernels.kernel import kernel_damage
from bootd.model.deployment import DeploymentId
from bootd.model.errors import (
    BootPartitionFullError,
    DeniedDigestError,
    DeploymentNeededError,
    FixedKernelArgumentsError,
    NoRollbackError,
)
from bootd.model.state import DeploymentState
from bootd.operations.bless import bless
from bootd.operations.collect import collect
from bootd.operations.forget import forget
from bootd.operations.fsck import fsck
from bootd.operations.kernel_arguments import change_arguments
from bootd.operations.machine.staged import unstage
from bootd.operations.machine.survey import Survey, take_survey
from bootd.operations.pin import pin
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.trial.deny import allow, denied
from bootd.operations.upgrade.arguments import coming_arguments

_SMALL_BOOT = 700 << 10
_SIZES = (200 << 10, 100 << 10, 400 << 10)


class LifeOfAMachine(RuleBasedStateMachine):
    """Rules are what people, timers and power supplies do."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="bootd-life-"))
        self.machine = Machine(self.folder / "root", self.folder / "image")
        self.version = 0
        self.edits: dict[DeploymentId, set[str]] = {}
        self.pinned: set[DeploymentId] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def found(self) -> Survey:
        return take_survey(self.machine.sysroot)

    @property
    def arguments(self) -> set[str]:
        """Which of those that people change the next boot has."""
        return set(coming_arguments(self.found)) & set("xyz")

    @initialize()
    def install(self) -> None:
        self.machine.folder.mkdir()
        self.publish()
        self.machine.upgrade()
        booted = self.machine.reboot()
        self.edits[booted] = set()

    @rule()
    def publish(self) -> None:
        self.version += 1
        publish(self.machine.image, f"v{self.version}")

    @rule()
    def upgrade(self) -> None:
        wanted = self.arguments
        may_be_lost = self.found.queued is not None
        try:
            self.machine.upgrade()
        except DeniedDigestError:
            assert denied(self.machine.host).denied
        assert may_be_lost or self.arguments == wanted

    @rule(name=st.sampled_from("abc"))
    def edit_etc(self, name: str) -> None:
        booted = self.found.booted
        assert booted is not None
        (self.machine.etc(booted) / name).write_text(f"{name} of this machine\n" * 9)
        self.edits[booted].add(name)

    @rule(healthy=st.booleans())
    def reboot(self, healthy: bool) -> None:
        before, wanted = self.found, self.arguments
        booted = self.machine.reboot(healthy=healthy)
        if before.staged is not None:
            assert booted == before.staged
            assert set(self.machine.sysroot.command_line.read_text().split()) & set("xyz") == wanted
        self._inherit(before, booted)

    @rule(healthy=st.booleans())
    def power_cut(self, healthy: bool) -> None:
        before = self.found
        booted = self.machine.power_on(healthy=healthy)
        assert booted != before.staged
        self._inherit(before, booted)
        assert self.found.staged == before.staged
        marker = self.machine.sysroot.read_staged()
        assert (marker and marker.deployment) == before.staged

    @rule(verb=st.sampled_from(["add", "unset"]), words=st.sets(st.sampled_from("xyz"), min_size=1))
    def change_arguments(self, verb: str, words: set[str]) -> None:
        wanted = self.arguments
        try:
            change_arguments(self.machine.host, Silent(), verb=verb, words=sorted(words))
        except FixedKernelArgumentsError:
            assert self.found.queued is not None
        else:
            wanted = wanted | words if verb == "add" else wanted - words
        assert self.arguments == wanted

    @rule()
    def bless(self) -> None:
        bless(self.machine.host)
        booted = self.found.booted
        assert booted is not None
        assert self.found.state_of(booted) is DeploymentState.GOOD

    @rule()
    def roll_back(self) -> None:
        before = self.found
        target = before.rollback_target()
        try:
            done = rollback(self.machine.host, Silent())
        except NoRollbackError:
            assert target is None
            return
        assert done.deployment == target == self.found.next_boot
        assert self.found.staged is None

    @precondition(lambda self: len(self.found.kept()) > 1)
    @rule()
    def roll_back_twice(self) -> None:
        before = self.found
        if before.rollback_target() is None or before.queued is not None:
            return
        rollback(self.machine.host, Silent())
        rollback(self.machine.host, Silent())
        assert self.found.next_boot == before.next_boot

    @rule()
    def unstage(self) -> None:
        unstage(self.machine.host)
        assert self.found.staged is None

    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        bootable = [entry.deployment for entry in self.found.entries]
        chosen = data.draw(st.sampled_from(bootable))
        pinned = data.draw(st.booleans())
        pin(self.machine.host, chosen, pinned=pinned)
        (self.pinned.add if pinned else self.pinned.discard)(chosen)

    @rule()
    def collect(self) -> None:
        before = self.found
        done = collect(self.machine.host, Silent())
        after = self.found
        kept = {before.booted, before.staged, before.next_boot, before.rollback_target()}
        assert not set(done.deployments) & (kept | self.pinned)
        assert after.rollback_target() == before.rollback_target()
        again = collect(self.machine.host, Silent())
        assert (again.deployments, again.objects, again.images) == ([], 0, 0)

    @rule()
    def allow_all(self) -> None:
        for denial in denied(self.machine.host).denied:
            allow(self.machine.host, denial.digest)

    @invariant()
    def boots(self) -> None:
        if not self.machine.sysroot.store.is_dir():
            return
        found = self.found
        assert not found.problems
        assert found.next_boot in found.records
        for entry in found.entries:
            record = found.records[entry.deployment]
            assert kernel_damage(self.machine.sysroot, record.kernel) is None
            assert (self.machine.sysroot.deployment(record.id) / "root.erofs").is_file()
        for deployment, names in self.edits.items():
            if deployment in found.records:
                for name in names:
                    assert (self.machine.etc(deployment) / name).is_file(), (deployment, name)

    @invariant()
    def pins_hold(self) -> None:
        if self.machine.sysroot.store.is_dir():
            assert self.pinned <= {record.id for record in self.found.records.values()}

    @invariant()
    def nothing_is_damaged(self) -> None:
        if self.machine.sysroot.store.is_dir():
            assert not fsck(self.machine.host, Silent(), repair=False).damages

    def _inherit(self, before: Survey, booted: DeploymentId) -> None:
        """A deployment that boots for the first time has the edits of the one before it."""
        assert before.booted is not None
        if booted not in self.edits:
            self.edits[booted] = set(self.edits[before.booted])


class LifeOnASmallBoot(LifeOfAMachine):
    """The same with a ``$BOOT`` for two kernels, of which each version has one of its own size.

    What does not fit is refused and changes nothing; what fits by giving up a fallback goes on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        limit_boot(self.patch, _SMALL_BOOT)

    def teardown(self) -> None:
        self.patch.undo()
        super().teardown()

    @rule(size=st.sampled_from(_SIZES), shared=st.booleans())
    def publish(self, size: int = _SIZES[0], *, shared: bool = False) -> None:
        self.version += 1
        release(self.machine, f"v{self.version}", size, same_as="shared" if shared else "")

    @rule()
    def upgrade(self) -> None:
        before = self.found
        try:
            super().upgrade()
        except BootPartitionFullError:
            assert self.found.entries == before.entries
            assert self.found.intent == before.intent

    @rule(healthy=st.booleans())
    def reboot(self, healthy: bool) -> None:
        before = self.found
        try:
            super().reboot(healthy)
        except BootPartitionFullError:
            assert self.found.staged == before.staged
            assert self.found.intent.finalize_failure
            self._inherit(before, self.machine.power_on(healthy=healthy))

    @rule()
    def roll_back(self) -> None:
        before = self.found
        try:
            super().roll_back()
        except BootPartitionFullError:
            assert self.found == before

    @precondition(lambda self: len(self.found.kept()) > 1)
    @rule()
    def roll_back_twice(self) -> None:
        before = self.found
        try:
            super().roll_back_twice()
        except BootPartitionFullError:
            assert self.found.next_boot == before.next_boot

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        before = self.found
        chosen = data.draw(st.sampled_from(sorted(before.records)))
        try:
            forget(self.machine.host, Silent(), deployment=chosen)
        except DeploymentNeededError:
            assert self.found.entries == before.entries
        else:
            assert chosen not in self.found.records
            assert chosen not in (before.booted, before.staged)
            assert chosen not in self.pinned

    @invariant()
    def something_good_boots(self) -> None:
        if self.machine.sysroot.store.is_dir():
            found = self.found
            assert found.entry(found.booted) is not None
            assert (
                any(entry.tries_left is None for entry in found.entries) or len(found.records) == 1
            )


for _life in (LifeOfAMachine, LifeOnASmallBoot):
    _life.TestCase.settings = settings(
        max_examples=25,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
TestLifeOfAMachine = LifeOfAMachine.TestCase
TestLifeOnASmallBoot = LifeOnASmallBoot.TestCase
