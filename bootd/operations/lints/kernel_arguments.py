"""The kernel arguments that the image asks for can be read."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Final

from bootd.boot.kernels.arguments import ARGUMENT_FOLDER, ARGUMENT_SUFFIX, parse_argument_files
from bootd.model.errors import InvalidKernelArgumentsError
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_UNREAD: Final = LintSeverity.WARNING


def _look(image: ImageRoot) -> Iterator[Found]:
    files: list[tuple[str, bytes]] = []
    failed = False
    for name in image.names(ARGUMENT_FOLDER):
        path = f"{ARGUMENT_FOLDER}/{name}"
        if not name.endswith(ARGUMENT_SUFFIX):
            yield Found(path, f"is not read: it does not end in {ARGUMENT_SUFFIX}", _UNREAD)
            continue
        if image.kind(path) != "file":
            problem = f"is not a regular file but a {image.kind(path)}"
        else:
            files.append((name, image.read(path)))
            problem = _problem(files[-1:])
        if problem:
            failed = True
            yield Found(path, problem)
    if not failed and (problem := _problem(files)):
        yield Found(ARGUMENT_FOLDER, problem)


def _problem(files: list[tuple[str, bytes]]) -> str:
    try:
        parse_argument_files(files, platform.machine())
    except InvalidKernelArgumentsError as error:
        return error.message
    return ""


LINT = Lint(
    rule=LintRule(
        id="kernel-arguments",
        severity=LintSeverity.FATAL,
        reason="An image whose kargs.d cannot be understood is refused.",
        mend=("Mend the named file: kargs is a list of strings, match-architectures another one."),
    ),
    look=_look,
)
