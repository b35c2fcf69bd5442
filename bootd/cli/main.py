"""The entry point: parse, run the verb, and turn every error into two lines and an exit status.

Nothing else in bootd prints errors or decides exit statuses. A traceback never reaches the user;
``SYSTEMD_LOG_LEVEL=debug`` writes it to stderr as a log line.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Final

from bootd.cli.managed import require_managed
from bootd.cli.output import Output, json_mode
from bootd.cli.parser import PROGRAM, early, parse
from bootd.cli.screen.terminal import adapt
from bootd.cli.verbs import Verb, find
from bootd.daemon.dbus.names import ADDRESS_VARIABLE
from bootd.model.errors import BootdError, InternalError, InvalidArgumentError, WriteFailedError
from bootd.model.text import printable
from bootd.startup import later

with later():
    # Logging is a tenth of what ``status`` takes, and pydantic is slow to load.
    import logging

    from bootd.cli import remote
    from bootd.model import documents

INTERRUPTED: Final = 130
"""128 and SIGINT, as a shell reports it."""
_TALKATIVE: Final = frozenset({"DEBUG", "INFO"})
_BROKEN_PIPE: Final = 141
"""128 and SIGPIPE."""
_LAST_STANDARD_FILE: Final = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``bootctl-py`` and return its exit status (`bootd.model.errors` lists them)."""
    words = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    level = os.environ.get("SYSTEMD_LOG_LEVEL", "").upper()
    if level in _TALKATIVE:
        _log_from(level)
    try:
        return _run(words)
    except BootdError as error:
        if isinstance(error, InternalError):
            _log_fault(error)
        return _report(error, words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return _BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the last frame of a process: report, do not hide
        _log_fault(error)
        return _report(_unexpected(error), words)


def _prepare_streams() -> None:
    """Open those of the three standard files that are closed, and let both outputs take any text.

    The next file that is opened would get the number of one that is closed, and be written to.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD_FILE:
        os.set_inheritable(opened, True)
    os.close(opened)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - as Python itself does it
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - as Python itself does it
    adapt(sys.stdout)
    adapt(sys.stderr)


def _drop_output() -> None:
    """Let what Python still holds of standard output go nowhere: it would raise at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _log_from(level: str) -> None:
    """Log what is at a level or above it; without this, Python prints warnings and errors alone."""
    logging.basicConfig(level=level, format="%(name)s: %(message)s")


def _log_fault(error: Exception) -> None:
    logging.getLogger(__name__).debug("unexpected", exc_info=error)


def _run(words: Sequence[str]) -> int:
    arguments = parse(words)
    if arguments.host is not None:
        _run_elsewhere(words)
    verb = find(arguments.verb)
    if arguments.sysroot is not None and not verb.offline:
        raise InvalidArgumentError(
            f"'{verb.words}' needs the daemon, which works on the running machine only",
            hint="Leave --sysroot out.",
        )
    if not verb.anywhere and not _may_ask_another_bus(arguments):
        require_managed(arguments.sysroot)
    return verb.load().run(arguments, _output(arguments, verb))


def _may_ask_another_bus(arguments: Namespace) -> bool:
    """Return whether a daemon may answer that runs for another machine than this one."""
    offline = getattr(arguments, "offline", False) or arguments.sysroot is not None
    return ADDRESS_VARIABLE in os.environ and not offline


def _run_elsewhere(words: Sequence[str]) -> None:
    found = early(words)
    if found.host is None:
        raise InvalidArgumentError("-H must stand by itself", hint="Write it as -H HOST.")
    remote.run_on(found.host, found.rest)


def _output(arguments: Namespace, verb: Verb) -> Output:
    return Output(
        stdout=sys.stdout,
        stderr=sys.stderr,
        json=json_mode(arguments.json, sys.stdout),
        quiet=arguments.quiet,
        pager=arguments.pager and verb.looks,
    )


def _unexpected(error: Exception) -> InternalError:
    return InternalError(
        f"unexpected {type(error).__name__}: {error}",
        hint="Please report this with the output of the same command under "
        "SYSTEMD_LOG_LEVEL=debug.",
    )


def _report(error: BootdError, words: Sequence[str]) -> int:
    try:
        asked = early(words).json
    except BootdError:
        asked = "off"
    output = Output(stdout=sys.stdout, stderr=sys.stderr, json=json_mode(asked, sys.stdout))
    if output.json == "off":
        _say(error)
    else:
        document = documents.ErrorDocument(
            code=error.code,
            message=error.message,
            hint=error.hint,
            exit_status=error.exit_status,
        )
        try:
            output.value(document.model_dump(mode="json"))
        except WriteFailedError as failure:
            error = failure
            _say(failure)
    if isinstance(error, WriteFailedError):
        _drop_output()
    return error.exit_status


def _say(error: BootdError) -> None:
    """Tell a person what went wrong, and what to do."""
    sys.stderr.write(f"{PROGRAM}: {printable(error.message)}\n")
    if error.hint:
        sys.stderr.write(f"hint: {printable(error.hint)}\n")
    sys.stderr.flush()
