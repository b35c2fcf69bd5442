"""``bootctl-py kargs``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.documents import KernelArgumentsDocument
from bootd.cli.look import add_offline, look
from bootd.cli.output import Output
from bootd.model.documents import StatusDocument


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Compare the arguments of this boot with those of the next."""
    output.show(compare(StatusDocument.model_validate(look(arguments, "GetStatus"))))
    return 0


def compare(status: StatusDocument) -> KernelArgumentsDocument:
    """Return both lists, what the next boot changes, and where each argument comes from."""
    following = status.staged or next((one.id for one in status.deployments if one.next_boot), None)
    deployments = {one.id: one for one in status.deployments}
    running, coming = (deployments.get(one) if one else None for one in (status.booted, following))
    booted = None if running is None else running.kernel_arguments
    after = None if coming is None else coming.kernel_arguments
    origins = {} if running is None else running.kernel_argument_origins
    return KernelArgumentsDocument(
        booted=booted,
        next=after,
        added=[word for word in after or () if booted is not None and word not in booted],
        removed=[word for word in booted or () if after is not None and word not in after],
        origins=origins if coming is None else origins | coming.kernel_argument_origins,
        not_taken=[] if coming is None else coming.kernel_arguments_not_taken,
    )
