"""Merging and comparing text by lines, which diff3(1) and diff(1) of diffutils do.

Both are programs rather than a library so that a hard bound on their time holds, also at shutdown,
whatever the text. They read anonymous files, so nothing is left behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from subprocess import CompletedProcess
from typing import Final

from bootd import process
from bootd.model.errors import ProcessFailedError

MAX_TEXT: Final = 1 << 20
"""Largest text, in bytes, that is merged or compared by lines."""
_TIMEOUT: Final = 10.0
_CLASH: Final = 1


class LinesClashError(Exception):
    """The lines do not merge; the text says why, for a report."""


def is_text(data: bytes) -> bool:
    """Tell whether a content is worth looking at by lines: not large, and without a zero byte."""
    return len(data) <= MAX_TEXT and b"\0" not in data


def merge_lines(base: bytes, mine: bytes, theirs: bytes) -> bytes:
    """Return the text with the changes of both sides.

    Changes that touch each other clash, unless they are the same.

    Raises:
        LinesClashError: they clash, it is no text, or diff3 is missing or failed.
    """
    if not (is_text(base) and is_text(mine) and is_text(theirs)):
        raise LinesClashError(f"it is no text of at most {MAX_TEXT >> 20} MiB")
    try:
        done = _run(["diff3", "--merge", "--show-overlap", "--text"], mine, base, theirs)
    except ProcessFailedError as error:
        raise LinesClashError(error.message) from error
    if done.returncode == _CLASH:
        raise LinesClashError("lines that both changed touch each other")
    return done.stdout


def marked_lines(base: bytes, mine: bytes, theirs: bytes, labels: tuple[str, str, str]) -> bytes:
    """Return the merged text with both versions, between marks, where they clash.

    Args:
        base: what both came from.
        mine: the one version.
        theirs: the other.
        labels: what the marks call mine, base and theirs.

    Raises:
        ProcessFailedError: diff3 is missing or failed.
    """
    names = [f"--label={label}" for label in labels]
    return _run(["diff3", "--merge", "--text", *names], mine, base, theirs).stdout


def unified(before: bytes, after: bytes, labels: tuple[str, str]) -> str:
    """Return a unified diff, empty where there is none; of what is no text only that it differs.

    Raises:
        ProcessFailedError: diff is missing or failed.
    """
    if before == after:
        return ""
    if not (is_text(before) and is_text(after)):
        return f"{labels[0]} and {labels[1]} differ, and are no text\n"
    names = [f"--label={label}" for label in labels]
    done = _run(["diff", "--unified", "--text", *names], before, after)
    return done.stdout.decode(errors="backslashreplace")


def _run(command: list[str], *texts: bytes) -> CompletedProcess[bytes]:
    with _opened(texts) as files:
        arguments = [*command, *(f"/proc/self/fd/{descriptor}" for descriptor in files)]
        return process.run(arguments, timeout=_TIMEOUT, expected=(0, _CLASH), descriptors=files)


@contextmanager
def _opened(texts: Iterable[bytes]) -> Iterator[list[int]]:
    with ExitStack() as stack:
        descriptors = []
        for text in texts:
            descriptor = os.memfd_create("text", os.MFD_CLOEXEC)
            stack.callback(os.close, descriptor)
            with open(descriptor, "wb", closefd=False) as stream:
                stream.write(text)
            descriptors.append(descriptor)
        yield descriptors
