"""The settings that the image brings can be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.configuration import load
from bootd.etc.policy import parse_rules
from bootd.model.errors import InvalidConfigurationError
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image_root import ImageRoot
from bootd.operations.lint import Found, Lint

_ETC_RULES: Final = "usr/lib/bootd/etc.toml"


def _look(image: ImageRoot) -> Iterator[Found]:
    try:
        loaded = load(image.folder)
    except InvalidConfigurationError as error:
        yield Found("etc/bootd/bootd.toml", error.message)
    else:
        for warning in loaded.warnings:
            yield Found("etc/bootd/bootd.toml", warning, LintSeverity.WARNING)
    try:
        parse_rules(image.read(_ETC_RULES))
    except InvalidConfigurationError as error:
        # An upgrade goes on without them.
        yield Found(_ETC_RULES, error.message, LintSeverity.WARNING)


LINT = Lint(
    rule=LintRule(
        id="configuration",
        severity=LintSeverity.FATAL,
        reason="The daemon does not start with settings that it cannot use.",
        mend="Mend the named file; bootd.toml(5) has the keys and their bounds.",
    ),
    look=_look,
)
