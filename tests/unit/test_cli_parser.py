"""The grammar of the command line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bootd.cli.parser import early, parse, verb_parser
from bootd.cli.verbs import GROUPS, VERBS, Verb
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
        "allow_downgrade": False,
        "taken_from": None,
        "apply": False,
        "wait": True,
        "when_due": False,
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


def help_of(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        parse([*words.split(), "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.words)
def test_every_verb_is_in_the_grammar_and_can_be_loaded(
    verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = verb_parser(verb)
    assert help_of(verb.words, capsys) == parser.format_help()
    assert f"bootctl-py {verb.words}" in parser.format_help()
    assert "--sysroot" in parser.format_help()
    for action in parser._actions:
        assert action.help, f"{verb.words} {action.dest} has no help"


def test_help_lists_verbs_and_groups(capsys: pytest.CaptureFixture[str]) -> None:
    groups = {verb.words.partition(" ")[0] for verb in VERBS if " " in verb.words}
    assert groups == GROUPS.keys()
    listed = help_of("", capsys)
    for verb in VERBS:
        group, _, word = verb.words.rpartition(" ")
        text = help_of(group, capsys) if group else listed
        assert re.search(rf"^ +{word} +\w", text, re.MULTILINE), verb.words
    for group, summary in GROUPS.items():
        assert f"{group} {summary}" in " ".join(listed.split())


@pytest.mark.parametrize("columns", ["60", "100"])
def test_help_is_as_wide_as_the_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    widest = max(map(len, help_of("upgrade", capsys).splitlines()))
    assert int(columns) - 20 < widest < int(columns)


@pytest.mark.parametrize("columns", ["", "wide", "0", "-5"])
def test_help_of_a_terminal_that_does_not_know_its_width_has_eighty_columns(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    usual = help_of("upgrade", capsys)
    monkeypatch.setenv("COLUMNS", columns)
    # A serial line says that it has no columns at all.
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((0, 0)))
    assert help_of("upgrade", capsys) == usual


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


@pytest.mark.parametrize(
    "words",
    [
        ["hold", "backup", "--until=--"],
        ["--sysroot=--", "status"],
        ["kargs", "add", "--source=--", "quiet"],
    ],
)
def test_two_dashes_are_no_value(words: list[str]) -> None:
    with pytest.raises(InvalidArgumentError, match="'--' is no value"):
        parse(words)


def test_after_two_dashes_nothing_is_an_option() -> None:
    assert parse(["hold", "--", "--until=--"]).reason == "--until=--"
