"""Boot partitions with room for two kernels, or for one: upgrades go on, nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chunked import zstd_chunked
from support.loader import boot
from support.machine import Machine
from support.registry import DockerRegistry, docker_registry
from support.small_boot import MIB, release, small_boot

from bootd.boot.kernels.kernel import kernel_damage
from bootd.durable import Disk
from bootd.model.config import Automatic
from bootd.model.deployment import DeploymentId
from bootd.model.documents import Reason
from bootd.model.errors import BootPartitionFullError, NoRollbackError
from bootd.model.state import DeploymentState
from bootd.operations.bless import bless
from bootd.operations.check import check
from bootd.operations.collect import collect
from bootd.operations.explain import explain
from bootd.operations.finalize import finalize
from bootd.operations.fsck import fsck
from bootd.operations.machine.survey import take_survey
from bootd.operations.pin import pin
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status

__all__ = ["docker_registry"]

FOR_TWO = 2 * MIB + 700 * 1024
FOR_ONE = MIB + 700 * 1024


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine whose ``$BOOT`` has room for two kernels, and that runs v1."""
    with small_boot(tmp_path, FOR_TWO) as made:
        _upgrade(made, "v1")
        yield made


def _upgrade(machine: Machine, version: str, initramfs: int = MIB, **more: str) -> DeploymentId:
    release(machine, version, initramfs, **more)
    staged = machine.upgrade()
    assert machine.reboot() == staged
    _check(machine)
    return staged


def _check(machine: Machine) -> None:
    """Every entry boots something whole."""
    found = take_survey(machine.sysroot)
    assert not found.problems
    assert not fsck(machine.host, Silent(), repair=False).damages
    for entry in found.entries:
        assert kernel_damage(machine.sysroot, found.records[entry.deployment].kernel) is None


def _kernels(machine: Machine) -> int:
    return len(list((machine.folder / "boot/bootd").iterdir()))


def _bootable(machine: Machine) -> list[DeploymentId]:
    return [entry.deployment for entry in take_survey(machine.sysroot).entries]


@pytest.mark.parametrize(("kind", "size"), [("tmpfs", FOR_TWO), ("ext4", 3 * MIB)])
def test_upgrades_go_on_for_ever(tmp_path: Path, kind: str, size: int) -> None:
    with small_boot(tmp_path, size, kind) as machine:
        made = [_upgrade(machine, f"v{number}") for number in range(1, 7)]
        # What came before is what the machine can still fall back to.
        assert _bootable(machine) == [made[5], made[4]]
        assert _kernels(machine) == 2


def test_the_oldest_fallback_stays_until_the_machine_is_shut_down(machine: Machine) -> None:
    first = machine.sysroot.booted()
    second = _upgrade(machine, "v2")
    release(machine, "v3")
    document = stage(machine.host, Silent())
    assert document.gives_up == [first]
    assert _bootable(machine) == [second, first]
    done = finalize(machine.host, Silent())
    assert done.given_up == [first]
    assert _bootable(machine) == [document.deployment, second]


def test_where_there_is_room_nothing_is_given_up(tmp_path: Path) -> None:
    with small_boot(tmp_path, 4 * MIB) as machine:
        made = [_upgrade(machine, f"v{number}") for number in range(1, 3)]
        release(machine, "v3")
        document = stage(machine.host, Silent())
        assert document.gives_up == []
        assert finalize(machine.host, Silent()).given_up == []
        assert _bootable(machine) == [document.deployment, *reversed(made)]


def test_a_bad_version_among_them_costs_nothing_but_itself(machine: Machine) -> None:
    second = _upgrade(machine, "v2")
    release(machine, "v3")
    third = machine.upgrade()
    machine.reboot(healthy=False)
    for _ in range(2):
        assert boot(machine.sysroot) == third
    assert machine.power_on() == second
    assert take_survey(machine.sysroot).state_of(third) is DeploymentState.FAILED
    _check(machine)
    # The bad one is what goes first.
    release(machine, "v4")
    document = stage(machine.host, Silent())
    assert machine.reboot() == document.deployment
    assert _bootable(machine) == [document.deployment, second]
    _upgrade(machine, "v5")


