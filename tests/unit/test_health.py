"""Health checks: which there are, how they are run, what follows; programs that misbehave."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bootd.clock import Clock
from bootd.model.errors import ProcessFailedError
from bootd.model.health import CheckResult, Outcome, Severity, Verdict, judge, mark_old
from bootd.operations.trial.checks import find_checks, run_check
from bootd.process import supervise

VENDOR = "usr/lib/bootd/health.d"
LOCAL = "etc/bootd/health.d"
REQUIRED = "usr/lib/greenboot/check/required.d"
WANTED = "etc/greenboot/check/wanted.d"


@dataclass(frozen=True, slots=True)
class Waiting(Clock):
    """A clock whose waiting is only written down."""

    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def put(root: Path, folder: str, name: str, text: str = "exit 0", mode: int = 0o755) -> Path:
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if name.endswith(".toml") or not text else f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def names(root: Path) -> list[str]:
    return [check.name for check in find_checks(root)]


def result(name: str = "health.d/a", *, passed: bool = False, wanted: bool = False) -> CheckResult:
    return CheckResult(
        name=name,
        path=f"/{name}",
        severity=Severity.WANTED if wanted else Severity.REQUIRED,
        outcome=Outcome.PASSED if passed else Outcome.FAILED,
        attempts=1,
        seconds=0,
        exit_status=0 if passed else 1,
        output="",
    )


def test_a_system_without_folders_has_no_checks(tmp_path: Path) -> None:
    assert names(tmp_path) == []


def test_etc_replaces_and_masks_what_the_image_has(tmp_path: Path) -> None:
    for name in ("10-kept", "20-replaced", "30-empty", "40-null"):
        put(tmp_path, VENDOR, name)
    replaced = put(tmp_path, LOCAL, "20-replaced")
    put(tmp_path, LOCAL, "30-empty", "")
    (tmp_path / LOCAL / "40-null").symlink_to(os.devnull)
    put(tmp_path, LOCAL, "05-local")
    put(tmp_path, LOCAL, "README", mode=0o644)
    put(tmp_path, LOCAL, ".hidden")
    (tmp_path / LOCAL / "50-dangling").symlink_to("nowhere")
    (tmp_path / LOCAL / "60-folder").mkdir()
    assert names(tmp_path) == ["health.d/05-local", "health.d/10-kept", "health.d/20-replaced"]
    assert find_checks(tmp_path)[-1].path == replaced


def test_the_folders_of_greenboot_are_read(tmp_path: Path) -> None:
    put(tmp_path, REQUIRED, "a.sh", mode=0o644)
    put(tmp_path, REQUIRED, "program")
    put(tmp_path, WANTED, "a.sh")
    put(tmp_path, WANTED, "notes.txt", mode=0o644)
    found = {check.name: (check.severity, len(check.command)) for check in find_checks(tmp_path)}
    assert found == {
        "required.d/a.sh": (Severity.REQUIRED, 2),
        "required.d/program": (Severity.REQUIRED, 1),
        "wanted.d/a.sh": (Severity.WANTED, 1),
    }
    assert all(run_check(check, Clock()).passed for check in find_checks(tmp_path))


def test_settings_lie_beside_the_check_or_in_etc(tmp_path: Path) -> None:
    put(tmp_path, VENDOR, "a")
    put(tmp_path, VENDOR, "a.toml", 'severity = "wanted"\nattempts = 3\n')
    [check] = find_checks(tmp_path)
    assert (check.severity, check.settings.attempts) == (Severity.WANTED, 3)
    put(tmp_path, LOCAL, "a.toml", "timeout_seconds = 7\n")
    [check] = find_checks(tmp_path)
    assert (check.severity, check.settings.attempts) == (Severity.REQUIRED, 1)
    assert check.settings.timeout_seconds == 7


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("attempts = 0\n", "attempts: "),
        ('attempts = "3"\n', "attempts: "),
        ("timeout = 1\n", "timeout: "),
        ("what\n", "cannot be read"),
        ('severity = "fatal"\n', "severity: "),
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path: Path, text: str, problem: str) -> None:
    put(tmp_path, VENDOR, "a")
    path = put(tmp_path, VENDOR, "a.toml", text)
    [check] = find_checks(tmp_path)
    assert check.problem.startswith(str(path))
    assert problem in check.problem
    assert check.settings.attempts == 1


def test_a_check_is_repeated_until_it_passes(tmp_path: Path) -> None:
    put(tmp_path, VENDOR, "a", f'echo x >>"{tmp_path}/seen"; [ $(wc -l <"{tmp_path}/seen") = 3 ]')
    put(tmp_path, VENDOR, "a.toml", "attempts = 5\nretry_seconds = 9\n")
    clock = Waiting()
    [check] = find_checks(tmp_path)
    found = run_check(check, clock)
    assert (found.outcome, found.attempts, clock.slept) == (Outcome.PASSED, 3, [9, 9])


def test_a_check_that_fails_says_how(tmp_path: Path) -> None:
    put(tmp_path, VENDOR, "a", "echo one; echo two >&2; exit 7")
    put(tmp_path, VENDOR, "b").write_text("#!/no/such/interpreter\n")
    put(tmp_path, VENDOR, "c", "kill -TERM $$")
    first, second, third = (run_check(check, Clock()) for check in find_checks(tmp_path))
    assert (first.outcome, first.exit_status) == (Outcome.FAILED, 7)
    assert first.output == "one\ntwo"
    assert (second.outcome, second.exit_status) == (Outcome.NOT_STARTED, None)
    assert (third.outcome, third.exit_status) == (Outcome.FAILED, -15)


def test_a_check_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    put(tmp_path, VENDOR, "a", f'sleep 1000 & echo $! >"{tmp_path}/child"; sleep 1000')
    put(tmp_path, VENDOR, "a.toml", "timeout_seconds = 1\n")
    [check] = find_checks(tmp_path)
    found = run_check(check, Clock())
    assert (found.outcome, found.exit_status) == (Outcome.TIMED_OUT, -9)
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    give_up = time.monotonic() + 30
    while is_running(child) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not is_running(child)


def is_running(stat: Path) -> bool:
    """A process that was killed may not have been reaped yet by whoever adopted it."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_child_that_stays_is_not_waited_for() -> None:
    ended = supervise(["/bin/sh", "-c", "sleep 1000 & echo done"], timeout=60, output_limit=100)
    assert (ended.status, ended.timed_out, ended.output) == (0, False, b"done\n")


