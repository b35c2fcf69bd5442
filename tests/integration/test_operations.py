"""What an administrator sees happen: upgrade, roll back, deny, hold, pin, clean up, repair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.images import build_image, tar_layer
from support.machine import Machine, image_files, installed, publish
from support.registry import FaultyRegistry, faulty_registry

from bootd.model.config import Integrity
from bootd.model.digest import Digest
from bootd.model.errors import (
    DamagedRecordError,
    DeniedDigestError,
    HeldError,
    InvalidArgumentError,
    NoImageConfiguredError,
    NoRollbackError,
    NoSuchDeploymentError,
    NotDeniedError,
    NothingStagedError,
    NoVerityError,
    UnknownFormatError,
)
from bootd.model.etc.report import ConflictKind, NoteKind
from bootd.model.state import DeploymentState
from bootd.operations.bless import bless
from bootd.operations.check import check
from bootd.operations.collect import collect
from bootd.operations.etc_preview import preview
from bootd.operations.etc_views import conflicts, diff
from bootd.operations.finalize import finalize
from bootd.operations.fsck import fsck
from bootd.operations.hold import hold, release
from bootd.operations.host import Host
from bootd.operations.machine.last_check import read_last_check
from bootd.operations.machine.staged import unstage
from bootd.operations.machine.survey import take_survey
from bootd.operations.pin import pin
from bootd.operations.progress import Phase, Silent, overall
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status
from bootd.operations.trial.deny import allow, denied, deny


class Phases:
    """Progress that notes what was being done."""

    def __init__(self) -> None:
        self.seen: list[Phase] = []

    def report(self, phase: Phase, done: int = 0, total: int = 0) -> None:
        """Note the phase."""
        self.seen.append(phase)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path)


def test_an_upgrade_carries_etc_and_waits_for_the_reboot(machine: Machine) -> None:
    first = machine.sysroot.booted()
    document = stage(machine.host, Silent())
    assert document.changed
    seen = status(machine.host)
    assert (seen.booted, seen.staged, seen.reboot_required) == (first, document.deployment, True)
    assert seen.state == "staged"
    second = machine.reboot(healthy=False)
    assert second == document.deployment
    seen = status(machine.host)
    assert (seen.booted, seen.staged, seen.rollback) == (second, None, first)
    assert seen.deployments[0].state is DeploymentState.TRIAL
    assert seen.deployments[0].tries_left == 2
    bless(machine.host)
    assert status(machine.host).deployments[0].state is DeploymentState.GOOD
    etc = machine.etc(second)
    assert (etc / "hostname").read_text() == "my-machine\n"
    assert (etc / "motd").read_text().startswith("welcome to v2")
    assert (etc / "app.conf").read_text() == "setting = v2\n"


def test_edits_after_staging_are_not_lost(machine: Machine) -> None:
    machine.upgrade()
    booted = machine.sysroot.booted()
    assert booted is not None
    (machine.etc(booted) / "late").write_text("after staging\n")
    assert (machine.etc(machine.reboot()) / "late").read_text() == "after staging\n"


def test_conflicts_are_reported_and_mine_stays(machine: Machine) -> None:
    booted = machine.sysroot.booted()
    assert booted is not None
    (machine.etc(booted) / "app.conf").write_text("setting = mine\n")
    document = stage(machine.host, Silent())
    assert document.etc is not None
    [conflict] = document.etc.conflicts
    assert (conflict.path, conflict.kind) == ("/etc/app.conf", ConflictKind.CONTENT)
    told = preview(machine.host, Silent())
    assert "/etc/motd" in [one.path for one in told.changes]
    assert told.model_copy(update={"changes": []}) == document.etc
    changed = {change.path for change in diff(machine.host).changes}
    assert changed == {"/etc/app.conf", "/etc/hostname", "/etc/local.conf"}
    second = machine.reboot()
    assert (machine.etc(second) / "app.conf").read_text() == "setting = mine\n"
    assert conflicts(machine.host).reports[second].conflicts == [conflict]
    assert status(machine.host).deployments[0].etc_conflicts == 1


def test_an_image_says_how_its_etc_is_merged_and_what_matters(machine: Machine) -> None:
    booted = machine.sysroot.booted()
    assert booted is not None
    (machine.etc(booted) / "app.conf").write_text("setting = mine\n")
    (machine.etc(booted) / "motd").write_text("mine\n")
    rules = b'security = ["/etc/app.conf"]\n[policy]\n"/etc/motd" = "take-theirs"\n'
    publish(machine.image, "v2", **{"usr/lib/bootd/": None, "usr/lib/bootd/etc.toml": rules})
    document = stage(machine.host, Silent())
    assert document.etc is not None
    assert [(one.path, one.security) for one in document.etc.conflicts] == [("/etc/app.conf", True)]
    second = machine.reboot()
    assert (machine.etc(second) / "motd").read_text().startswith("welcome to v2")
    assert status(machine.host).deployments[0].etc_security_conflicts == 1


def test_rules_of_an_image_that_are_wrong_stop_nothing(machine: Machine) -> None:
    publish(
        machine.image, "v2", **{"usr/lib/bootd/": None, "usr/lib/bootd/etc.toml": b"policy = 1"}
    )
    document = stage(machine.host, Silent())
    assert document.etc is not None
    assert [note.kind for note in document.etc.notes] == [NoteKind.RULES]
    machine.reboot()


def test_kernel_arguments_are_merged_three_ways(machine: Machine) -> None:
    configured = machine.configuration.model_copy(update={"kernel_arguments": ["console=ttyS0"]})
    local = replace(machine, configuration=configured)
    local.upgrade()
    booted = local.reboot()
    arguments = take_survey(local.sysroot).records[booted].kernel_arguments
    assert arguments == ["quiet", "image=v2", "console=ttyS0", "panic=30"]
    publish(machine.image, "v3")
    machine.upgrade()
    booted = machine.reboot()
    assert take_survey(machine.sysroot).records[booted].kernel_arguments == [
        "quiet",
        "image=v3",
        "panic=30",
    ]


def test_the_same_image_is_not_staged_twice(machine: Machine) -> None:
    staged = machine.upgrade()
    again = stage(machine.host, Silent())
    assert (again.changed, again.deployment, again.fetched_bytes) == (False, staged, 0)
    machine.reboot()
    assert not stage(machine.host, Silent()).changed


def test_a_run_that_finds_nothing_new_tells_of_nothing_else(machine: Machine) -> None:
    machine.upgrade()
    progress = Phases()
    stage(machine.host, progress)
    assert progress.seen == [Phase.RESOLVING]


def test_a_newer_image_replaces_the_staged_one(machine: Machine) -> None:
    old = machine.upgrade()
    publish(machine.image, "v3")
    new = machine.upgrade()
    assert new != old
    assert not machine.sysroot.deployment(old).exists()
    assert machine.reboot() == new


def test_a_tag_that_goes_back_drops_what_is_staged(machine: Machine) -> None:
    first = machine.sysroot.booted()
    machine.upgrade()
    publish(machine.image, "v1")
    again = stage(machine.host, Silent())
    assert (again.changed, again.deployment) == (False, first)
    assert status(machine.host).staged is None
    assert machine.reboot() == first


def test_a_rollback_denies_what_it_leaves_until_it_is_allowed(machine: Machine) -> None:
    first = machine.sysroot.booted()
    machine.upgrade()
    second = machine.reboot()
    left = take_survey(machine.sysroot).records[second].digest
    document = rollback(machine.host, Silent())
    assert (document.deployment, document.denied) == (first, left)
    assert machine.reboot() == first
    with pytest.raises(DeniedDigestError, match="rolled-back"):
        machine.upgrade()
    assert check(machine.host, Silent()).denied
    collect(machine.host, Silent())
    with pytest.raises(DeniedDigestError):
        machine.upgrade()
    allow(machine.host, left)
    with pytest.raises(NotDeniedError):
        allow(machine.host, left)
    machine.upgrade()


def test_a_second_rollback_undoes_the_first(machine: Machine) -> None:
    machine.upgrade()
    second = machine.reboot()
    rollback(machine.host, Silent())
    rollback(machine.host, Silent())
    assert machine.reboot() == second
    assert denied(machine.host).denied == [] or second not in {
        denial.digest.short for denial in denied(machine.host).denied
    }


def test_a_rollback_drops_what_is_staged(machine: Machine) -> None:
    first = machine.sysroot.booted()
    machine.upgrade()
    machine.reboot()
    publish(machine.image, "v3")
    staged = machine.upgrade()
    assert rollback(machine.host, Silent()).unstaged == staged
    assert machine.reboot() == first


def test_a_rollback_needs_somewhere_to_go(machine: Machine) -> None:
    with pytest.raises(NoRollbackError):
        rollback(machine.host, Silent())
    with pytest.raises(NoSuchDeploymentError):
        rollback(machine.host, Silent(), target="0" * 16 + ".0")
    staged = machine.upgrade()
    with pytest.raises(NoRollbackError, match="never made bootable"):
        rollback(machine.host, Silent(), target=staged)


def test_an_image_that_never_comes_up_is_left_by_the_loader(machine: Machine) -> None:
    first = machine.sysroot.booted()
    bad = machine.upgrade()
    assert machine.reboot(healthy=False) == bad
    assert machine.power_on(healthy=False) == bad
    assert machine.power_on(healthy=False) == bad
    assert machine.power_on() == first
    found = take_survey(machine.sysroot)
    assert found.state_of(bad) is DeploymentState.FAILED
    assert found.rollback_target() is None


def test_held_updates_are_not_staged_by_themselves(machine: Machine) -> None:
    hold(machine.host, "maintenance")
    hold(machine.host, "maintenance")
    with pytest.raises(HeldError, match="maintenance"):
        hold(machine.host, "somebody else")
    with pytest.raises(HeldError):
        stage(machine.host, Silent(), automatic=True)
    assert status(machine.host).held_by == "maintenance"
    release(machine.host)
    assert stage(machine.host, Silent(), automatic=True).changed


def test_unstaging_leaves_the_machine_where_it_is(machine: Machine) -> None:
    first = machine.sysroot.booted()
    staged = machine.upgrade()
    assert unstage(machine.host) == staged
    assert unstage(machine.host) is None
    with pytest.raises(NothingStagedError):
        preview(machine.host, Silent())
    assert finalize(machine.host, Silent()).deployment is None
    assert machine.reboot() == first


def test_cleanup_keeps_what_is_pinned(machine: Machine) -> None:
    first = machine.sysroot.booted()
    assert first is not None
    pin(machine.host, first, pinned=True)
    for version in ("v2", "v3", "v4"):
        publish(machine.image, version)
        machine.upgrade()
        machine.reboot()
    done = collect(machine.host, Silent())
    assert len(done.deployments) == 1
    assert done.objects
    assert done.freed_bytes
    kept = {record.version for record in take_survey(machine.sysroot).records.values()}
    assert kept == {"v1", "v3", "v4"}
    assert not fsck(machine.host, Silent()).damages
    pin(machine.host, first, pinned=False)
    assert collect(machine.host, Silent()).deployments == [first]


def test_what_is_staged_cannot_be_pinned(machine: Machine) -> None:
    staged = machine.upgrade()
    with pytest.raises(InvalidArgumentError, match="staged"):
        pin(machine.host, staged, pinned=True)
    machine.reboot()
    pin(machine.host, staged, pinned=True)


def test_switching_follows_another_reference(machine: Machine, tmp_path: Path) -> None:
    other = publish(tmp_path / "other", "v9")
    stage(machine.host, Silent(), reference=other, remember=True)
    assert status(machine.host).image == other
    machine.reboot()
    assert check(machine.host, Silent()).update is False


def test_who_follows_nothing_is_told(tmp_path: Path) -> None:
    bare = Machine(tmp_path, tmp_path)
    host = bare.host
    nothing = replace(host, configuration=host.configuration.model_copy(update={"image": None}))
    with pytest.raises(NoImageConfiguredError):
        stage(nothing, Silent())


def _damage(path: Path) -> None:
    path.chmod(0o600)
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


@pytest.mark.parametrize("what", ["object", "erofs", "layer"])
def test_fsck_names_damage_and_an_upgrade_repairs_it(machine: Machine, what: str) -> None:
    paths = {
        "object": next(path for path in machine.sysroot.objects.rglob("*") if path.is_file()),
        "erofs": next(machine.sysroot.images.glob("*/root.erofs")),
        "layer": next(machine.sysroot.layers.iterdir()),
    }
    publish(machine.image, "v1")
    _damage(paths[what])
    damages = fsck(machine.host, Silent(), repair=False).damages
    assert damages
    assert any(damage.path in str(paths[what]) for damage in damages)
    assert fsck(machine.host, Silent()).damages
    assert not stage(machine.host, Silent()).changed
    assert fsck(machine.host, Silent(), repair=False).damages == []


def test_a_damaged_deployment_does_not_hide_the_others(machine: Machine) -> None:
    first = machine.sysroot.booted()
    assert first is not None
    machine.upgrade()
    machine.reboot()
    (machine.sysroot.deployment(first) / "deployment.json").write_text("{")
    seen = status(machine.host)
    assert [record.state for record in seen.deployments] == [DeploymentState.GOOD]
    assert any(first in problem for problem in seen.problems)
    collect(machine.host, Silent())
    assert machine.sysroot.deployment(first).is_dir()


def test_a_damaged_deny_list_stops_upgrades_instead_of_being_forgotten(machine: Machine) -> None:
    machine.sysroot.denied_file.write_text("{")
    with pytest.raises(DamagedRecordError, match=r"denied\.json"):
        machine.upgrade()
    machine.sysroot.denied_file.write_text('{"format": 2}')
    with pytest.raises(UnknownFormatError):
        machine.upgrade()


def test_a_failed_shutdown_is_news_until_one_succeeds(machine: Machine) -> None:
    machine.upgrade()
    kernel = take_survey(machine.sysroot).records[machine.upgrade()].kernel.initramfs_object
    hidden = machine.sysroot.objects / kernel[:2] / kernel[2:]
    hidden.rename(machine.folder / "hidden")
    with pytest.raises(Exception, match="missing"):
        finalize(machine.host, Silent())
    failure = status(machine.host).finalize_failure
    assert failure is not None
    assert "missing" in failure
    (machine.folder / "hidden").rename(hidden)
    machine.reboot()
    assert status(machine.host).finalize_failure is None


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Machine, FaultyRegistry]]:
    """An empty machine; a registry with v1, v2 and, the same as v1, latest."""
    with faulty_registry() as registry:
        machine = Machine(tmp_path / "root", tmp_path)
        machine.folder.mkdir()
        registry.configure(machine.folder)
        for tag, version in (("v1", "v1"), ("v2", "v2"), ("latest", "v1")):
            registry.add_image(build_image([tar_layer(image_files(version))]), tag=tag)
        yield machine, registry


def following(machine: Machine, reference: str | None) -> Host:
    changes = {"image": reference}
    return replace(machine.host, configuration=machine.configuration.model_copy(update=changes))


def asked(registry: FaultyRegistry, host: Host) -> list[str]:
    """What a check that finds nothing new asks the registry."""
    registry.requests.clear()
    assert not check(host, Silent()).update
    return [f"{request.line} {request.status}" for request in registry.requests]


def test_a_poll_that_finds_nothing_new_is_one_request(
    served: tuple[Machine, FaultyRegistry],
) -> None:
    machine, registry = served
    host = following(machine, registry.reference())
    stage(host, Silent())
    for _ in range(2):
        assert asked(registry, host) == ["HEAD /v2/os/image/manifests/latest 304"]


def test_a_poll_of_a_digest_is_no_request(served: tuple[Machine, FaultyRegistry]) -> None:
    machine, registry = served
    digest = registry.manifests["os/image", "v1"][1]
    host = following(machine, f"{registry.host}/os/image@{Digest.of(digest)}")
    stage(host, Silent())
    assert asked(registry, host) == []


def test_a_poll_after_a_pull_from_a_mirror_is_one_request(
    served: tuple[Machine, FaultyRegistry],
) -> None:
    machine, registry = served
    with faulty_registry() as mirror:
        mirror.add_image(build_image([tar_layer(image_files("v1"))]))
        (machine.folder / "etc/containers/registries.conf.d/mirror.conf").write_text(
            f'[[registry]]\nprefix = "os.example"\nlocation = "{registry.host}"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}"\ninsecure = true\n'
        )
        host = following(machine, "os.example/os/image:latest")
        stage(host, Silent())
        assert asked(mirror, host) == ["HEAD /v2/os/image/manifests/latest 304"]
    # Another server's entity tag means nothing here.
    assert asked(registry, host) == ["GET /v2/os/image/manifests/latest 200"]


@pytest.mark.parametrize("parallel_layers", [1, 2])
def test_which_place_served_is_in_the_result_and_in_the_log(
    parallel_layers: int,
    served: tuple[Machine, FaultyRegistry],
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine, registry = served
    caplog.set_level("INFO", "bootd")
    with faulty_registry() as mirror:
        (machine.folder / "etc/containers/registries.conf.d/mirror.conf").write_text(
            f'[[registry]]\nprefix = "os.example"\nlocation = "{registry.host}"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}/copy"\ninsecure = true\n'
        )
        host = following(machine, "os.example/os/image:latest")
        changes = {"parallel_layers": parallel_layers}
        configuration = host.configuration.model_copy(update=changes)
        document = stage(replace(host, configuration=configuration), Silent())
        skipped, used = document.sources
        assert skipped.location == f"{mirror.host}/copy/os/image"
        assert "not found" in (skipped.passed_over or "")
        assert (skipped.answers, skipped.layer_bytes) == (0, 0)
        assert used.location == f"{registry.host}/os/image"
        assert (used.answers, used.layer_bytes) == (2, document.fetched_bytes)
        assert used.passed_over is None
        told = [one.message for one in caplog.records if one.levelname == "WARNING"]
        assert told
        assert all(one.startswith(f"{skipped.location} is passed over: ") for one in told)
        assert f"{used.location} serves" in caplog.messages
        skipped, used = check(host, Silent()).sources
        assert skipped.passed_over
        assert (used.answers, used.layer_bytes) == (1, 0)


def test_a_stage_of_another_image_leaves_what_is_known_of_the_followed_one(
    served: tuple[Machine, FaultyRegistry],
) -> None:
    machine, registry = served
    host = following(machine, registry.reference())
    stage(host, Silent())
    known = read_last_check(host.sysroot)
    assert known is not None
    stage(host, Silent(), reference=registry.reference(tag="v2"))
    assert read_last_check(host.sysroot) == known
    stage(following(machine, None), Silent(), reference=registry.reference(tag="v1"))
    assert read_last_check(host.sysroot) == known


def test_after_a_switch_the_poll_is_of_the_new_reference(
    served: tuple[Machine, FaultyRegistry],
) -> None:
    machine, registry = served
    host = following(machine, registry.reference())
    stage(host, Silent())
    stage(host, Silent(), reference=registry.reference(tag="v2"), remember=True)
    assert asked(registry, host) == ["HEAD /v2/os/image/manifests/v2 304"]


def test_what_is_to_download_is_counted_anew_at_each_check(machine: Machine) -> None:
    size = check(machine.host, Silent()).download_bytes
    assert size > 0
    machine.upgrade()
    assert _to_download(machine) == 0
    unstage(machine.host)
    collect(machine.host, Silent())
    assert check(machine.host, Silent()).download_bytes == size == _to_download(machine)


def _to_download(machine: Machine) -> int:
    available = status(machine.host).available
    assert available is not None
    return available.download_bytes


def test_denials_are_bounded_and_the_newest_cause_wins(machine: Machine) -> None:
    digest = next(iter(take_survey(machine.sysroot).records.values())).digest
    deny(machine.host, digest, "first")
    deny(machine.host, digest, "second", "evidence")
    [denial] = denied(machine.host).denied
    assert (denial.cause, denial.evidence) == ("second", "evidence")


@pytest.mark.parametrize("phase", Phase)
def test_progress_goes_from_its_phase_to_the_next(phase: Phase) -> None:
    assert 0 <= overall(phase, 0, 10) <= overall(phase, 5, 10) <= overall(phase, 99, 10) <= 1


def test_a_seal_that_cannot_be_had_is_refused_and_nothing_is_staged() -> None:
    # A tmpfs has no fs-verity, whatever the kernel has.
    with TemporaryDirectory(dir="/dev/shm") as folder:
        machine = installed(Path(folder))
        publish(machine.image, "v2")
        sealing = machine.configuration.model_copy(update={"integrity": Integrity.VERITY})
        with pytest.raises(NoVerityError, match="has no fs-verity"):
            stage(replace(machine.host, configuration=sealing), Silent())
        assert take_survey(machine.sysroot).staged is None
        assert stage(machine.host, Silent()).changed
