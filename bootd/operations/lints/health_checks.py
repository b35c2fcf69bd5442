"""The health checks that the image brings are run."""

from __future__ import annotations

from collections.abc import Iterator

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint
from bootd.operations.trial.checks import FOLDERS, SETTINGS_SUFFIX, TREES, find_checks


def _look(image: ImageRoot) -> Iterator[Found]:
    checks = find_checks(image.folder)
    used = {check.path for check in checks}
    for check in checks:
        if check.problem:
            yield Found(str(check.path.relative_to(image.folder)), check.problem)
    for folder in FOLDERS:
        for tree in TREES:
            for name in image.names(f"{tree}/{folder.path}"):
                path = f"{tree}/{folder.path}/{name}"
                is_check = not name.endswith(SETTINGS_SUFFIX) and image.kind(path) == "file"
                if is_check and image.read(path) and image.folder / path not in used:
                    yield Found(path, "is not run: it is not executable, or replaced")


LINT = Lint(
    rule=LintRule(
        id="health-checks",
        severity=LintSeverity.WARNING,
        reason=(
            "A check that is not executable is not run, and one whose settings cannot be read "
            "runs with the defaults."
        ),
        mend="Make it executable, and mend the settings; bootd(8) has the keys.",
    ),
    look=_look,
)
