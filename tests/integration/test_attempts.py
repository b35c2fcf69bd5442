"""What becomes of checks and upgrades is remembered, told, and announced once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from support.machine import Machine, publish

from bootd.model.attempts import MAX_ATTEMPTS
from bootd.model.config import Automatic
from bootd.model.digest import Digest
from bootd.model.documents import Reason
from bootd.model.errors import (
    BootdError,
    DeniedDigestError,
    HeldError,
    NotTrustedError,
    UnauthorizedError,
)
from bootd.operations.explain import explain
from bootd.operations.machine.attempts import note_attempt, read_attempts
from bootd.operations.machine.message_of_the_day import FAILING_NAME, message_file
from bootd.operations.progress import Silent
from bootd.operations.stage import stage
from bootd.operations.status import status

REFUSED = UnauthorizedError("registry.example refused the password", hint="Log in anew.")
NEWS = Digest("sha256:" + "1a" * 32)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    one = Machine(tmp_path / "root", tmp_path / "image")
    one.folder.mkdir()
    publish(one.image, "v1")
    stage(one.host, Silent())
    one.reboot()
    return one


def note(machine: Machine, error: BootdError | None = None, **more: object) -> bool:
    found = {"automatic": True, "user": 0, "update": None, **more}
    return note_attempt(machine.host, "stage", error, **found)  # type: ignore[arg-type]


def reasons(machine: Machine) -> list[Reason]:
    return explain(status(machine.host), None, Automatic.STAGE).reasons


def test_failures_in_a_row_are_told_until_one_does_not_fail(machine: Machine) -> None:
    assert Reason.UP_TO_DATE in reasons(machine)
    note(machine)
    before = read_attempts(machine.host.sysroot).last_success
    note(machine, REFUSED)
    note(machine, NotTrustedError("no"))

    failing = status(machine.host).failing

    assert failing is not None
    assert (failing.in_a_row, failing.last_success) == (2, before)
    assert failing.since <= failing.last.when
    assert (failing.last.outcome, failing.last.message) == ("not-trusted", "no")
    assert Reason.FAILING in reasons(machine)
    assert Reason.UP_TO_DATE not in reasons(machine)
    note(machine)
    assert status(machine.host).failing is None
    assert Reason.UP_TO_DATE in reasons(machine)


@pytest.mark.parametrize("error", [HeldError("held"), DeniedDigestError("denied")])
def test_what_somebody_decided_is_no_failure(machine: Machine, error: BootdError) -> None:
    note(machine, error)
    assert status(machine.host).failing is None
    assert read_attempts(machine.host.sysroot).recent[0].outcome == error.code


def test_an_image_that_is_not_followed_says_nothing_of_updates(machine: Machine) -> None:
    note(machine, REFUSED, of_followed=False)
    assert read_attempts(machine.host.sysroot).recent == []
    note(machine, REFUSED)
    note(machine, of_followed=False)
    assert status(machine.host).failing is None


def test_a_line_at_login_comes_with_the_third_and_goes_with_the_first_good_one(
    machine: Machine,
) -> None:
    login = message_file(machine.host.sysroot, FAILING_NAME)
    for _ in range(2):
        note(machine, REFUSED)
        assert not login.exists()
    note(machine, REFUSED)
    assert "failed 3 times" in login.read_text()
    # Anybody reads it.
    assert "password" not in login.read_text()
    note(machine)
    assert not login.exists()


def test_an_update_is_news_once(machine: Machine) -> None:
    other = Digest("sha256:" + "2b" * 32)
    seen = [note(machine, update=one) for one in (NEWS, NEWS, other, other, NEWS)]
    assert seen == [True, False, True, False, True]


def test_memory_has_a_bound_and_survives_damage(machine: Machine) -> None:
    for _ in range(MAX_ATTEMPTS + 5):
        note(machine, REFUSED)
    known = read_attempts(machine.host.sysroot)
    assert (len(known.recent), known.in_a_row) == (MAX_ATTEMPTS, MAX_ATTEMPTS + 5)

    path = machine.host.sysroot.store / "attempts.json"
    for damage in (b"", b"[]", b"\0" * 200, b'{"format": 99}'):
        path.write_bytes(damage)
        assert status(machine.host).failing is None
        note(machine, REFUSED)
        assert status(machine.host).failing is not None


def test_no_store_is_made_for_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    note(machine, REFUSED)
    assert not machine.host.sysroot.store.exists()


def test_an_old_fallback_is_told_until_a_later_image_has_proved_itself(machine: Machine) -> None:
    publish(machine.image, "v2")
    stage(machine.host, Silent())
    machine.reboot(healthy=False)
    for _ in range(3):
        machine.power_on(healthy=False)
    assert status(machine.host).last_fallback is not None
    # It was a while ago: clocks here tell whole seconds.
    known = machine.host.sysroot.read_denied()
    [denial] = known.denied
    earlier = denial.model_copy(update={"when": denial.when - timedelta(hours=1)})
    machine.host.sysroot.write_denied(known.model_copy(update={"denied": [earlier]}))

    publish(machine.image, "v3")
    stage(machine.host, Silent())
    machine.reboot()

    assert status(machine.host).last_fallback is None
    assert machine.host.sysroot.read_denied().denied
