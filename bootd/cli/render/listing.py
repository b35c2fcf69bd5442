"""Lists: deployments, jobs, kernel arguments, settings, denied images."""

from __future__ import annotations

from bootd.cli.documents import (
    CompletionDocument,
    ConfigurationDocument,
    DeploymentsDocument,
    DoneDocument,
    JobDocument,
    JobsDocument,
    KernelArgumentsDocument,
)
from bootd.cli.render.marked import renders
from bootd.cli.render.status import standing
from bootd.cli.render.text import moment, printable, short_digest, table
from bootd.cli.style import Style
from bootd.model.deployment import Denial
from bootd.model.documents import DeniedDocument


@renders
def render_deployments(document: DeploymentsDocument, style: Style) -> str:
    """Return one line a deployment."""
    if not document.deployments:
        return "No deployments."
    rows = [
        (
            one.id,
            standing(one, document.rollback),
            one.image_version,
            short_digest(one.digest),
            one.image,
        )
        for one in document.deployments
    ]
    return table(("DEPLOYMENT", "STATE", "VERSION", "DIGEST", "IMAGE"), rows, style)


@renders
def render_jobs(document: JobsDocument, style: Style) -> str:
    """Return one line a job."""
    if not document.jobs:
        return "No jobs."
    rows = [
        (str(job.id), job.job_kind, job.state, f"{job.progress:.0%}", job.phase)
        for job in document.jobs
    ]
    return table(("JOB", "KIND", "STATE", "DONE", "PHASE"), rows, style)


@renders
def render_job(document: JobDocument, style: Style) -> str:
    """Return the object path of a job that was just started."""
    return style.bold(document.path)


@renders
def render_done(document: DoneDocument, style: Style) -> str:
    """Return what a verb without a result of its own has done."""
    return style.good(printable(document.message))


@renders
def render_kernel_arguments(document: KernelArgumentsDocument, style: Style) -> str:
    """Return the arguments of this boot, what the next one changes, and where each is from."""
    lines = [f"Booted: {_words(document.booted)}", f"Next:   {_words(document.next)}"]
    lines += [style.good(f"  + {printable(word)}") for word in document.added]
    lines += [style.warning(f"  - {printable(word)}") for word in document.removed]
    if document.origins:
        rows = [(printable(word), printable(origin)) for word, origin in document.origins.items()]
        lines += ["", table(("ARGUMENT", "FROM"), rows, style)]
    if document.not_taken:
        lines += ["", f"Asked for, and taken away on this machine: {_words(document.not_taken)}"]
    return "\n".join(lines)


@renders
def render_denied(document: DeniedDocument, style: Style) -> str:
    """Return what failed here, with its cause."""
    if not document.denied:
        return "No image is denied."
    return "\n\n".join(render_denial(denial, style) for denial in document.denied)


@renders
def render_completion(document: CompletionDocument, _style: Style) -> str:
    """Return the script as a shell reads it."""
    return document.script


@renders
def render_configuration(document: ConfigurationDocument, style: Style) -> str:
    """Return a value and its file a line."""
    rows = [(one.name, _value(one.value), one.source) for one in document.settings]
    lines = [table(("SETTING", "VALUE", "FROM"), rows, style)]
    lines += [style.warning(printable(warning)) for warning in document.warnings]
    return "\n".join(lines)


def _words(arguments: list[str] | None) -> str:
    if arguments is None:
        return "no deployment"
    return printable(" ".join(arguments)) or "(none)"


def render_denial(denial: Denial, style: Style) -> str:
    """Return one denied image with its cause and evidence."""
    head = f"{style.bold(denial.digest)}\n  {moment(denial.when)}: {printable(denial.cause)}"
    evidence = [f"    {printable(line)}" for line in denial.evidence.splitlines()]
    return "\n".join([head, *evidence])


def _value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return str(value)
