"""Machines that are set up alike have the same drift, whichever version they run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.machine import Machine, installed, publish

from bootd.model.config import EtcSettings
from bootd.model.etc.policy import EtcPolicy
from bootd.operations.etc.drift import drift
from bootd.operations.status import status, status_with_drift

PASSWD = b"root:x:0:0::/:/bin/sh\n"
TEXT = "".join(f"line {number}\n" for number in range(40))


def image(version: str) -> dict[str, bytes | str | None]:
    more = b"" if version == "v1" else b"redis:x:900:0::/:/bin/sh\n"
    return {
        "etc/passwd": PASSWD + more,
        "etc/group": b"root:x:0:\n",
        "etc/shadow": b"root:*:1::::::\n" + (b"" if version == "v1" else b"redis:!:1::::::\n"),
        "etc/text": TEXT.replace("line 30", f"line of {version}").encode(),
    }


def made(folder: Path) -> Machine:
    machine = installed(folder)
    publish(machine.image, "v1", **image("v1"))
    machine.upgrade()
    machine.reboot()
    etc = EtcSettings(policy={"/etc/text": EtcPolicy.MERGE})
    machine.configuration = machine.configuration.model_copy(update={"etc": etc})
    return machine


def etc_of(machine: Machine) -> Path:
    booted = machine.sysroot.booted()
    assert booted is not None
    return machine.etc(booted)


def set_up(machine: Machine, password: str = "$y$one") -> None:
    etc = etc_of(machine)
    (etc / "app.conf").chmod(0o600)
    (etc / "d").mkdir()
    (etc / "d/own").write_text("own\n")
    with (etc / "passwd").open("a") as stream:
        stream.write("me:x:1000:0::/:/bin/sh\n")
    with (etc / "shadow").open("a") as stream:
        stream.write(f"me:{password}:2::::::\n")
    (etc / "text").write_text((etc / "text").read_text().replace("line 3\n", "my line 3\n"))
    (etc / "machine-id").write_text(os.urandom(16).hex())


def upgraded(machine: Machine) -> Machine:
    publish(machine.image, "v2", **image("v2"))
    machine.upgrade()
    machine.reboot()
    return machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return made(tmp_path / "one")


def test_machines_that_are_set_up_alike_have_the_same(machine: Machine, tmp_path: Path) -> None:
    other = made(tmp_path / "other")
    plain = drift(machine.host)
    assert plain == drift(other.host)
    set_up(machine)
    assert drift(machine.host) != plain
    set_up(other, password="$y$two")
    assert drift(machine.host) == drift(other.host)


def test_it_stays_over_an_upgrade(machine: Machine) -> None:
    set_up(machine)
    before = drift(machine.host)
    assert drift(upgraded(machine).host) == before


@pytest.mark.parametrize(
    "edit",
    [
        lambda etc: (etc / "d/own").write_text("other\n"),
        lambda etc: (etc / "d/own").chmod(0o600),
        lambda etc: (etc / "app.conf").chmod(0o644),
        lambda etc: (etc / "motd").unlink(),
        lambda etc: (etc / "passwd").write_bytes(PASSWD),
        lambda etc: (etc / "shadow").write_text("root:*:1::::::\nme:!$y$one:2::::::\n"),
        lambda etc: (etc / "text").write_text(TEXT),
        lambda etc: os.setxattr(etc / "motd", "user.x", b"1"),
    ],
)
def test_every_edit_changes_it(machine: Machine, edit) -> None:
    set_up(machine)
    before = drift(machine.host)
    edit(etc_of(machine))
    assert drift(machine.host) != before


def test_times_and_what_names_a_machine_do_not(machine: Machine) -> None:
    before = drift(machine.host)
    etc = etc_of(machine)
    os.utime(etc / "motd", (1, 1))
    (etc / "machine-id").write_text("0" * 32)
    (etc / "hostname").write_text("another\n")
    (etc / "x.bootd-new").write_text("theirs\n")
    assert drift(machine.host) == before


def test_the_status_has_it_where_it_is_asked_for(machine: Machine) -> None:
    assert status(machine.host).etc_drift is None
    assert status_with_drift(machine.host).etc_drift == drift(machine.host)


def test_a_drift_that_is_not_known_is_a_problem(machine: Machine) -> None:
    booted = machine.sysroot.booted()
    assert booted is not None
    (machine.sysroot.deployment(booted) / "root.erofs").unlink()
    found = status_with_drift(machine.host)
    assert found.etc_drift is None
    assert "drift" in found.problems[-1]


def test_there_is_none_to_miss_before_a_deployment_was_made_bootable(tmp_path: Path) -> None:
    machine = Machine(tmp_path, tmp_path / "image")
    publish(machine.image, "v1", **image("v1"))
    machine.upgrade()
    found = status_with_drift(machine.host)
    assert (found.etc_drift, found.problems) == (None, [])
