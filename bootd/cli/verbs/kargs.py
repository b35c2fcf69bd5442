"""``bootctl-py kargs``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.documents import KernelArgumentsDocument
from bootd.cli.look import add_offline, look
from bootd.cli.output import Output
from bootd.model.deployment import DeploymentId
from bootd.model.documents import StatusDocument


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Compare the arguments of this boot with those of the next."""
    output.show(compare(StatusDocument.model_validate(look(arguments, "GetStatus"))))
    return 0


def compare(status: StatusDocument) -> KernelArgumentsDocument:
    """Return both lists and what the next boot changes."""
    following = status.staged or next((one.id for one in status.deployments if one.next_boot), None)
    booted = _arguments(status, status.booted)
    coming = _arguments(status, following)
    return KernelArgumentsDocument(
        booted=booted,
        next=coming,
        added=[word for word in coming or () if booted is not None and word not in booted],
        removed=[word for word in booted or () if coming is not None and word not in coming],
    )


def _arguments(status: StatusDocument, wanted: DeploymentId | None) -> list[str] | None:
    return next((one.kernel_arguments for one in status.deployments if one.id == wanted), None)
