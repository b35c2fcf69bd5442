"""What lies in dbus/ and systemd/ agrees with the code and with itself."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bootd.daemon.dbus import interfaces, names
from bootd.daemon.jobs import JobState
from bootd.model.action import Action
from bootd.model.event import FIELDS, Event
from bootd.model.state import DeploymentState, UpgradeState
from bootd.operations.jobs.looks import LOOKS
from bootd.operations.jobs.table import JOBS

_CHECKOUT = Path(__file__).parents[2]
_DBUS = _CHECKOUT / "dbus"
_ALL = (names.MANAGER, names.DEPLOYMENT, names.JOB)


@pytest.mark.checkout
@pytest.mark.parametrize("name", _ALL)
def test_package_carries_the_file_of_the_source(name: str):
    inside = _CHECKOUT / f"bootd/daemon/dbus/interfaces/{name}.xml"
    assert inside.read_bytes() == (_DBUS / f"{name}.xml").read_bytes()
    assert interfaces.load(name).name == name


@pytest.mark.parametrize("name", _ALL)
def test_every_member_says_what_it_is_and_since_when(name: str):
    root = ET.parse(_DBUS / f"{name}.xml").getroot()
    described = [
        *root.iter("interface"),
        *root.iter("method"),
        *root.iter("property"),
        *root.iter("signal"),
    ]
    for element in described:
        notes = {note.get("name"): note.get("value", "") for note in element.findall("annotation")}
        assert notes["org.gtk.GDBus.DocString"].endswith(".")
        assert notes["org.gtk.GDBus.Since"] == "1"
    for element in root.iter("property"):
        assert element.get("access") == "read"
        assert "EmitsChangedSignal" in str(element.findall("annotation")[0].attrib)


def _documented(interface: str, member: str) -> set[str]:
    """Return the words that a property's description lists: ``one, two or three``."""
    root = ET.parse(_DBUS / f"{interface}.xml").getroot()
    [text] = [
        note.get("value", "")
        for note in root.findall(f"interface/property[@name='{member}']/annotation")
        if note.get("name") == "org.gtk.GDBus.DocString"
    ]
    listed = text.partition(": ")[2].partition(";")[0] or text
    return set(re.split(r", | or ", listed.rstrip(".")))


def test_every_word_that_clients_may_meet_is_documented():
    assert _documented(names.JOB, "Kind") == JOBS.keys()
    assert _documented(names.JOB, "State") == set(JobState)
    assert _documented(names.JOB, "Phase") == {
        phase for kind in JOBS.values() for phase in kind.phases
    }
    assert _documented(names.MANAGER, "State") == set(UpgradeState)
    assert _documented(names.DEPLOYMENT, "State") == set(DeploymentState)


def test_methods_of_the_tables_take_what_is_asked_for():
    methods = interfaces.load(names.MANAGER).methods
    rows = {kind.method: kind.request for kind in JOBS.values() if kind.method}
    rows |= {look.method: look.request for look in LOOKS.values()}
    for name, request in rows.items():
        fields = {field.alias or key for key, field in request.model_fields.items()}
        required = {
            field.alias or key for key, field in request.model_fields.items() if field.is_required()
        }
        assert required <= set(methods[name].arguments) <= fields, name
        assert methods[name].gives == ("s" if name in LOOKS else "o")


def test_every_manager_method_ends_with_options():
    for method in interfaces.load(names.MANAGER).methods.values():
        assert method.takes.endswith("a{sv}"), method.name


def test_members_that_programs_count_on_are_there():
    manager = interfaces.load(names.MANAGER)
    assert {
        *("Check", "Upgrade", "Switch", "Rollback", "Apply", "Stage", "Unstage", "Pin", "Unpin"),
        *(
            "Cleanup",
            "Forget",
            "GetBootUsage",
            "PreviewEtc",
            "EtcConflicts",
            "Allow",
            "Hold",
            "Release",
            "Explain",
        ),
    } <= manager.methods.keys()
    assert {
        *("Booted", "Staged", "Queued", "Rollback", "Image", "State", "RebootRequired"),
        *("LastFallback", "NextCheck", "Version"),
    } <= manager.properties.keys()
    assert manager.signals == {"JobNew": "uo", "JobRemoved": "uos"}
    assert {
        *("Id", "Image", "Digest", "Version", "Created", "State", "Pinned", "Booted", "Kernel"),
        *("KernelArguments", "EtcReport"),
    } <= interfaces.load(names.DEPLOYMENT).properties.keys()
    job = interfaces.load(names.JOB)
    assert {
        *("Id", "Kind", "State", "Progress", "Phase", "BytesDone", "BytesTotal"),
        *("Result", "Error"),
    } <= job.properties.keys()
    assert "Cancel" in job.methods


def test_bus_policy_opens_exactly_our_interfaces():
    root = ET.parse(_DBUS / "org.bootd1.conf").getroot()
    [default] = root.findall("policy[@context='default']")
    [deny] = default.findall("deny")
    assert deny.get("send_destination") == names.BUS_NAME
    opened = {allow.get("send_interface") for allow in default.findall("allow[@send_interface]")}
    standard = {names.PROPERTIES, names.OBJECT_MANAGER, names.INTROSPECTABLE, names.PEER}
    assert opened == {*_ALL, *standard}
    assert [allow.attrib for allow in root.findall("policy[@user='root']/*")] == [
        {"own": "org.bootd1"}
    ]


def test_polkit_knows_every_action_and_no_other():
    root = ET.parse(_DBUS / "org.bootd1.policy").getroot()
    assert {action.get("id") for action in root.iter("action")} == set(Action)
    for action in root.iter("action"):
        assert action.findtext("message", "").startswith("Authentication is required to ")
        free = action.findtext("defaults/allow_active") == "yes"
        assert free == (action.get("id") == Action.CHECK)


def test_activation_is_left_to_systemd():
    service = (_DBUS / "org.bootd1.service").read_text()
    assert "SystemdService=dbus-org.bootd1.service" in service
    assert "Alias=dbus-org.bootd1.service" in (_CHECKOUT / "systemd/bootd.service").read_text()


def test_catalogue_has_each_event_with_its_fields():
    text = (_CHECKOUT / "systemd/bootd.catalog").read_text()
    entry = re.compile(r"^-- ([0-9a-f]{32})\n(.*?)(?=^-- |\Z)", re.MULTILINE | re.DOTALL)
    entries = dict(entry.findall(text))
    assert entries.keys() == {event.value for event in Event}
    for event in Event:
        used = set(re.findall(r"@BOOTD_(\w+)@", entries[event.value]))
        assert used == set(FIELDS[event]), event


def test_message_ids_are_random_and_their_own():
    assert len({event.value for event in Event}) == len(Event)
    for event in Event:
        assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", event.value)


@pytest.mark.parametrize(
    ("identifier", "path"),
    [
        ("8f3a0b1c2d3e4f50.0", "/org/bootd1/deployment/8f3a0b1c2d3e4f50_2e0"),
        (None, "/"),
    ],
)
def test_deployment_paths(identifier: str | None, path: str):
    assert names.deployment_path(identifier) == path
