"""``bootctl-py jobs``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli import daemon
from bootd.cli.documents import JobsDocument, JobStatus
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options; there are none."""


def run(arguments: Namespace, output: Output) -> int:
    """List jobs."""
    found = [
        JobStatus(
            id=job.id,
            path=job.path,
            job_kind=job.kind,
            state=job.state,
            phase=job.phase,
            progress=job.progress,
        )
        for job in daemon.jobs(arguments)
    ]
    output.show(JobsDocument(jobs=found))
    return 0
