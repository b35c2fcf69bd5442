"""SELinux labels of a machine's ``/etc`` and ``/var``, on a kernel that need not know SELinux."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.installing import KEY, installable_image
from support.machine import Machine, publish
from support.selinux import CONTEXTS, FILES, policy_files

from bootd.operations.install import RootFileSystem, install
from bootd.operations.install_settings import Settings
from bootd.operations.progress import Silent

LABEL = "security.selinux"
POLICY = policy_files(subs_dist="/etc/old /etc/motd.d\n")
ROOT = RootFileSystem("ext4", "0b5a4a0e-7a0c-4b0e-9d0e-2f6c1c1f7a11")


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.fail("these tests need root: run them with sudo or in a container as root")


def set_label(path: Path, kind: str) -> None:
    os.setxattr(path, LABEL, f"u:r:{kind}:s0".encode(), follow_symlinks=False)


def labels(folder: Path, *names: str) -> list[str | None]:
    found = []
    for name in names:
        try:
            label = os.getxattr(folder / name, LABEL, follow_symlinks=False)
            found.append(label.decode().split(":")[2])
        except OSError:
            found.append(None)
    return found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One that runs v1, whose policy is enforced."""
    made = Machine(tmp_path / "root", tmp_path / "image")
    made.folder.mkdir()
    publish(made.image, "v1", **POLICY)
    made.upgrade()
    made.reboot()
    return made


def current_etc(machine: Machine) -> Path:
    found = machine.sysroot.booted()
    assert found is not None
    return machine.etc(found)


def upgraded(machine: Machine, version: str, **more: bytes | str | None) -> Path:
    publish(machine.image, version, **more)
    machine.upgrade()
    return machine.etc(machine.reboot())


def test_the_first_etc_is_labelled(machine: Machine) -> None:
    etc = current_etc(machine)
    names = ("", "motd", "link", "hostname", "selinux/config")
    assert labels(etc, *names) == ["etc_t", "etc_t", "etc_link_t", "hostname_t", "etc_t"]


def test_what_arrives_is_labelled_and_what_the_machine_has_keeps_its_label(
    machine: Machine,
) -> None:
    etc = current_etc(machine)
    set_label(etc / "motd", "mine_t")
    set_label(etc / "app.conf", "app_t")
    (etc / "app.conf").write_text("edited here\n")
    (etc / "own").write_text("made here, without a label\n")
    (etc / "own.d").mkdir()
    (etc / "own.d/link").symlink_to("x")
    (etc / "labelled").write_text("made here\n")
    set_label(etc / "labelled", "special_t")
    arriving = {"etc/new": b"n", "etc/motd.d/new": b"n", "etc/old/new": b"n", "etc/new-link": "new"}
    etc = upgraded(machine, "v2", **POLICY, **arriving)
    assert "welcome to v2" in (etc / "motd").read_text()
    expected = {
        "motd": "mine_t", "app.conf": "app_t", "own": "etc_t", "own.d": "etc_t",
        "own.d/link": "etc_link_t", "labelled": "special_t", "new": "etc_t",
        "new-link": "etc_link_t", "motd.d": "etc_t", "motd.d/new": "motd_t", "old/new": "motd_t",
    }  # fmt: skip
    assert dict(zip(expected, labels(etc, *expected), strict=True)) == expected


def test_what_was_added_to_the_policy_here_counts_for_what_arrives(machine: Machine) -> None:
    local = current_etc(machine) / f"{FILES.removeprefix('etc/')}/file_contexts.local"
    local.write_text("/etc/new  --  u:r:local_t:s0\n")
    changed = CONTEXTS + "/etc/other  u:r:other_t:s0\n"
    etc = upgraded(
        machine, "v2", **policy_files(contexts=changed), **{"etc/new": b"", "etc/other": b""}
    )
    assert labels(etc, "new", "other", "motd") == ["local_t", "other_t", "etc_t"]


def test_a_policy_that_was_broken_here_stops_no_upgrade(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    local = current_etc(machine) / f"{FILES.removeprefix('etc/')}/file_contexts.local"
    local.write_text("/etc/new\n")
    etc = upgraded(machine, "v2", **POLICY, **{"etc/new": b"", "etc/motd.d/new": b""})
    assert labels(etc, "new", "motd.d/new", "motd") == ["etc_t", "motd_t", "etc_t"]
    assert "file_contexts.local, line 1" in caplog.text
    local = etc / f"{FILES.removeprefix('etc/')}/file_contexts.local"
    local.write_text("/etc/((  u:r:x_t:s0\n")
    etc = upgraded(machine, "v3", **POLICY, **{"etc/newer": b""})
    assert labels(etc, "newer", "motd") == ["etc_t", "etc_t"]


def test_a_machine_without_labels_gets_them_with_the_first_policy(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    etc = upgraded(machine, "v1")
    assert labels(etc, "", "motd", "hostname") == [None, None, None]
    etc = upgraded(machine, "v2", **POLICY)
    names = ("", "motd", "hostname", "link")
    assert labels(etc, *names) == ["etc_t", "etc_t", "hostname_t", "etc_link_t"]
    etc = upgraded(machine, "v3")
    assert labels(etc, "hostname") == ["hostname_t"]


def test_an_installed_machine_has_labels_wherever_it_is_written_to(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    image = installable_image(tmp_path / "image", **POLICY)
    settings = Settings(image=image, hostname="web1", root_keys=KEY)
    install(machine.host, ROOT, settings, Silent())
    etc = machine.etc(machine.power_on())
    assert (etc / "hostname").read_text() == "web1\n"
    assert labels(etc, "", "hostname", "machine-id") == ["etc_t", "hostname_t", "machineid_t"]
    var = machine.sysroot.store / "var"
    keys = next(var.glob("**/authorized_keys"))
    assert labels(var, "", "lib", "lib/seed") == ["var_t", "var_lib_t", "var_lib_t"]
    assert labels(keys.parent, "authorized_keys", ".") == ["var_t", "var_t"]
