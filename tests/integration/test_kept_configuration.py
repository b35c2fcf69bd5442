"""A configuration that cannot be used takes nothing away that needs no setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.machine import Machine, publish

from bootd.cli.main import main
from bootd.model.config import Automatic
from bootd.operations.host import open_host
from bootd.operations.machine.message_of_the_day import CONFIGURATION_NAME, message_file
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.operations.stage import stage

GOOD = 'automatic = "check"\ntries = 5\n[registries]\nattempts = 7\n'


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that runs v2, with v1 to go back to."""
    one = Machine(tmp_path / "root", tmp_path / "image")
    one.folder.mkdir()
    settings(one, f'image = "{publish(one.image, "v1")}"\n{GOOD}')
    for version in ("v1", "v2"):
        publish(one.image, version)
        stage(open_host(one.folder), Silent())
        one.reboot()
    # As the daemon does when it starts, with the settings of the files.
    recover(open_host(one.folder))
    return one


def settings(machine: Machine, text: str) -> None:
    path = machine.folder / "etc/bootd/bootd.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


@pytest.mark.parametrize(
    "text", ['tries = "3"', "tries = 77", "not TOML", "[registries]\nattempts = 0", "image = 7"]
)
def test_the_last_configuration_stays_in_force(machine: Machine, text: str) -> None:
    settings(machine, text)

    host = open_host(machine.folder)

    assert host.configuration_problem is not None
    assert "stays in force" in host.configuration_problem
    assert "bootd.toml" in host.configuration_problem
    assert (host.configuration.tries, host.registry.attempts) == (5, 7)
    assert host.configuration.automatic is Automatic.CHECK


@pytest.mark.parametrize(
    "words", ["status", "fsck", "finalize", "rollback", "etc diff", "why", "cleanup", "kargs"]
)
def test_verbs_of_a_rescue_go_on(
    machine: Machine, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(machine, 'tries = "3"')
    status = main(["--sysroot", str(machine.folder), *words.split()])
    said = capsys.readouterr()
    assert status in {0, 1}
    assert "invalid-configuration" not in said.err


def test_it_is_told_in_the_status_and_at_login_until_it_is_mended(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(machine, 'tries = "3"')
    recover(open_host(machine.folder))
    assert main(["--sysroot", str(machine.folder), "status"]) == 0
    told = capsys.readouterr().out
    assert "tries = '3'" in told
    assert "bootctl-py config" in told
    assert "bootctl-py fsck" not in told
    login = message_file(machine.host.sysroot, CONFIGURATION_NAME)
    assert "stays in force" in login.read_text()

    settings(machine, GOOD)
    recover(open_host(machine.folder))
    assert not login.exists()


def test_without_one_that_was_kept_nothing_is_upgraded_by_itself(machine: Machine) -> None:
    kept = machine.host.sysroot.store / "configuration.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    for damage in (b"", b"[]", b"{", b'{"tries": 77}'):
        kept.write_bytes(damage)
        settings(machine, "tries = 77")
        host = open_host(machine.folder)
        assert host.configuration.automatic is Automatic.OFF
        assert "the defaults are in force" in (host.configuration_problem or "")


def test_what_a_newer_bootd_kept_is_understood(machine: Machine) -> None:
    kept = machine.host.sysroot.store / "configuration.json"
    kept.write_bytes(b'{"tries": 4, "speed": 9, "registries": {"attempts": 3, "magic": true}}')
    settings(machine, "tries = 77")
    host = open_host(machine.folder)
    assert (host.configuration.tries, host.registry.attempts) == (4, 3)
