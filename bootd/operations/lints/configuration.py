"""The settings that the image brings can be used."""

from __future__ import annotations

from collections.abc import Iterator

from bootd.configuration import load
from bootd.model.errors import InvalidConfigurationError
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image_root import ImageRoot
from bootd.operations.lint import Found, Lint


def _look(image: ImageRoot) -> Iterator[Found]:
    try:
        loaded = load(image.folder)
    except InvalidConfigurationError as error:
        yield Found("etc/bootd/bootd.toml", error.message)
    else:
        for warning in loaded.warnings:
            yield Found("etc/bootd/bootd.toml", warning, LintSeverity.WARNING)


LINT = Lint(
    rule=LintRule(
        id="configuration",
        severity=LintSeverity.FATAL,
        reason="The daemon does not start with settings that it cannot use.",
        mend="Mend the named file; bootd.toml(5) has the keys and their bounds.",
    ),
    look=_look,
)