def test_the_failed_one_is_given_up_before_the_good_one(tmp_path: Path) -> None:
    with small_boot(tmp_path, 4 * MIB) as machine:
        machine.configuration = machine.configuration.model_copy(update={"keep_deployments": 5})
        first = _upgrade(machine, "v1")
        second = _upgrade(machine, "v2")
        release(machine, "v3")
        third = machine.upgrade()
        machine.reboot(healthy=False)
        for _ in range(2):
            boot(machine.sysroot)
        assert machine.power_on() == second
        release(machine, "v4")
        fourth = machine.upgrade()
        assert third not in _bootable(machine)
        finalize(machine.host, Silent())
        assert _bootable(machine) == [fourth, second, first]


def test_a_shared_kernel_needs_no_room_and_frees_none(machine: Machine) -> None:
    first = machine.sysroot.booted()
    second = _upgrade(machine, "v2", same_as="v1")
    assert _kernels(machine) == 1
    third = _upgrade(machine, "v3")
    release(machine, "v4", same_as="v3")
    document = stage(machine.host, Silent())
    assert document.gives_up == []
    assert machine.reboot() == document.deployment
    assert _bootable(machine) == [document.deployment, third, second]
    assert first not in take_survey(machine.sysroot).records
    release(machine, "v5")
    fifth = machine.upgrade()
    assert machine.reboot() == fifth
    assert _bootable(machine) == [fifth, document.deployment, third]
    _check(machine)


