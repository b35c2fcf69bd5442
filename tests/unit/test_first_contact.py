"""A machine that is none of bootd's is told so, at once and by every verb; nothing is damaged."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from bootd.cli import daemon, managed
from bootd.cli.main import main
from bootd.cli.parser import verb_parser
from bootd.cli.render.by_kind import render
from bootd.cli.style import Style
from bootd.cli.verbs import VERBS, Verb
from bootd.daemon.dbus.names import ADDRESS_VARIABLE
from bootd.daemon.dbus.transport import Transport
from bootd.daemon.machine import Machine
from bootd.model.errors import NotASysrootError
from bootd.operations import host

CHECKOUT = Path(__file__).parents[2]
GIVEN = {
    "switch": ["registry.example/os:1"],
    "pin": ["0123456789abcdef.0"],
    "unpin": ["0123456789abcdef.0"],
    "forget": ["0123456789abcdef.0"],
    "etc resolve": ["/etc/motd", "mine"],
    "etc reset": ["/etc/motd"],
    "etc restore": ["1"],
    "kargs add": ["quiet"],
    "kargs remove": ["quiet"],
    "kargs set": ["quiet"],
    "kargs unset": ["quiet"],
    "denied allow": ["sha256:" + "0" * 64],
    "hold": ["maintenance"],
    "cancel": ["1"],
}
"""What verbs have to be given."""
NEEDY = [verb for verb in VERBS if not verb.anywhere]


def command(verb: Verb) -> list[str]:
    return [*verb.words.split(), *GIVEN.get(verb.words, [])]


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine runs from no deployment, and whoever waits for its bus has failed."""

    async def wait_for_bus(*_: object) -> Transport:
        raise AssertionError("the bus is asked")

    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    monkeypatch.setattr(managed, "_STORE", tmp_path / "sysroot/bootd")
    monkeypatch.setattr(managed, "_SERVED", tmp_path / "run/bootd/status")
    monkeypatch.setattr(managed, "_COMMAND_LINE", tmp_path / "cmdline")
    monkeypatch.setattr(Transport, "open", wait_for_bus)


def test_what_needs_a_machine_and_what_does_not() -> None:
    assert {verb.words for verb in VERBS if verb.anywhere} == {
        *("lint", "trust check", "config", "completion", "doctor"),
        *("install to-disk", "install to-filesystem"),
    }
    unit = (CHECKOUT / "systemd/bootd.service").read_text()
    assert f"ConditionPathIsDirectory={managed._STORE}" in unit
    assert host.PHYSICAL_ROOT / "bootd" == managed._STORE


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("verb", NEEDY, ids=lambda verb: verb.words)
@pytest.mark.parametrize("user", [0, 1000])
def test_every_verb_says_what_the_ways_in_are(
    verb: Verb,
    user: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    offline = ["--offline"] if "--offline" in verb_parser(verb).format_help() else []
    for more in ([], offline):
        assert main([*command(verb), *more]) == 1
        told, hint = capfd.readouterr().err.splitlines()
        assert told == "bootctl-py: this machine does not run from a deployment of bootd"
        for way in ("doctor", "install to-disk", "install to-filesystem", "lint"):
            assert f"'bootctl-py {way}'" in hint
    assert main([*command(verb), "--json=short"]) == 1
    said = capfd.readouterr()
    assert (json.loads(said.out)["code"], said.err) == ("not-a-sysroot", "")


@pytest.mark.parametrize("verb", [one for one in NEEDY if one.offline], ids=lambda one: one.words)
def test_an_empty_folder_is_no_damaged_machine(
    verb: Verb, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--sysroot", str(tmp_path), *command(verb)]) == 1
    said = capfd.readouterr().err
    assert f"{tmp_path} holds no machine of bootd's" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("foreign")
def test_a_deployment_without_its_store_is_another_matter(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cmdline").write_text("quiet bootd=0123456789abcdef.0 rw\n")
    assert main(["status"]) == 1
    said = capfd.readouterr().err
    assert "started for deployment 0123456789abcdef.0, and" in said
    assert "findmnt /sysroot" in said


def test_what_may_not_be_looked_at_is_left_to_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> os.stat_result:
        raise PermissionError

    monkeypatch.setattr(Path, "stat", refused)
    assert managed.is_managed(tmp_path)


def test_another_bus_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(managed, "_STORE", tmp_path / "sysroot/bootd")
    monkeypatch.setattr(daemon, "_OTHER_BUS_SECONDS", 0.01)
    address = tmp_path / "bus"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(address))
        silent.listen()
        monkeypatch.setenv(ADDRESS_VARIABLE, f"unix:path={address}")
        assert main(["status"]) == 1
    assert "does not run from a deployment" in capfd.readouterr().err


async def _shown(folder: Path) -> str:
    machine = Machine(folder)
    await machine.read()
    return render(machine.status.model_dump(mode="json"), Style())


async def test_a_fresh_machine_is_invited(tmp_path: Path) -> None:
    shown = await _shown(tmp_path)
    assert "bootctl-py switch REFERENCE" in shown
    assert not {"Problem", "fsck"} & set(shown.replace(":", "").split())
    (tmp_path / "etc/bootd").mkdir(parents=True)
    (tmp_path / "etc/bootd/bootd.toml").write_text('image = "registry.example/os:1"\n')
    # A first stage that was cut off before the store was whole.
    (tmp_path / "bootd/objects").mkdir(parents=True)
    shown = await _shown(tmp_path)
    assert "registry.example/os:1" in shown
    assert "bootctl-py upgrade" in shown
    assert "Problem" not in shown


def test_the_check_asks_only_for_what_it_names(tmp_path: Path) -> None:
    with pytest.raises(NotASysrootError):
        managed.require_managed(tmp_path)
    (tmp_path / "bootd").mkdir()
    managed.require_managed(tmp_path)
