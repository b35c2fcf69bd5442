"""What a merge of ``/etc`` reported, kept beside the deployment that it made."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bootd.model.deployment import DeploymentId
from bootd.model.etc.report import EtcCounts, EtcReport
from bootd.operations.host import Host
from bootd.operations.machine.survey import take_survey
from bootd.records import MAX_ETC_BYTES, read_record, write_record
from bootd.sysroot import Sysroot

REPORT_NAME: Final = "etc-report.json"


def write_report(sysroot: Sysroot, folder: Path, report: EtcReport) -> None:
    """Keep a merge's report beside the deployment it is about, durably."""
    write_record(sysroot.disk, folder / REPORT_NAME, report)


def read_report(sysroot: Sysroot, deployment: DeploymentId) -> EtcReport | None:
    """Return the report of a deployment's merge, or None where it has none.

    Raises:
        DamagedRecordError: it cannot be read.
    """
    return read_record(sysroot.deployment(deployment) / REPORT_NAME, EtcReport, MAX_ETC_BYTES)


def merge_counts(host: Host) -> dict[DeploymentId, EtcCounts]:
    """Return the counts of the kept deployments' merges; no lock is taken.

    Raises:
        DamagedRecordError: a report cannot be read.
    """
    return {
        record.id: report.counts
        for record in take_survey(host.sysroot).kept()
        if (report := read_report(host.sysroot, record.id)) is not None
    }
