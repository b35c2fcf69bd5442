"""What shells read to complete a command line of ``bootctl-py``.

The words come from the parser. What a shell completes is decided by the words before the cursor:
the verb that they name, a value of the option just before it, or another verb or option.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bootd.cli.parser import PROGRAM, build, verb_parser
from bootd.cli.verbs import GROUPS, VERBS

_FOLDERS: Final = frozenset({"DIR", "ROOT"})
_FILES: Final = frozenset({"FILE", "PATH", "DEVICE"})


@dataclass(frozen=True, slots=True)
class Option:
    """An option.

    Attributes:
        names: how it is written.
        summary: one line.
        value: what it takes: words, ``<file>``, ``<folder>``, ``<any>``; "": it takes nothing.
    """

    names: tuple[str, ...]
    summary: str
    value: str


@dataclass(frozen=True, slots=True)
class Position:
    """What can follow the words of a verb, of a group, or of nothing yet.

    Attributes:
        words: the words so far, joined by a blank.
        verbs: what may come next, each with one line about it.
        options: its own; those that every verb has are those of the place before all words.
        argument: what its arguments are, as `Option.value`.
    """

    words: str
    verbs: dict[str, str]
    options: tuple[Option, ...]
    argument: str

    @property
    def key(self) -> str:
        """Return the words as a key that no shell takes for nothing."""
        return self.words or "-"

    def values(self) -> Iterator[tuple[str, str]]:
        """Yield a key for each thing that has a value here, and the value."""
        yield self.key, self.argument
        for one in self.options:
            yield from ((f"{self.key} {name}", one.value) for name in one.names if one.value)


def places() -> Iterator[Position]:
    """Yield each place of the grammar."""
    common = tuple(_options(build()))
    top = {verb.words: verb.summary for verb in VERBS if " " not in verb.words}
    yield Position("", {**GROUPS, **top}, common, "")
    single = {verb.words for verb in VERBS}
    for group in GROUPS:
        if group not in single:
            yield Position(group, _members(group), (), "")
    for verb in VERBS:
        parser = verb_parser(verb)
        arguments = [
            _value(one)
            for one in _actions(parser)
            if not one.option_strings and not isinstance(one, argparse._SubParsersAction)  # noqa: SLF001
        ]
        own = tuple(one for one in _options(parser) if one not in common)
        yield Position(verb.words, _members(verb.words), own, "".join(arguments[:1]))


def bash() -> str:
    """Return what bash reads."""
    tables = []
    for place in places():
        names = " ".join(name for one in place.options for name in one.names)
        tables.append(f"_bootctl_py_next[{place.key}]={_quoted(' '.join(place.verbs))}")
        tables.append(f"_bootctl_py_options[{place.key}]={_quoted(names)}")
        tables += [f"_bootctl_py_values[{key}]={_quoted(one)}" for key, one in place.values()]
    return f"{_HEAD}\n{_BASH.replace('TABLES', _indented(tables))}"


def zsh() -> str:
    """Return what zsh reads."""
    tables = []
    for place in places():
        options = "\n".join(
            f"{name}:{_colons(one.summary)}" for one in place.options for name in one.names
        )
        verbs = "\n".join(f"{word}:{_colons(text)}" for word, text in place.verbs.items())
        tables.append(f"verbs+=({_quoted(place.key)} {_quoted(verbs)})")
        tables.append(f"options+=({_quoted(place.key)} {_quoted(options)})")
        tables += [f"values+=({_quoted(key)} {_quoted(one)})" for key, one in place.values()]
    return f"{_HEAD}\n{_ZSH.replace('TABLES', _indented(tables))}"


def fish() -> str:
    """Return what fish reads."""
    lines = [f"complete --command {PROGRAM} --no-files"]
    for place in places():
        condition = _fish(f"_bootctl_py_at {_fish(place.words)}")
        prefix = f"complete --command {PROGRAM} --condition {condition}"
        lines += [
            f"{prefix} --arguments {_fish(word)} --description {_fish(text)}"
            for word, text in place.verbs.items()
        ]
        if place.argument in ("<file>", "<folder>"):
            lines.append(f"{prefix} --force-files")
        # What every verb has needs no words before it.
        command = prefix if place.words else f"complete --command {PROGRAM}"
        lines += [f"{command} {_fish_option(one)}" for one in place.options]
    verbs = " ".join(_fish(place.words) for place in places() if place.words)
    return f"{_HEAD}\n{_FISH.replace('VERBS', verbs)}" + "\n".join(lines) + "\n"


def _members(group: str) -> dict[str, str]:
    prefix = f"{group} "
    return {
        verb.words.removeprefix(prefix): verb.summary
        for verb in VERBS
        if verb.words.startswith(prefix)
    }


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in _actions(parser):
        if action.option_strings:
            value = "" if action.nargs == 0 else _value(action)
            yield Option(tuple(action.option_strings), action.help or "", value)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001 - argparse offers no other way to look


def _value(action: argparse.Action) -> str:
    if action.choices:
        return " ".join(map(str, action.choices))
    kind = str(action.metavar)
    if kind in _FOLDERS:
        return "<folder>"
    return "<file>" if kind in _FILES else "<any>"


def _fish_option(option: Option) -> str:
    parts = []
    for name in option.names:
        long = name.startswith("--")
        parts.append(f"--long-option {name[2:]}" if long else f"--short-option {name[1:]}")
    if option.value in ("<file>", "<folder>"):
        parts.append("--require-parameter --force-files")
    elif option.value:
        words = "" if option.value == "<any>" else f" --arguments {_fish(option.value)}"
        parts.append(f"--exclusive{words}")
    return " ".join([*parts, f"--description {_fish(option.summary)}"])


def _indented(lines: list[str]) -> str:
    return "\n".join(f"    {line}" for line in lines).lstrip()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _colons(text: str) -> str:
    return text.replace(":", "\\:")


_HEAD: Final = f"# Completion of {PROGRAM}(8). 'bootctl-py completion' prints it."

_BASH: Final = """
_bootctl_py() {
    local -A _bootctl_py_next _bootctl_py_options _bootctl_py_values
    TABLES
    local place=- word index kind
    local current=${COMP_WORDS[COMP_CWORD]} before
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        # The value of an option is no verb, be it behind a blank or behind "=".
        [[ $word == -* || $word == = || ${COMP_WORDS[index-1]} == = ]] && continue
        before=${COMP_WORDS[index-1]}
        kind=${_bootctl_py_values["$place $before"]}${_bootctl_py_values["- $before"]}
        [[ -n $kind ]] && continue
        if [[ " ${_bootctl_py_next[$place]} " == *" $word "* ]]; then
            [[ $place == - ]] && place=$word || place="$place $word"
        fi
    done
    before=${COMP_WORDS[COMP_CWORD-1]}
    if [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD-2]}
    elif [[ $current == = ]]; then
        current=
    fi
    kind=${_bootctl_py_values["$place $before"]:-${_bootctl_py_values["- $before"]}}
    if [[ -z $kind && $current == -* ]]; then
        kind="${_bootctl_py_options[$place]} ${_bootctl_py_options[-]}"
        COMPREPLY=($(compgen -W "$kind" -- "$current"))
        return
    fi
    if [[ -z $kind && -n ${_bootctl_py_next[$place]} ]]; then
        kind=${_bootctl_py_next[$place]}
    fi
    case ${kind:=${_bootctl_py_values[$place]}} in
        '<file>') compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        '<folder>') compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        '<any>' | '') COMPREPLY=() ;;
        *) COMPREPLY=($(compgen -W "$kind" -- "$current")) ;;
    esac
}
complete -F _bootctl_py bootctl-py
"""

_ZSH: Final = """
_bootctl_py() {
    local -A verbs options values
    TABLES
    local place=- kind index word before
    local -aU known
    for ((index = 2; index < CURRENT; index++)); do
        word=${words[index]}
        before=${words[index-1]}
        [[ $word == -* || -n ${values[$place $before]}${values[- $before]} ]] && continue
        known=("${(@f)verbs[$place]}")
        if [[ -n $word && -n ${(M)known:#$word:*} ]]; then
            [[ $place == - ]] && place=$word || place="$place $word"
        fi
    done
    before=${words[CURRENT-1]}
    if [[ $PREFIX == --*=* ]]; then
        before=${PREFIX%%=*}
        compset -P '*='
    fi
    kind=${values[$place $before]:-${values[- $before]}}
    if [[ -z $kind && $PREFIX == -* ]]; then
        known=("${(@f)options[$place]}" "${(@f)options[-]}")
        _describe -o option known
        return
    fi
    if [[ -z $kind && -n ${verbs[$place]} ]]; then
        known=("${(@f)verbs[$place]}")
        _describe verb known
        return
    fi
    case ${kind:=${values[$place]}} in
        '<file>') _files ;;
        '<folder>') _files -/ ;;
        '<any>' | '') return 1 ;;
        *) compadd -- ${=kind} ;;
    esac
}
compdef _bootctl_py bootctl-py 2>/dev/null
"""

_FISH: Final = """
# Succeeds if the words before the cursor name a verb, or a group, and no longer one.
function _bootctl_py_at
    set --local place
    for word in (commandline --tokenize --cut-at-cursor --current-process)[2..]
        set --local longer (string trim "$place $word")
        if contains -- $longer VERBS
            set place $longer
        end
    end
    test "$place" = "$argv[1]"
end

"""

SHELLS: Final[dict[str, Callable[[], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
"""What each shell reads, by its name."""
