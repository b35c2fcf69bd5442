"""Health checks on disk: which there are, and running one.

bootd's own are programs in ``/usr/lib/bootd/health.d`` and ``/etc/bootd/health.d``; greenboot's
folders are read too, where a ``*.sh`` need not be executable. A name in ``/etc`` replaces the same
one in ``/usr/lib``, and an empty file or a link to ``/dev/null`` there masks it, as UAPI.6 has it
for configuration. The same holds for ``<check>.toml``, the settings of a check, so an administrator
gives a check more time without copying it.

What is neither executable nor greenboot's is not a check. Checks run in the order of their names.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bootd.clock import Clock
from bootd.model.errors import ProcessFailedError
from bootd.model.health import CheckResult, CheckSettings, Outcome, Severity
from bootd.model.validation import in_words
from bootd.process import Ended, supervise

SETTINGS_SUFFIX: Final = ".toml"
TREES: Final = ("usr/lib", "etc")
"""From the weaker to the stronger."""

_MAX_CHECKS: Final = 200
_MAX_SETTINGS: Final = 65_536
_KEPT_OUTPUT: Final = 4_096
_SHELL: Final = "/bin/bash"


@dataclass(frozen=True, slots=True)
class CheckFolder:
    """A kind of folder that checks are in.

    Attributes:
        path: below each of `TREES`.
        severity: what a failure means unless the settings say otherwise.
        scripts: whether ``*.sh`` are run with bash where they are not executable.
    """

    path: str
    severity: Severity
    scripts: bool


FOLDERS: Final = (
    CheckFolder("bootd/health.d", Severity.REQUIRED, scripts=False),
    CheckFolder("greenboot/check/required.d", Severity.REQUIRED, scripts=True),
    CheckFolder("greenboot/check/wanted.d", Severity.WANTED, scripts=True),
)


@dataclass(frozen=True, slots=True)
class Check:
    """A check that can be run.

    Attributes:
        name: the folder's last part and the file name; unique on a machine.
        path: the file.
        command: how it is started.
        severity: what a failure means.
        settings: how it is run.
        problem: why its settings cannot be used, or empty.
    """

    name: str
    path: Path
    command: tuple[str, ...]
    severity: Severity
    settings: CheckSettings
    problem: str = ""


def find_checks(root: Path) -> list[Check]:
    """Return the checks of the system whose root folder is given, in the order they are run.

    More than two hundred are not looked at.
    """
    found = [check for folder in FOLDERS for check in _checks_in(root, folder)]
    return found[:_MAX_CHECKS]


def run_check(check: Check, clock: Clock) -> CheckResult:
    """Run a check until it passes or its attempts are used up."""
    settings = check.settings
    result = _attempt(check, clock, 1)
    for attempt in range(2, settings.attempts + 1):
        if result.passed:
            break
        clock.sleep(settings.retry_seconds)
        result = _attempt(check, clock, attempt)
    return result


def programs_in(folders: Sequence[Path]) -> list[Path]:
    """Return the programs in some folders by their names; a later folder replaces and masks."""
    return [path for _, path in sorted(_kept_in(folders).items()) if os.access(path, os.X_OK)]


def _kept_in(folders: Iterable[Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder in folders:
        files.update(_files_in(folder))
    return {name: path for name, path in files.items() if not _is_mask(path)}


def _checks_in(root: Path, folder: CheckFolder) -> Iterator[Check]:
    kept = _kept_in(root / tree / folder.path for tree in TREES)
    for name in sorted(kept):
        command = _command(kept[name], folder)
        if command:
            settings, problem = _settings(kept.get(name + SETTINGS_SUFFIX))
            yield Check(
                name=f"{Path(folder.path).name}/{name}",
                path=kept[name],
                command=command,
                severity=settings.severity or folder.severity,
                settings=settings,
                problem=problem,
            )


def _files_in(folder: Path) -> dict[str, Path]:
    try:
        paths = list(folder.iterdir())
    except OSError:
        # No folder, no checks; one that cannot be read has none that could be run.
        return {}
    return {path.name: path for path in paths if not path.name.startswith(".")}


def _is_mask(path: Path) -> bool:
    if path.is_symlink() and path.readlink() == Path(os.devnull):
        return True
    return not path.is_file() or path.stat().st_size == 0


def _command(path: Path, folder: CheckFolder) -> tuple[str, ...]:
    if path.suffix == SETTINGS_SUFFIX:
        return ()
    if os.access(path, os.X_OK):
        return (str(path),)
    return (_SHELL, str(path)) if folder.scripts and path.suffix == ".sh" else ()


def _settings(path: Path | None) -> tuple[CheckSettings, str]:
    if path is None:
        return CheckSettings(), ""
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_SETTINGS).decode()
        return CheckSettings.model_validate(tomllib.loads(text)), ""
    except ValidationError as error:
        return CheckSettings(), f"{path}: {in_words(error)}"
    except (OSError, ValueError, RecursionError) as error:
        return CheckSettings(), f"{path} cannot be read: {error}"


def _attempt(check: Check, clock: Clock, attempt: int) -> CheckResult:
    began = clock.monotonic()
    try:
        ended = supervise(
            check.command, timeout=check.settings.timeout_seconds, output_limit=_KEPT_OUTPUT
        )
    except ProcessFailedError as error:
        outcome, status, said = Outcome.NOT_STARTED, None, error.message
    else:
        outcome, status, said = _outcome(ended), ended.status, ended.output.decode(errors="replace")
    return CheckResult(
        name=check.name,
        path=str(check.path),
        severity=check.severity,
        outcome=outcome,
        attempts=attempt,
        seconds=round(clock.monotonic() - began, 3),
        exit_status=status,
        output=said.strip(),
    )


def _outcome(ended: Ended) -> Outcome:
    if ended.timed_out:
        return Outcome.TIMED_OUT
    return Outcome.PASSED if ended.status == 0 else Outcome.FAILED
