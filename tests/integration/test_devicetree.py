"""An image brings the devicetree of the board: it is copied beside its kernel and named."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.machine import KERNEL, Machine, installed, publish

from bootd.boot.kernels.kernel_folders import kernel_folder
from bootd.model.deployment import DeploymentId
from bootd.model.errors import NoDevicetreeError
from bootd.operations.fsck import fsck
from bootd.operations.kernel_arguments import change_arguments
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback

DTB = f"usr/lib/modules/{KERNEL}/dtb"


def board(content: bytes, other: bytes = b"other") -> dict[str, bytes | str | None]:
    """Files of an image for two boards."""
    return {
        f"{DTB}/": None,
        f"{DTB}/vendor/": None,
        f"{DTB}/vendor/board.dtb": content * 99,
        f"{DTB}/other.dtb": other * 99,
        "usr/lib/kernel/": None,
        "usr/lib/kernel/devicetree": b"vendor/board.dtb\n",
    }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path, **board(b"one"))


def devicetree(machine: Machine, deployment: DeploymentId) -> bytes | None:
    """What the deployment's entry has the loader hand to the kernel."""
    entry = take_survey(machine.sysroot).entry(deployment)
    assert entry is not None
    named = [value for key, value in entry.extra if key == "devicetree"]
    if not named:
        return None
    [path] = named
    assert path.rpartition("/")[0] == entry.linux.rpartition("/")[0]
    return (machine.sysroot.boot / path.lstrip("/")).read_bytes()


def test_each_version_boots_with_its_own(machine: Machine) -> None:
    first = machine.sysroot.booted()
    assert first is not None
    assert devicetree(machine, first) == b"one" * 99
    publish(machine.image, "v2", **board(b"two"))
    second = machine.upgrade()
    assert machine.reboot() == second
    assert devicetree(machine, second) == b"two" * 99
    kernels = [record.kernel for record in take_survey(machine.sysroot).records.values()]
    assert len({kernel.digest for kernel in kernels}) == 2
    rollback(machine.host, Silent())
    assert machine.reboot() == first
    assert devicetree(machine, first) == b"one" * 99


def test_another_devicetree_under_the_same_kernel_is_another_folder(machine: Machine) -> None:
    initramfs = {f"usr/lib/modules/{KERNEL}/initramfs.img": b"the same initramfs " * 30}
    versions = []
    for version, content in (("v2", b"two"), ("v3", b"three")):
        publish(machine.image, version, **{**board(content), **initramfs})
        versions.append(machine.upgrade())
        machine.reboot()
    assert [devicetree(machine, one) for one in versions] == [b"two" * 99, b"three" * 99]


def test_the_machine_names_another_or_none(machine: Machine) -> None:
    first = machine.sysroot.booted()
    assert first is not None
    named = machine.etc(first) / "kernel/devicetree"
    named.parent.mkdir()
    named.write_text("other.dtb\n")
    publish(machine.image, "v2", **board(b"two"))
    second = machine.upgrade()
    assert machine.reboot() == second
    assert devicetree(machine, second) == b"other" * 99
    (machine.etc(second) / "kernel/devicetree").write_text("")
    change_arguments(machine.host, Silent(), verb="add", words=["nosmt"])
    third = machine.reboot()
    assert devicetree(machine, third) is None


def test_a_default_of_the_image_that_nobody_changed_moves_with_it(tmp_path: Path) -> None:
    def named(name: bytes) -> dict[str, bytes | str | None]:
        return {"etc/kernel/": None, "etc/kernel/devicetree": name}

    machine = installed(tmp_path, **{**board(b"one"), **named(b"vendor/board.dtb")})
    publish(machine.image, "v2", **{**board(b"two"), **named(b"other.dtb")})
    second = machine.upgrade()
    assert machine.reboot() == second
    assert devicetree(machine, second) == b"other" * 99


def test_a_board_that_the_image_no_longer_knows_is_refused_before_the_restart(
    machine: Machine,
) -> None:
    first = machine.sysroot.booted()
    gone = {f"{DTB}/vendor/board.dtb": None}
    files = {name: value for name, value in board(b"two").items() if name not in gone}
    publish(machine.image, "v2", **files)
    with pytest.raises(NoDevicetreeError, match=r"vendor/board\.dtb"):
        machine.upgrade()
    assert machine.reboot() == first


def test_a_line_that_somebody_wrote_comes_before_the_image_s(machine: Machine) -> None:
    first = machine.sysroot.booted()
    entry = take_survey(machine.sysroot).entry(first)
    assert entry is not None
    own = dict(entry.extra)["devicetree"]
    path = machine.sysroot.boot / "loader/entries" / entry.file_name
    path.write_text(path.read_text().replace(own, "/mine.dtb"))
    (machine.sysroot.boot / "mine.dtb").write_bytes(b"mine")
    publish(machine.image, "v2", **board(b"two"))
    second = machine.upgrade()
    assert machine.reboot() == second
    found = take_survey(machine.sysroot).entry(second)
    assert found is not None
    assert [value for key, value in found.extra if key == "devicetree"] == ["/mine.dtb"]


def test_a_lost_devicetree_is_damage_and_an_install_brings_it_back(machine: Machine) -> None:
    first = machine.sysroot.booted()
    record = take_survey(machine.sysroot).records[first]  # type: ignore[index]
    copy = kernel_folder(machine.sysroot, record.kernel.digest) / "devicetree"
    copy.unlink()
    damages = fsck(machine.host, Silent(), repair=False).damages
    assert any("devicetree is missing" in one.problem for one in damages)
    publish(machine.image, "v2", **board(b"two"))
    machine.upgrade()
    machine.reboot()
    rollback(machine.host, Silent())
    assert copy.read_bytes() == b"one" * 99