def test_output_without_end_is_bounded() -> None:
    script = "head -c 3000000 /dev/zero; echo last"
    ended = supervise(["/bin/sh", "-c", script], timeout=60, output_limit=50)
    assert len(ended.output) == 50
    assert ended.output.endswith(b"last\n")


def test_a_program_that_closes_its_output_is_waited_for() -> None:
    script = "exec >&- 2>&-; exit 4"
    assert supervise(["/bin/sh", "-c", script], timeout=60, output_limit=50).status == 4


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ProcessFailedError, match="/no/such"):
        supervise(["/no/such"], timeout=1, output_limit=1)


@pytest.mark.parametrize(
    ("checks", "before", "ignore_old", "verdict"),
    [
        ([], set(), True, Verdict.HEALTHY),
        ([result(passed=True)], {"health.d/a"}, True, Verdict.HEALTHY),
        ([result()], set(), True, Verdict.UNHEALTHY),
        ([result()], {"health.d/b"}, True, Verdict.UNHEALTHY),
        ([result()], {"health.d/a"}, True, Verdict.DEGRADED),
        ([result()], {"health.d/a"}, False, Verdict.UNHEALTHY),
        ([result(wanted=True)], set(), True, Verdict.DEGRADED),
        ([result(passed=True), result("health.d/b")], {"health.d/a"}, True, Verdict.UNHEALTHY),
    ],
)
def test_the_verdict(
    checks: list[CheckResult], before: set[str], ignore_old: bool, verdict: Verdict
) -> None:
    assert judge(mark_old(checks, before), ignore_old=ignore_old) is verdict
