"""The grammar of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootd.cli.parser import build, early, parse
from bootd.cli.verbs import GROUPS, VERBS
from bootd.model.errors import USAGE, InvalidArgumentError


def test_no_verb_is_status() -> None:
    assert parse([]).verb == "status"
    assert parse(["-q"]).verb == "status"
    assert parse(["-q"]).quiet


@pytest.mark.parametrize(
    "words",
    [
        ["--json=short", "etc", "diff"],
        ["etc", "--json=short", "diff"],
        ["etc", "diff", "--json=short"],
    ],
)
def test_common_options_stand_anywhere(words: list[str]) -> None:
    arguments = parse(words)
    assert (arguments.verb, arguments.json) == ("etc diff", "short")


def test_defaults() -> None:
    arguments = parse(["upgrade"])
    assert vars(arguments) == {
        "verb": "upgrade",
        "json": "off",
        "quiet": False,
        "pager": True,
        "host": None,
        "sysroot": None,
        "interactive": True,
        "automatic": False,
        "apply": False,
        "wait": True,
    }


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["-j"], "json", "auto"),
        (["--no-pager"], "pager", False),
        (["-H", "root@there"], "host", "root@there"),
        (["--sysroot", "/mnt"], "sysroot", Path("/mnt")),
        (["--no-ask-password"], "interactive", False),
        (["status", "--offline"], "offline", True),
        (["switch", "example/os:1"], "reference", "example/os:1"),
        (["rollback"], "deployment", None),
        (["rollback", "0123456789abcdef.0"], "deployment", "0123456789abcdef.0"),
        (["cancel", "7"], "job", 7),
        (["hold", "rack move"], "reason", "rack move"),
        (["fsck", "--no-repair"], "repair", False),
        (["check", "--no-wait"], "wait", False),
    ],
)
def test_options(words: list[str], name: str, value: object) -> None:
    assert getattr(parse(words), name) == value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["upgradee"], "upgradee"),
        (["etc", "dif"], "dif"),
        (["etc"], "VERB"),
        (["switch"], "REFERENCE"),
        (["release", "me"], "me"),
        (["cancel", "x"], "x"),
        (["--json=yaml"], "yaml"),
        (["--jso=short"], "--jso"),
        (["status", "--frobnicate"], "--frobnicate"),
    ],
)
def test_mistakes_are_named(words: list[str], said: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse(words)
    assert said in caught.value.message
    assert "--help" in caught.value.hint
    assert caught.value.exit_status == USAGE


@pytest.mark.parametrize(
    ("words", "near"), [(["stats"], "status"), (["etc", "dif"], "diff"), (["uppgrade"], "upgrade")]
)
def test_the_nearest_verb_is_offered(words: list[str], near: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse(words)
    assert caught.value.hint.startswith(f"Did you mean '{near}'?")
    assert "choose from" not in caught.value.message


def test_every_verb_can_be_loaded_and_has_one_parser() -> None:
    _, parsers = build()
    assert list(parsers) == [verb.words for verb in VERBS]
    assert {verb.words.partition(" ")[0] for verb in VERBS if " " in verb.words} == GROUPS.keys()
    for words, parser in parsers.items():
        parser.fill()
        help_text = parser.format_help()
        assert f"bootctl-py {words}" in help_text
        assert "--sysroot" in help_text
        for action in parser._actions:
            assert action.help, f"{words} {action.dest} has no help"


@pytest.mark.parametrize(
    ("words", "host", "rest"),
    [
        (["status"], None, ["status"]),
        (["-H", "there", "status", "-j"], "there", ["status", "-j"]),
        (["status", "--host=there"], "there", ["status"]),
        (["switch", "--no-wait", "-Hthere", "x:1"], "there", ["switch", "--no-wait", "x:1"]),
    ],
)
def test_the_host_is_taken_out_of_the_line(
    words: list[str], host: str | None, rest: list[str]
) -> None:
    found = early(words)
    assert (found.host, found.rest) == (host, rest)


def test_the_json_mode_is_known_although_the_line_is_wrong() -> None:
    assert early(["frobnicate", "--json=pretty", "--no-such"]).json == "pretty"
    with pytest.raises(InvalidArgumentError):
        early(["--json=yaml"])
