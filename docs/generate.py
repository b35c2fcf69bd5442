# ruff: noqa: INP001 - a script beside the pages, in no package
"""Keeps the documentation in step with the code: ``python docs/generate.py [--check]``.

Parts between ``<!-- NAME -->`` and ``<!-- end -->`` are made from the parser, the errors and the
D-Bus interfaces, and so are the JSON schemas. The interfaces list the kinds and the phases of jobs,
which are made from the table of jobs; all the rest is written by hand. With ``--check`` nothing is
written, and what is out of date is named. That a page says what bootd does is shown by other tests
than those that compare it with what is made here.
"""

from __future__ import annotations

import argparse
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from bootd.cli.parser import PROGRAM, Parser, build, verb_parser
from bootd.cli.schemas import schemas
from bootd.cli.verbs import VERBS
from bootd.model import errors as errors_package
from bootd.model.errors import BootdError, registered_errors
from bootd.operations.jobs.table import JOBS
from bootd.operations.progress import Phase

DOCS: Final = Path(__file__).resolve().parent
INTERFACES: Final = DOCS.parent / "dbus"
DOC_STRING: Final = "org.gtk.GDBus.DocString"


def generated() -> dict[Path, str]:
    """Return what every file that is made, wholly or in parts, should hold."""
    files = {DOCS / "schemas" / name: text for name, text in schemas().items()}
    files |= {INTERFACES / f"{name}.xml": interface_text(name) for name in _LISTS}
    for name, parts in PARTS.items():
        files[DOCS / name] = with_parts((DOCS / name).read_text(), parts)
    return files


def with_parts(page: str, parts: dict[str, Callable[[], str]]) -> str:
    """Return a page with its marked parts made anew."""
    for name, make in parts.items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = make()
        page, found = marks.subn(partial(_filled, text), page)
        if found != 1:
            raise SystemExit(f"the mark '<!-- {name} -->' is there {found} times")
    return page


def _filled(text: str, match: re.Match[str]) -> str:
    return f"{match[1]}\n{text}\n{match[2]}"


def common_options() -> str:
    """Return the options that every verb has."""
    return "\n".join(_described(_arguments(build())))


def verbs() -> str:
    """Return each verb with its own options."""
    lines: list[str] = []
    for verb in VERBS:
        own = own_arguments(verb_parser(verb))
        synopsis = " ".join([f"**{verb.words}**", *map(_synopsis, own)])
        lines += [f"## {synopsis}", "", f"{verb.summary}.", "", *_described(own)]
    return "\n".join(lines)


def own_arguments(parser: Parser) -> list[argparse.Action]:
    """Return a verb's options and arguments but for the common ones."""
    return [action for action in _arguments(parser) if action.default is not argparse.SUPPRESS]


def errors() -> str:
    """Return every error: its code, its exit status, what it means."""
    return "\n".join(
        f"**{code}** ({error.exit_status})\n:   {_first_line(error)}\n"
        for code, error in sorted(registered_errors().items())
    )


def bus_errors() -> str:
    """Return every error by its name on the bus."""
    by_name = {error.bus_name(): error for error in registered_errors().values()}
    return "\n".join(
        f"**{name}**\n:   {_first_line(error)}\n" for name, error in sorted(by_name.items())
    )


def error_families() -> str:
    """Return the tree of errors as a list."""
    return "\n".join([*_family(BootdError, ""), ""])


def interface(name: str) -> Callable[[], str]:
    """Return what makes the description of a D-Bus interface."""

    def make() -> str:
        root = ET.fromstring(interface_text(name))  # noqa: S314 - our own file
        found = root.find("interface")
        assert found is not None
        lines = [_documentation(found), ""]
        for member in found:
            if member.tag in _MEMBERS:
                lines += _MEMBERS[member.tag](member)
        return "\n".join(lines)

    return make


def interface_text(name: str) -> str:
    """Return the text of a D-Bus interface, with the lists in it made anew."""
    text = (INTERFACES / f"{name}.xml").read_text()
    for member, make in _LISTS.get(name, {}).items():
        value = re.compile(
            rf'(<property name="{member}"(?:(?!</property>).)*?{DOC_STRING}" value=")[^"]*',
            re.DOTALL,
        )
        place = value.search(text)
        if place is None:
            raise SystemExit(f"{name} has no property {member} with a description")
        text = text[: place.end(1)] + make() + text[place.end() :]
    return text


def _kinds() -> str:
    return f"{_listed(JOBS)}."


