"""The command line's grammar: common options, groups and verbs.

Common options may stand before or after the verb, as systemd's tools allow. A verb's parser fills
itself when it is chosen; nothing else is imported to parse.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from bootd import __version__
from bootd.cli.verbs import GROUPS, VERBS, Verb
from bootd.model.errors import InvalidArgumentError

PROGRAM: Final = "bootctl-py"
DEFAULT_VERB: Final = "status"
JSON_MODES: Final = ("off", "short", "pretty")
_EPILOG: Final = (
    "Without a verb it shows the status. 'bootctl-py VERB --help' tells more about a verb, "
    "bootctl-py(8) about exit statuses, environment and files."
)
_NO_SUCH_VERB: Final = re.compile(r"argument VERB: invalid choice: '([^']*)'")
"""How argparse says it, before it lists every choice."""


class Parser(argparse.ArgumentParser):
    """A parser that raises bootd's own error instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            InvalidArgumentError: always.
        """
        hint = f"'{self.prog} --help' shows what can be written."
        wrong = _NO_SUCH_VERB.match(message)
        if wrong is not None:
            import difflib  # noqa: PLC0415 - those who know the verbs need no advice

            message = f"there is no verb '{wrong[1]}'"
            near = difflib.get_close_matches(wrong[1], _words_after(self.prog), n=1)
            hint = f"Did you mean '{near[0]}'? {hint}" if near else hint
        raise InvalidArgumentError(message, hint=hint)


class VerbParser(Parser):
    """The parser of one verb, which loads the verb's module when its turn comes."""

    verb: Verb | None = None

    def parse_known_args(  # type: ignore[override] # the overloads say the same in more words
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse, after the options are known."""
        self.fill()
        return super().parse_known_args(args, namespace)

    def fill(self) -> None:
        """Declare the verb's options; once."""
        if self.verb is not None:
            self.verb.load().add_arguments(self)
            self.set_defaults(verb=self.verb.words)
            self.verb = None


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return what a command line asks for.

    Raises:
        InvalidArgumentError: it does not follow the grammar.
    """
    parser, _ = build()
    arguments = parser.parse_args(argv, _defaults())
    if arguments.verb is None:
        arguments = parser.parse_args([*argv, DEFAULT_VERB], _defaults())
    return arguments


def build() -> tuple[Parser, dict[str, VerbParser]]:
    """Return the whole grammar, and the parser of each verb by its words."""
    common = _common_options()
    parser = Parser(
        prog=PROGRAM,
        description="Keep this machine on an OS image from a registry.",
        epilog=_EPILOG,
        parents=[common],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"bootd {__version__}")
    top = parser.add_subparsers(title="verbs", metavar="VERB", parser_class=VerbParser)
    within = {}
    verbs = {}
    for verb in VERBS:
        group, _, word = verb.words.rpartition(" ")
        if group and group not in within:
            summary = GROUPS[group]
            folder = top.add_parser(
                group,
                help=summary,
                description=f"{summary}.",
                parents=[common],
                allow_abbrev=False,
            )
            within[group] = folder.add_subparsers(
                title="verbs", metavar="VERB", required=True, parser_class=VerbParser
            )
        child = (within[group] if group else top).add_parser(
            word,
            help=verb.summary,
            description=f"{verb.summary}.",
            parents=[common],
            allow_abbrev=False,
        )
        child.verb = verb
        verbs[verb.words] = child
    return parser, verbs


def early(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options that count even where the rest of the line cannot be parsed.

    That is how to print an error (``json``), and on which host to run (``host``), with the words
    that are left for that host in ``rest``.
    """
    parser = Parser(add_help=False, allow_abbrev=False)
    _add_json(parser)
    found, _ = parser.parse_known_args(argv, argparse.Namespace(json="off"))
    parser = Parser(add_help=False, allow_abbrev=False)
    _add_host(parser)
    remote, rest = parser.parse_known_args(argv, argparse.Namespace(host=None))
    return argparse.Namespace(json=found.json, host=remote.host, rest=rest)


def _words_after(prog: str) -> list[str]:
    group = prog.removeprefix(PROGRAM).strip()
    if group:
        return [verb.words.split()[1] for verb in VERBS if verb.words.startswith(f"{group} ")]
    return [verb.words.split()[0] for verb in VERBS]


def _defaults() -> argparse.Namespace:
    return argparse.Namespace(
        verb=None,
        json="off",
        quiet=False,
        pager=True,
        host=None,
        sysroot=None,
        interactive=True,
    )


def _common_options() -> VerbParser:
    parser = VerbParser(add_help=False, argument_default=argparse.SUPPRESS)
    options = parser.add_argument_group("common options")
    _add_json(options)
    options.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="print no progress and no advice, only what was asked for and errors",
    )
    options.add_argument(
        "--no-pager", dest="pager", action="store_false", help="do not page long output"
    )
    _add_host(options)
    options.add_argument(
        "--sysroot",
        metavar="DIR",
        type=Path,
        help="work on the machine that lies in a folder, without a daemon",
    )
    options.add_argument(
        "--no-ask-password",
        dest="interactive",
        action="store_false",
        help="fail instead of asking for a password when more rights are needed",
    )
    return parser


def _add_json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--json",
        choices=JSON_MODES,
        default=argparse.SUPPRESS,
        help="print a JSON document, on one line (short) or indented (pretty)",
    )
    parser.add_argument(
        "-j",
        dest="json",
        action="store_const",
        const="auto",
        default=argparse.SUPPRESS,
        help="print a JSON document: pretty on a terminal, short otherwise",
    )


def _add_host(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "-H",
        "--host",
        metavar="[USER@]HOST",
        default=argparse.SUPPRESS,
        help="run on another machine, over ssh",
    )
