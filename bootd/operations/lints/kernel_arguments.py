"""The kernel arguments that the image asks for can be read."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Final

from bootd.boot.arguments import ARGUMENT_FOLDER, ARGUMENT_SUFFIX, parse_argument_files
from bootd.model.errors import InvalidKernelArgumentsError
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image_root import ImageRoot
from bootd.operations.lint import Found, Lint

_UNREAD: Final = LintSeverity.WARNING


def _look(image: ImageRoot) -> Iterator[Found]:
    for name in image.names(ARGUMENT_FOLDER):
        path = f"{ARGUMENT_FOLDER}/{name}"
        if not name.endswith(ARGUMENT_SUFFIX):
            yield Found(path, f"is not read: it does not end in {ARGUMENT_SUFFIX}", _UNREAD)
        elif image.kind(path) != "file":
            yield Found(path, f"is not a regular file but a {image.kind(path)}")
        else:
            yield from _problems(path, name, image.read(path))


def _problems(path: str, name: str, content: bytes) -> Iterator[Found]:
    try:
        parse_argument_files([(name, content)], platform.machine())
    except InvalidKernelArgumentsError as error:
        yield Found(path, error.message)


LINT = Lint(
    rule=LintRule(
        id="kernel-arguments",
        severity=LintSeverity.FATAL,
        reason="An image whose kargs.d cannot be understood is refused.",
        mend=("Mend the named file: kargs is a list of strings, match-architectures another one."),
    ),
    look=_look,
)
