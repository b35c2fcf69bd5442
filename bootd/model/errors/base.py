"""The root of the tree of errors, and the register of all that can be raised.

Each concrete class has a stable `code` (kebab case), a bus name (``org.bootd1.Error.`` and the
class name without ``Error``), an exit status of ``bootctl-py`` and a hint that says what to do
next. A family is a class that names the blame; it is never raised itself.

Exit statuses: 1 failed, 2 usage, 4 refused by policy or deny list, 5 not authorised, 6 busy,
7 verification failed, 75 try again later (sysexits.h, ``EX_TEMPFAIL``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from bootd.model.text import one_line

if TYPE_CHECKING:
    from datetime import datetime

BUS_PREFIX: Final = "org.bootd1.Error."

FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 4
NOT_AUTHORISED: Final = 5
BUSY: Final = 6
NOT_VERIFIED: Final = 7
TRY_AGAIN: Final = 75

_REGISTRY: dict[str, type[BootdError]] = {}


class BootdError(Exception):
    """Root of the tree.

    Both texts are one line each, whatever the names in them hold (`bootd.model.text`).

    Attributes:
        message: what happened, with the names and numbers.
        hint: what to do next; the class's own unless the raiser knows better.
        not_before: when a server wants to be asked again, at the earliest; None: it did not say.
    """

    code: ClassVar[str] = ""
    exit_status: ClassVar[int] = FAILED
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = one_line(message)
        self.hint = one_line(self.default_hint if hint is None else hint)
        self.not_before: datetime | None = None
        super().__init__(self.message)

    def __init_subclass__(cls, *, family: bool = False) -> None:
        super().__init_subclass__()
        if not family:
            words = re.findall(r"[A-Z][a-z0-9]*", cls.__name__.removesuffix("Error"))
            cls.code = "-".join(word.lower() for word in words)
            _REGISTRY[cls.code] = cls

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross the process boundary of import workers: pickle needs the keyword back.
        return _rebuild, (type(self), self.message, self.hint), self.__dict__

    @classmethod
    def bus_name(cls) -> str:
        """Return the D-Bus error name of this class."""
        return BUS_PREFIX + cls.__name__.removesuffix("Error")


def _rebuild(kind: type[BootdError], message: str, hint: str) -> BootdError:
    return kind(message, hint=hint)


def registered_errors() -> dict[str, type[BootdError]]:
    """Return every concrete error class by its code."""
    return dict(_REGISTRY)


class InternalError(BootdError):
    """A fault in bootd; the cause is in the journal."""

    default_hint = (
        "Please report this with the journal of bootd.service, and with the output of the same "
        "command under SYSTEMD_LOG_LEVEL=debug."
    )


class NoProgressError(BootdError):
    """A job came no further, or took longer than any may, and was ended."""

    exit_status = TRY_AGAIN
    default_hint = (
        "What was fetched is kept for the next try; the journal says what it was busy with."
    )


class ProcessFailedError(BootdError):
    """A program that bootd started failed."""

    default_hint = (
        "The program's own words, if it had any, are in the message: mend what they name."
    )
