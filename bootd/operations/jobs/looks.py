"""The kinds of looks: what each shows, is asked for, answers, and to whom.

The bus and the command line without the daemon read this table. What the daemon alone knows, such
as when the next run is planned, it adds itself.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from bootd.model.boot.usage import BootUsageDocument
from bootd.model.documents import (
    DeniedDocument,
    EtcConflictsDocument,
    ExplanationDocument,
    HistoryDocument,
    StatusDocument,
)
from bootd.model.etc.change import EtcCopiesDocument, EtcVersionsDocument
from bootd.model.etc.report import EtcDiff
from bootd.operations.jobs.kind import LookKind
from bootd.operations.jobs.request import AnyPaths, NoArguments, Path, Request
from bootd.startup import later

with later():
    # Some bring the merge of /etc along, or archives: megabytes that few daemons ever need.
    from bootd.operations import etc_copies, etc_views, explain, status
    from bootd.operations.boot import usage
    from bootd.operations.machine import attempts
    from bootd.operations.trial import deny


class PathsRequest(Request):
    """To see only what is at or below some paths."""

    paths: AnyPaths = Field(default_factory=list)


class PathRequest(Request):
    """To see one path."""

    path: Path


LOOKS: Final[dict[str, LookKind[Any]]] = {
    look.method: look
    for look in (
        LookKind(
            method="GetStatus",
            load=lambda: status.status_with_drift,
            request=NoArguments,
            document=StatusDocument,
            is_for_anybody=True,
        ),
        LookKind(
            method="Explain",
            load=lambda: explain.explain_disk,
            request=NoArguments,
            document=ExplanationDocument,
            is_for_anybody=True,
        ),
        LookKind(
            method="GetHistory",
            load=lambda: attempts.history,
            request=NoArguments,
            document=HistoryDocument,
            is_for_anybody=True,
        ),
        LookKind(
            method="ListDenied",
            load=lambda: deny.denied,
            request=NoArguments,
            document=DeniedDocument,
            is_for_anybody=True,
        ),
        LookKind(
            method="GetBootUsage",
            load=lambda: usage.boot_usage,
            request=NoArguments,
            document=BootUsageDocument,
            needs_boot=True,
        ),
        LookKind(
            method="EtcConflicts",
            load=lambda: etc_views.conflicts,
            request=PathsRequest,
            document=EtcConflictsDocument,
        ),
        LookKind(
            method="EtcDiff", load=lambda: etc_views.diff, request=PathsRequest, document=EtcDiff
        ),
        LookKind(
            method="GetEtcVersions",
            load=lambda: etc_views.versions,
            request=PathRequest,
            document=EtcVersionsDocument,
        ),
        LookKind(
            method="ListEtcCopies",
            load=lambda: etc_copies.copies,
            request=NoArguments,
            document=EtcCopiesDocument,
        ),
    )
}
"""By the Manager's method."""