def test_kernels_of_different_sizes(tmp_path: Path) -> None:
    with small_boot(tmp_path, 4 * MIB + 400 * 1024) as machine:
        small = _upgrade(machine, "v1", MIB // 2)
        large = _upgrade(machine, "v2", 3 * MIB)
        assert _bootable(machine) == [large, small]
        again = _upgrade(machine, "v3", MIB)
        # v1 and v3 do not fit beside v2, and v1 is older.
        assert _bootable(machine) == [again, large]
        release(machine, "v4", MIB // 2)
        last = stage(machine.host, Silent())
        assert last.gives_up == [large]
        assert machine.reboot() == last.deployment
        assert _bootable(machine) == [last.deployment, again]
        _check(machine)


def test_a_smaller_one_is_not_given_up_beside_a_larger_one_in_vain(tmp_path: Path) -> None:
    with small_boot(tmp_path, 4 * MIB + 200 * 1024) as machine:
        machine.configuration = machine.configuration.model_copy(update={"keep_deployments": 5})
        small = _upgrade(machine, "v1", MIB // 4)
        large = _upgrade(machine, "v2", 2 * MIB)
        running = _upgrade(machine, "v3", MIB)
        release(machine, "v4", 2 * MIB)
        document = stage(machine.host, Silent())
        assert document.gives_up == [large]
        assert machine.reboot() == document.deployment
        assert _bootable(machine) == [document.deployment, running, small]


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_room_for_one_kernel_refuses_another_by_name_and_takes_the_same(
    tmp_path: Path, kind: str
) -> None:
    with small_boot(tmp_path, FOR_ONE, kind) as machine:
        first = _upgrade(machine, "v1")
        release(machine, "v2")
        with pytest.raises(BootPartitionFullError, match=rf"needs 1\.. MiB .*{first} \(running\)"):
            machine.upgrade()
        found = take_survey(machine.sysroot)
        assert (found.staged, _bootable(machine)) == (None, [first])
        # What was fetched is there, so the next night's refusal costs nothing.
        fetched = stage_refused(machine)
        assert "cleanup --boot" in fetched.hint
        told = status(machine.host)
        assert told.no_room == f"{fetched.message}. {fetched.hint}"
        assert told.no_room in told.problems
        why = explain(told, None, Automatic.STAGE)
        assert why.reasons == [Reason.NO_ROOM]
        # A check that finds the same image knows no better.
        check(machine.host, Silent())
        assert status(machine.host).no_room == told.no_room
        second = _upgrade(machine, "v3", same_as="v1")
        assert _bootable(machine) == [second, first]
        assert status(machine.host).no_room is None


def stage_refused(machine: Machine) -> BootPartitionFullError:
    with pytest.raises(BootPartitionFullError) as caught:
        stage(machine.host, Silent())
    return caught.value


def test_a_kernel_larger_than_the_partition_is_refused(machine: Machine) -> None:
    second = _upgrade(machine, "v2")
    release(machine, "huge", 4 * MIB)
    error = stage_refused(machine)
    assert "needs 4.3 MiB" in error.message
    assert "of 2.7 MiB" in error.message
    assert "smaller initramfs" in error.hint
    assert machine.power_on() == second
    _check(machine)


def test_a_pinned_fallback_is_never_given_up(machine: Machine) -> None:
    first = machine.sysroot.booted()
    assert first is not None
    second = _upgrade(machine, "v2")
    pin(machine.host, first, pinned=True)
    release(machine, "v3")
    error = stage_refused(machine)
    assert f"{first} (pinned)" in error.message
    assert f"bootctl-py unpin {first}" in error.hint
    assert _bootable(machine) == [second, first]
    pin(machine.host, first, pinned=False)
    machine.upgrade()
    # Pinned after it was staged, it stops the shutdown's part, and the machine boots as it was.
    pin(machine.host, first, pinned=True)
    with pytest.raises(BootPartitionFullError, match="pinned"):
        finalize(machine.host, Silent())
    assert "pinned" in str(status(machine.host).finalize_failure)
    assert machine.power_on() == second
    pin(machine.host, first, pinned=False)
    machine.reboot()
    assert first not in _bootable(machine)


def test_a_trial_keeps_what_it_falls_back_to(machine: Machine) -> None:
    first = machine.sysroot.booted()
    release(machine, "v2")
    second = machine.upgrade()
    assert machine.reboot(healthy=False) == second
    release(machine, "v3")
    error = stage_refused(machine)
    assert f"{first} (what a trial falls back to)" in error.message
    assert "proved itself" in error.hint
    bless(machine.host)
    third = machine.upgrade()
    assert machine.reboot() == third
    assert _bootable(machine) == [third, second]


def test_a_rollback_brings_a_kernel_back_that_was_given_up(machine: Machine) -> None:
    machine.configuration = machine.configuration.model_copy(update={"keep_deployments": 3})
    first = machine.sysroot.booted()
    second = _upgrade(machine, "v2")
    third = _upgrade(machine, "v3")
    seen = {one.id: one.given_up for one in status(machine.host).deployments}
    assert seen == {third: False, second: False, first: True}
    collect(machine.host, Silent())
    done = rollback(machine.host, Silent(), target=first)
    assert done.given_up == [second]
    assert _bootable(machine) == [first, third]
    assert machine.power_on() == first
    _check(machine)
    # And back to where it was, for which nothing has to go.
    again = rollback(machine.host, Silent())
    assert (again.deployment, again.given_up) == (third, [])
    assert machine.power_on() == third
    _check(machine)


def test_what_somebody_wrote_into_an_entry_comes_back_with_it(machine: Machine) -> None:
    machine.configuration = machine.configuration.model_copy(update={"keep_deployments": 3})
    first = machine.sysroot.booted()
    [entry] = (machine.folder / "boot/loader/entries").iterdir()
    entry.write_text(
        entry.read_text().replace("quiet", "quiet debug") + "# for tuesday\nx-mine yes\n"
    )
    _upgrade(machine, "v2")
    _upgrade(machine, "v3")
    rollback(machine.host, Silent(), target=first)
    [text] = [
        path.read_text()
        for path in (machine.folder / "boot/loader/entries").iterdir()
        if str(first) in path.name
    ]
    assert "quiet debug" in text
    assert "x-mine yes" in text
    assert "# for tuesday" in text


def test_rolling_back_again_and_again(machine: Machine) -> None:
    _upgrade(machine, "v2")
    for _ in range(4):
        target = rollback(machine.host, Silent()).deployment
        assert machine.power_on() == target
        assert _kernels(machine) == 2
        _check(machine)


def test_what_was_given_up_is_where_a_rollback_goes_if_nothing_else_is_left(
    machine: Machine,
) -> None:
    first = machine.sysroot.booted()
    second = _upgrade(machine, "v2")
    release(machine, "v3")
    third = machine.upgrade()
    machine.reboot(healthy=False)
    for _ in range(2):
        boot(machine.sysroot)
    assert machine.power_on() == second
    assert status(machine.host).rollback == first
    done = rollback(machine.host, Silent())
    assert (done.deployment, done.given_up) == (first, [third])
    # A trial that failed is no place to go back to once its entry is gone.
    with pytest.raises(NoRollbackError, match="failed"):
        rollback(machine.host, Silent(), target=third)
    assert machine.power_on() == first
    collect(machine.host, Silent())
    assert third not in take_survey(machine.sysroot).records
    _check(machine)


def test_what_is_queued_is_not_given_up_for_an_upgrade(machine: Machine) -> None:
    first = machine.sysroot.booted()
    second = _upgrade(machine, "v2")
    rollback(machine.host, Silent(), target=first)
    release(machine, "v3")
    error = stage_refused(machine)
    assert f"{second} (running)" in error.message
    assert f"{first} (boots next)" in error.message
    assert "apply" in error.hint
    assert machine.power_on() == first
    third = machine.upgrade()
    assert machine.reboot() == third
    assert _bootable(machine) == [third, first]


def test_files_of_others_are_left_and_named(machine: Machine) -> None:
    first = machine.sysroot.booted()
    other = machine.folder / "boot/EFI/Other"
    other.mkdir(parents=True)
    (other / "kernel").write_bytes(b"x" * (1200 << 10))
    release(machine, "v2")
    error = stage_refused(machine)
    assert "EFI/Other: 1.2 MiB" in error.message
    assert f"{first} (running): 1.0 MiB" in error.message
    assert (other / "kernel").stat().st_size == 1200 << 10
    shutil.rmtree(other)
    machine.reboot()
    machine.upgrade()


def test_a_neighbour_is_left_and_named(machine: Machine, tmp_path: Path) -> None:
    neighbour = Machine(tmp_path / "neighbour", tmp_path / "other-image")
    neighbour.folder.mkdir()
    (neighbour.folder / "boot").symlink_to(machine.folder / "boot")
    release(neighbour, "n1")
    theirs = neighbour.upgrade()
    assert neighbour.reboot() == theirs
    release(machine, "v2")
    error = stage_refused(machine)
    installation = neighbour.sysroot.installation()
    assert installation is not None
    assert f"another installation of bootd ({installation[:8]})" in error.message
    assert neighbour.power_on() == theirs
    _check(neighbour)


def test_what_a_cut_copy_left_counts_as_free(machine: Machine) -> None:
    second = _upgrade(machine, "v2")
    [mine, *_] = [
        path for path in (machine.folder / "boot/bootd").iterdir() if path.name[:2] != "ff"
    ]
    (mine / ".new-77-initrd").write_bytes(b"x" * 300_000)
    (machine.folder / f"boot/bootd/{'ff' * 32}").mkdir()
    (machine.folder / f"boot/bootd/{'ff' * 32}/initrd").write_bytes(b"x" * 100_000)
    third = _upgrade(machine, "v3")
    assert _bootable(machine) == [third, second]
    assert not list((machine.folder / "boot").rglob(".new-*"))
    assert _kernels(machine) == 2


def test_an_entry_that_boots_nothing_goes_first(machine: Machine) -> None:
    first = machine.sysroot.booted()
    assert first is not None
    second = _upgrade(machine, "v2")
    shutil.rmtree(machine.sysroot.deployment(first))
    release(machine, "v3")
    third = machine.upgrade()
    assert _bootable(machine) == [second]
    assert machine.reboot() == third
    assert _bootable(machine) == [third, second]


class _FillsUp(Disk):
    """Somebody else fills the partition while the initramfs is copied."""

    def copy_file(self, source: Path, target: Path, mode: int = 0o600) -> None:
        if target.name == "initrd":
            (target.parents[2] / "filler").write_bytes(b"x" * (700 << 10))
        super().copy_file(source, target, mode)


def test_a_partition_that_fills_up_in_the_middle_leaves_what_runs(machine: Machine) -> None:
    first = machine.sysroot.booted()
    second = _upgrade(machine, "v2")
    release(machine, "v3")
    third = machine.upgrade()
    filling = Machine(machine.folder, machine.image, _FillsUp(), machine.configuration)
    with pytest.raises(BootPartitionFullError, match=r"filler: 0\.7 MiB") as caught:
        finalize(filling.host, Silent())
    assert "No space left" in caught.value.message
    assert machine.power_on() == second
    _check(machine)
    # The fallback that made room is where a rollback goes, and the upgrade goes on.
    assert status(machine.host).rollback == first
    (machine.folder / "boot/filler").unlink()
    assert machine.reboot() == third
    assert _bootable(machine) == [third, second]


def test_a_partition_without_room_for_an_entry_is_told_of_before_anything_is_fetched(
    tmp_path: Path,
) -> None:
    with small_boot(tmp_path, FOR_ONE) as machine:
        _upgrade(machine, "v1")
        _fill(machine.folder / "boot/filler")
        release(machine, "v2", same_as="v1")
        error = stage_refused(machine)
        assert error.message.startswith("a boot entry needs")
        assert len(list(machine.sysroot.images.iterdir())) == 1
        (machine.folder / "boot/filler").unlink()
        machine.upgrade()
        machine.reboot()


@pytest.mark.parametrize(
    ("size", "refused"),
    [(MIB + 5_000, True), (MIB, False), (MIB // 4, False)],
    ids=["larger", "as large as today's", "smaller"],
)
def test_a_table_tells_of_a_kernel_that_will_not_fit_before_it_is_fetched(
    tmp_path: Path, docker_registry: DockerRegistry, size: int, *, refused: bool
) -> None:
    with small_boot(tmp_path, FOR_ONE) as machine:
        first = _upgrade(machine, "v1")
        release(machine, "v2", size, pack=zstd_chunked)
        reference = docker_registry.push(machine.image, f"small-{size}")
        docker_registry.configure(machine.folder)
        layers = len(list(machine.sysroot.layers.iterdir()))
        if size < MIB:
            assert stage(machine.host, Silent(), reference=reference).gives_up == []
            return
        with pytest.raises(BootPartitionFullError, match=f"{first} \\(running\\)"):
            stage(machine.host, Silent(), reference=reference)
        # What may be the kernel that is there is fetched to be looked at.
        fetched = len(list(machine.sysroot.layers.iterdir())) > layers
        assert fetched is not refused


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            return


def test_a_kernel_that_is_damaged_on_a_full_partition_is_written_anew(machine: Machine) -> None:
    first = machine.sysroot.booted()
    second = _upgrade(machine, "v2")
    rollback(machine.host, Silent(), target=first)
    assert machine.power_on() == first
    found = take_survey(machine.sysroot)
    digest = found.records[second].kernel.digest
    [folder] = (machine.folder / "boot/bootd").glob(f"{digest}*")
    content = bytearray((folder / "initrd").read_bytes())
    content[500_000] ^= 1
    (folder / "initrd").write_bytes(content)
    done = rollback(machine.host, Silent(), target=second)
    assert done.given_up == []
    assert machine.power_on() == second
    _check(machine)


def test_a_fallback_that_was_not_noted_is_not_given_up(machine: Machine) -> None:
    second = _upgrade(machine, "v2")
    release(machine, "v3")
    third = machine.upgrade()
    finalize(machine.host, Silent())
    for _ in range(3):
        assert boot(machine.sysroot) == third
    assert boot(machine.sysroot) == second
    # No daemon ran since: the entry that failed is all that tells of it.
    with pytest.raises(BootPartitionFullError):
        rollback(machine.host, Silent(), target=machine_first(machine))
    recover(machine.host)
    assert machine.sysroot.read_denied().denied
    assert rollback(machine.host, Silent(), target=machine_first(machine)).given_up == [third]


def machine_first(machine: Machine) -> DeploymentId:
    """The deployment of v1."""
    records = take_survey(machine.sysroot).records.values()
    return next(record.id for record in records if record.version == "v1")
