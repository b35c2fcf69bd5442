"""The command line's grammar: common options, groups and verbs.

Common options may stand before or after the verb, as systemd's tools allow. A verb's parser is made
when it is chosen; nothing else is imported to parse.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from bootd import __version__
from bootd.cli.screen.terminal import size
from bootd.cli.verbs import GROUPS, VERBS, Verb
from bootd.model.errors import InvalidArgumentError
from bootd.startup import later

with later():
    import difflib  # those who know the verbs need no advice

PROGRAM: Final = "bootctl-py"
DEFAULT_VERB: Final = "status"
JSON_MODES: Final = ("off", "short", "pretty")
_EPILOG: Final = (
    "Without a verb it shows the status. 'bootctl-py VERB --help' tells more about a verb, "
    "bootctl-py(8) about exit statuses, environment and files."
)
_NO_SUCH_VERB: Final = re.compile(r"argument VERB: invalid choice: '([^']*)'")
"""How argparse says it, before it lists every choice."""


class Formatter(argparse.HelpFormatter):
    """Help as wide as the terminal.

    argparse makes one for each option, and would load what unpacks archives to learn the width.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=size(os.environ).columns - 2)


class Parser(argparse.ArgumentParser):
    """A parser that raises bootd's own error instead of ending the process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=Formatter)

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            InvalidArgumentError: always.
        """
        hint = f"'{self.prog} --help' shows what can be written."
        wrong = _NO_SUCH_VERB.match(message)
        if wrong is not None:
            message = f"there is no verb '{wrong[1]}'"
            near = difflib.get_close_matches(wrong[1], _words_after(self.prog), n=1)
            hint = f"Did you mean '{near[0]}'? {hint}" if near else hint
        raise InvalidArgumentError(message, hint=hint)


class LaterParser:
    """Stands in the grammar for a parser that is made when its turn comes, and only then.

    There are some forty: to make all of them takes longer than to show the status.
    """

    def __init__(self, *, make: Callable[[], Parser], **_: object) -> None:
        self._make = make

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; it is all that argparse asks of a verb's parser."""
        return self._make().parse_known_args(args, namespace)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return what a command line asks for.

    Raises:
        InvalidArgumentError: it does not follow the grammar.
    """
    parser = build()
    for word in takewhile("--".__ne__, argv):
        # argparse before Python 3.13 takes it for the end of the options and gives a list.
        if word.startswith("--") and word.endswith("=--"):
            parser.error(f"argument {word.removesuffix('=--')}: '--' is no value")
    arguments = parser.parse_args(argv, _defaults())
    if arguments.verb is None:
        arguments = parser.parse_args([*argv, DEFAULT_VERB], _defaults())
    return arguments


def build() -> Parser:
    """Return the whole grammar."""
    parser = Parser(
        prog=PROGRAM,
        description="Keep this machine on an OS image from a registry.",
        epilog=_EPILOG,
        parents=[_common_options()],
    )
    parser.add_argument("--version", action="version", version=f"bootd {__version__}")
    _add_verbs(parser, required=False)
    return parser


def verb_parser(verb: Verb) -> Parser:
    """Return the parser of one verb; its module is loaded for that."""
    parser = _parser(verb.words, verb.summary)
    verb.load().add_arguments(parser)
    if verb.words in GROUPS:
        _add_verbs(parser, verb.words, required=False)
    parser.set_defaults(verb=verb.words)
    return parser


def _group_parser(group: str) -> Parser:
    parser = _parser(group, GROUPS[group])
    _add_verbs(parser, group, required=True)
    return parser


def _parser(words: str, summary: str) -> Parser:
    return Parser(
        prog=f"{PROGRAM} {words}",
        description=f"{summary}.",
        parents=[_common_options()],
    )


def _add_verbs(parser: Parser, of_group: str = "", *, required: bool) -> None:
    """Add the verbs of a group, or those of none, and the groups."""
    # With a name for the program argparse need not find out what it would say.
    verbs: Any = parser.add_subparsers(
        title="verbs",
        metavar="VERB",
        help="what is done",
        prog=parser.prog,
        required=required,
        parser_class=cast("type[Parser]", LaterParser),
    )
    for verb in VERBS:
        group, _, word = verb.words.rpartition(" ")
        if group == of_group:
            verbs.add_parser(word, help=verb.summary, make=partial(verb_parser, verb))
        elif not of_group and group not in verbs.choices:
            verbs.add_parser(group, help=GROUPS[group], make=partial(_group_parser, group))


def early(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options that count even where the rest of the line cannot be parsed.

    That is how to print an error (``json``), and on which host to run (``host``), with the words
    that are left for that host in ``rest``.
    """
    parser = Parser(add_help=False)
    _add_json(parser)
    found, _ = parser.parse_known_args(argv, argparse.Namespace(json="off"))
    parser = Parser(add_help=False)
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


def _common_options() -> Parser:
    parser = Parser(add_help=False, argument_default=argparse.SUPPRESS)
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
