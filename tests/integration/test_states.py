"""The states of docs/architecture.md are those that a machine goes through."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.loader import boot, use_up_tries
from support.machine import Machine, installed

from bootd.model.deployment import DeploymentId
from bootd.model.state import DeploymentState, UpgradeState
from bootd.operations.bless import bless
from bootd.operations.finalize import finalize
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import STATES, Phase
from bootd.operations.recover import recover
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage


class Watched:
    """A machine, and the states that it was in."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.states = [self.state]

    @property
    def state(self) -> UpgradeState:
        return take_survey(self.machine.sysroot).upgrade_state()

    def report(self, phase: Phase, done: int = 0, total: int = 0) -> None:
        """Take down what the bus says while a job is in a phase."""
        assert 0 <= done <= total or not total
        self._see(STATES.get(phase, self.state))

    def see(self) -> None:
        """Take down what the disk says."""
        self._see(self.state)

    def state_of(self, deployment: DeploymentId) -> DeploymentState:
        return take_survey(self.machine.sysroot).state_of(deployment)

    def _see(self, state: UpgradeState) -> None:
        if state is not self.states[-1]:
            self.states.append(state)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(installed(tmp_path))


def test_an_upgrade_goes_through_each_state(watched: Watched) -> None:
    machine = watched.machine
    before = take_survey(machine.sysroot).booted
    assert before is not None
    staged = stage(machine.host, watched).deployment
    assert staged is not None
    watched.see()
    assert watched.state_of(staged) is DeploymentState.STAGED
    finalize(machine.host, watched)
    watched.see()
    assert watched.state_of(staged) is DeploymentState.QUEUED
    boot(machine.sysroot)
    watched.see()
    assert watched.state_of(staged) is DeploymentState.TRIAL
    assert watched.state_of(before) is DeploymentState.GOOD
    bless(machine.host)
    watched.see()
    assert watched.state_of(staged) is DeploymentState.GOOD
    state = UpgradeState
    assert watched.states == [
        state.IDLE,
        state.CHECKING,
        state.PULLING,
        state.COMPOSING,
        state.STAGED,
        state.FINALIZING,
        state.QUEUED,
        state.TRIAL,
        state.IDLE,
    ]
    assert set(watched.states) == set(UpgradeState)


def test_a_rollback_queues_the_old_deployment(watched: Watched) -> None:
    machine = watched.machine
    machine.upgrade()
    machine.reboot()
    rollback(machine.host, watched)
    watched.see()
    boot(machine.sysroot)
    watched.see()
    assert watched.states == [
        UpgradeState.IDLE,
        UpgradeState.FINALIZING,
        UpgradeState.QUEUED,
        UpgradeState.IDLE,
    ]


def test_a_trial_that_failed_leaves_nothing_under_way(watched: Watched) -> None:
    machine = watched.machine
    tried = machine.upgrade()
    machine.reboot(healthy=False)
    watched.see()
    entry = take_survey(machine.sysroot).entry(tried)
    assert entry is not None
    use_up_tries(machine.sysroot, entry)
    boot(machine.sysroot)
    recover(machine.host)
    watched.see()
    assert watched.states == [UpgradeState.IDLE, UpgradeState.TRIAL, UpgradeState.IDLE]
    assert watched.state_of(tried) is DeploymentState.FAILED