def _phases() -> str:
    used = {phase for kind in JOBS.values() for phase in kind.phases}
    listed = _listed(phase for phase in Phase if phase in used)
    return f"What it is busy with: {listed}; empty before the first."


def _listed(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}"


def _method(member: ET.Element) -> list[str]:
    arguments = member.findall("arg")
    into = ", ".join(_argument(one) for one in arguments if one.get("direction") == "in")
    out = ", ".join(_argument(one) for one in arguments if one.get("direction") == "out")
    after = f" → {out}" if out else ""
    lines = [f"**{member.get('name')}**({into}){after}", f":   {_documentation(member)}", ""]
    for one in arguments:
        if one.get("name") not in _UNDERSTOOD and _documentation(one) != _NO_OPTIONS:
            lines += [f"    *{one.get('name')}*: {_documentation(one)}", ""]
    return lines


def _property(member: ET.Element) -> list[str]:
    head = f"**{member.get('name')}** ({member.get('type')})"
    return [head, f":   {_documentation(member)}", ""]


def _signal(member: ET.Element) -> list[str]:
    arguments = ", ".join(map(_argument, member.findall("arg")))
    head = f"signal **{member.get('name')}**({arguments})"
    return [head, f":   {_documentation(member)}", ""]


_LISTS: Final = {"org.bootd1.Job": {"Kind": _kinds, "Phase": _phases}}
"""By interface and property, what makes the description."""
_MEMBERS: Final = {"method": _method, "property": _property, "signal": _signal}
_UNDERSTOOD: Final = ("job", "document")
_NO_OPTIONS: Final = "None are defined yet."


def _argument(element: ET.Element) -> str:
    return f"{element.get('type')} *{element.get('name')}*"


def _documentation(element: ET.Element) -> str:
    notes = {note.get("name"): note.get("value", "") for note in element.findall("annotation")}
    return notes[DOC_STRING]


def _first_line(error: type[BootdError]) -> str:
    return (error.__doc__ or "").splitlines()[0]


def _family(root: type[BootdError], indent: str) -> Iterator[str]:
    for error in root.__subclasses__():
        # What tests define is no error of bootd's.
        if error.__module__.startswith(f"{errors_package.__name__}."):
            yield f"{indent}- `{error.__name__}`: {_first_line(error)}"
            yield from _family(error, indent + "  ")


def _arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [
        action
        for action in parser._actions  # noqa: SLF001 - argparse offers no other way to look
        if not isinstance(action, argparse._SubParsersAction)  # noqa: SLF001
    ]


def _described(actions: Iterable[argparse.Action]) -> Iterator[str]:
    for action in actions:
        text = (action.help or "").replace("program's", f"{PROGRAM}'s")
        yield from (_term(action), f":   {text[:1].upper()}{text[1:]}.", "")


def _term(action: argparse.Action) -> str:
    if not action.option_strings:
        return _value(action)
    joint = "" if action.nargs == 0 else f" {_value(action)}"
    return ", ".join(f"**{name}**{joint}" for name in action.option_strings)


def _synopsis(action: argparse.Action) -> str:
    if action.option_strings:
        return _term(action) if action.required else f"[{_term(action)}]"
    return f"[{_value(action)}]" if action.nargs == "?" else _value(action)


def _value(action: argparse.Action) -> str:
    if action.choices:
        return "|".join(map(str, action.choices))
    return f"*{action.metavar or action.dest.upper()}*"


PARTS: Final[dict[str, dict[str, Callable[[], str]]]] = {
    "man/bootctl-py.8.md": {"common options": common_options, "verbs": verbs, "errors": errors},
    "man/org.bootd1.5.md": {
        "manager": interface("org.bootd1.Manager"),
        "deployment": interface("org.bootd1.Deployment"),
        "job": interface("org.bootd1.Job"),
        "errors": bus_errors,
    },
    "architecture.md": {"errors": error_families},
}
"""By file, what makes each marked part."""


def main() -> int:
    """Write all that is out of date, or with ``--check`` name it and return 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="write nothing")
    checking = parser.parse_args().check
    files = generated()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    stale += [path for path in (DOCS / "schemas").glob("*") if path not in files and checking]
    for path in stale:
        sys.stdout.write(
            f"{'out of date' if checking else 'writing'}: {path.relative_to(DOCS.parent)}\n"
        )
        if not checking:
            path.write_text(files[path])
    return int(checking and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
