"""``bootctl-py deployments``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.documents import DeploymentsDocument
from bootd.cli.look import add_offline, look
from bootd.cli.output import Output
from bootd.cli.render.status import in_order
from bootd.model.documents import StatusDocument


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """List what is kept."""
    status = StatusDocument.model_validate(look(arguments, "GetStatus"))
    output.show(DeploymentsDocument(deployments=in_order(status), rollback=status.rollback))
    return 0
