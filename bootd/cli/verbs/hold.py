"""``bootctl-py hold`` and ``bootctl-py release``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import ask
from bootd.cli.documents import DoneDocument
from bootd.cli.moments import moment_of
from bootd.cli.output import Output
from bootd.cli.render.text import moment
from bootd.daemon.unattended.times import microseconds


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    if parser.prog.endswith(" hold"):
        parser.add_argument(
            "reason", metavar="REASON", help="who holds them and why; 'status' shows it"
        )
        parser.add_argument(
            "--until",
            metavar="TIME",
            help="let the hold end by itself, as systemd.time(7) writes it: '2026-12-04 18:00', "
            "tomorrow, +3d",
        )


def run(arguments: Namespace, output: Output) -> int:
    """Hold updates, or let them go on."""
    if arguments.verb == "hold":
        end, options = "'bootctl-py release'", {}
        if arguments.until is not None:
            until = moment_of(arguments.until)
            end, options = f"{moment(until)}", {"until": microseconds(until)}
        ask(arguments, "Hold", arguments.reason, **options)
        message = (
            f"Updates are held until {end}: none is staged by itself, and what is staged now does "
            "not boot at a shutdown."
        )
    else:
        ask(arguments, "Release")
        message = "Updates go on."
    output.show(DoneDocument(verb=arguments.verb, message=message))
    return 0
