"""Write docs/dbus.md from dbus/*.xml: ``python docs/generate_dbus.py``."""  # noqa: INP001 - a script

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

_CHECKOUT = Path(__file__).parents[1]
_DOC = "org.gtk.GDBus.DocString"
_EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"
_INTERFACES = ("Manager", "Deployment", "Job")
_HEAD = """\
# The D-Bus interface

<!-- Made from dbus/*.xml by docs/generate_dbus.py; edit those. -->

bootd owns `org.bootd1` on the system bus. The Manager is the object `/org/bootd1`, which is also
the ObjectManager of `/org/bootd1/deployment/…` and `/org/bootd1/job/…`. What introspection answers
is the text of the files in `dbus/`.

- Every method ends with a dictionary of options; a key it does not know is an error.
- What takes time returns a job at once. One job runs at a time: the same request again joins it,
  another one gets `org.bootd1.Error.Busy`, which names it. The object of a job that ended stays for
  ten minutes.
- Errors are `org.bootd1.Error.` and a name; their two strings are what happened and what to do
  next. Calls that D-Bus itself forbids get the errors of `org.freedesktop.DBus.Error.`
- Who may call what is decided by polkit (`dbus/org.bootd1.policy`); root always may. A caller that
  lets the user be asked for a password sets the flag ALLOW_INTERACTIVE_AUTHORIZATION.
- Times are microseconds since 1970, UTC. Documents are JSON with `kind` and `version`.
"""


def render() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(line for name in _INTERFACES for line in _interface(name))])


def _interface(name: str) -> Iterator[str]:
    root = ET.parse(_CHECKOUT / f"dbus/org.bootd1.{name}.xml").getroot()  # noqa: S314 - our own
    interface = root.find("interface")
    assert interface is not None
    yield f"## {interface.get('name')}\n"
    yield f"{_note(interface, _DOC)}\n"
    for kind, title in (("method", "Methods"), ("property", "Properties"), ("signal", "Signals")):
        members = interface.findall(kind)
        if members:
            yield f"### {title}\n"
        for member in members:
            yield f"{_property(member) if kind == 'property' else _call(member)}\n"


def _call(member: ET.Element) -> str:
    arguments = member.findall("arg")
    takes = [_argument(found) for found in arguments if found.get("direction") != "out"]
    gives = [_argument(found) for found in arguments if found.get("direction") == "out"]
    arrow = f" → {', '.join(gives)}" if gives else ""
    lines = [f"**{member.get('name')}**({', '.join(takes)}){arrow}", f": {_note(member, _DOC)}"]
    lines += [f"  - *{found.get('name')}*: {_note(found, _DOC)}" for found in arguments]
    return "\n".join(lines)


def _property(member: ET.Element) -> str:
    told = {"true": "told", "const": "never changes", "invalidates": "change told without value"}
    when = told[_note(member, _EMITS)]
    return f"**{member.get('name')}** `{member.get('type')}` ({when})\n: {_note(member, _DOC)}"


def _argument(argument: ET.Element) -> str:
    return f"*{argument.get('name')}* `{argument.get('type')}`"


def _note(element: ET.Element, name: str) -> str:
    for annotation in element.findall("annotation"):
        if annotation.get("name") == name:
            return annotation.get("value", "")
    raise ValueError(f"{element.get('name')} has no {name}")


if __name__ == "__main__":
    (_CHECKOUT / "docs/dbus.md").write_text(render(), encoding="utf-8")
