"""Derived files of ``/etc`` through real upgrades: settled, written down, made anew, judged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import Machine, publish

from bootd.durable import Disk
from bootd.file_flags import CARRIED, FIXED, file_flags
from bootd.model.config import Configuration
from bootd.model.errors import NoSuchDeploymentError, WriteFailedError
from bootd.model.etc.report import EtcReport, NoteKind
from bootd.model.health import Outcome, Severity, Verdict
from bootd.operations import etc_derive
from bootd.operations.etc.drift import drift
from bootd.operations.etc_derive import DUE_NAME, MADE_NAME, derive
from bootd.operations.etc_preview import preview
from bootd.operations.etc_reports import read_report
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.trial.evidence import gather
from bootd.operations.trial.health import run_health
from bootd.process import run

UNIT = "usr/lib/systemd/system/bootd-derive.service"
Files = dict[str, bytes | str | None]


def trust_store(version: str) -> Files:
    """What a Debian-like image has of a trust store; the first CA was withdrawn in v2."""
    names = ("CA-1", "CA-OLD") if version == "v1" else ("CA-1", "CA-2")
    bundle = "".join(f"{name}\n" * 9 for name in names)
    return {
        UNIT: b"[Service]\n",
        "usr/sbin/": None,
        "usr/sbin/update-ca-certificates": b"#!/bin/sh\n",
        "etc/ssl/": None,
        "etc/ssl/certs/": None,
        "etc/ssl/certs/ca-certificates.crt": bundle.encode(),
        "etc/ca-certificates.conf": f"for {version}\n".encode(),
    }


def rules(etc: Path, command: str, more: str = "") -> bytes:
    """An image's rule that makes a list of what is in a folder."""
    script = f"cd {etc} && {command}"
    return (
        f"[derived.list]\npaths = ['/etc/list']\ninputs = ['/etc/list.d/**']\n"
        f"command = ['/bin/sh', '-c', {json.dumps(script)}]\n{more}"
    ).encode()


def lists(version: str, rule: bytes) -> Files:
    return {
        "usr/bin/sh": b"#!",
        "bin": "usr/bin",
        "usr/lib/bootd/": None,
        "usr/lib/bootd/etc.toml": rule,
        "etc/list": f"from {version}\n".encode() * 9,
        "etc/list.d/": None,
        "etc/list.d/a": b"from the image\n",
    }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    return machine


def run_on(machine: Machine, version: str, files: Files, *, healthy: bool = True) -> Path:
    """Upgrade to a version; return its ``/etc``."""
    publish(machine.image, version, **files)
    machine.upgrade()
    return machine.etc(machine.reboot(healthy=healthy))


def folder_of(machine: Machine) -> Path:
    booted = machine.sysroot.booted()
    assert booted is not None
    return machine.sysroot.deployment(booted)


def report(machine: Machine) -> EtcReport:
    booted = machine.sysroot.booted()
    assert booted is not None
    found = read_report(machine.sysroot, booted)
    assert found is not None
    return found


def link(machine: Machine) -> Path:
    """A path by which rules reach the ``/etc`` of whatever runs, as ``/etc`` would."""
    return machine.folder / "running-etc"


def follow(machine: Machine, etc: Path) -> None:
    link(machine).unlink(missing_ok=True)
    link(machine).symlink_to(etc)


COUNT = "cat list.d/* >list"


def test_a_withdrawn_authority_goes_and_the_store_is_made_anew(machine: Machine) -> None:
    etc = run_on(machine, "v1", trust_store("v1"))
    store = etc / "ssl/certs/ca-certificates.crt"
    store.write_text(store.read_text() + "CORP\n" * 9)
    publish(machine.image, "v2", **trust_store("v2"))
    machine.upgrade()
    told = preview(machine.host, Silent())
    assert told.counts.conflicts == 0
    [note] = [one for one in told.notes if one.kind is NoteKind.DERIVED]
    assert note.path == "/etc/ssl/certs/ca-certificates.crt"
    assert "update-ca-certificates" in note.detail
    etc = machine.etc(machine.reboot())
    assert "CA-OLD" not in (etc / "ssl/certs/ca-certificates.crt").read_text()
    due = json.loads((folder_of(machine) / DUE_NAME).read_text())
    assert [one["rule"]["command"] for one in due["rules"]] == [["update-ca-certificates"]]


@pytest.mark.parametrize("missing", ["usr/sbin/update-ca-certificates", UNIT])
def test_what_nothing_makes_anew_is_a_loud_conflict(machine: Machine, missing: str) -> None:
    etc = run_on(machine, "v1", trust_store("v1"))
    (etc / "ssl/certs/ca-certificates.crt").write_text("CORP\n" * 9)
    etc = run_on(machine, "v2", {k: v for k, v in trust_store("v2").items() if k != missing})
    assert (etc / "ssl/certs/ca-certificates.crt").read_text() == "CORP\n" * 9
    [conflict] = report(machine).conflicts
    assert conflict.security
    assert not (folder_of(machine) / DUE_NAME).exists()


def test_a_program_behind_links_counts(machine: Machine) -> None:
    etc = run_on(machine, "v1", trust_store("v1"))
    (etc / "ssl/certs/ca-certificates.crt").write_text("CORP\n" * 9)
    files = trust_store("v2")
    del files["usr/sbin/"], files["usr/sbin/update-ca-certificates"]
    files |= {
        "usr/sbin": "bin",
        "usr/bin/update-ca-certificates": "/etc/alternatives/update",
        "etc/alternatives/": None,
        "etc/alternatives/update": "../../usr/bin/../lib/real-update",
        "usr/lib/real-update": b"#!/bin/sh\n",
    }
    run_on(machine, "v2", files)
    assert report(machine).counts.conflicts == 0
    assert (folder_of(machine) / DUE_NAME).exists()


def test_rules_of_the_image_run_once_in_the_new_deployment(machine: Machine) -> None:
    rule = rules(link(machine), COUNT)
    etc = run_on(machine, "v1", lists("v1", rule))
    assert not (folder_of(machine) / DUE_NAME).exists()
    (etc / "list.d/local").write_text("from here\n")
    (etc / "list").write_text("from the image\nfrom here\n")
    follow(machine, run_on(machine, "v2", lists("v2", rule)))
    assert (link(machine) / "list").read_text() == "from v2\n" * 9
    document = derive(machine.host, starting=True)
    assert [(one.name, one.outcome) for one in document.results] == [
        ("derived/list", Outcome.PASSED)
    ]
    assert (link(machine) / "list").read_text() == "from the image\nfrom here\n"
    assert not (folder_of(machine) / DUE_NAME).exists()
    (link(machine) / "list").write_text("edited\n")
    assert derive(machine.host, starting=True) == document
    assert (link(machine) / "list").read_text() == "edited\n"
    health = run_health(machine.host, machine.folder, take_survey(machine.sysroot))
    assert health.verdict is Verdict.HEALTHY
    assert [one.name for one in health.checks] == ["derived/list"]


def test_a_failure_counts_against_the_image_with_evidence(machine: Machine) -> None:
    etc = run_on(machine, "v1", lists("v1", rules(link(machine), COUNT)))
    (etc / "list.d/local").write_text("from here\n")
    failing = rules(link(machine), "echo no room for lists >&2; exit 3")
    follow(machine, run_on(machine, "v2", lists("v2", failing), healthy=False))
    for runs in (1, 2, 3, 3):
        document = derive(machine.host, starting=True)
        assert [one.exit_status for one in document.results] == [3]
        assert json.loads((folder_of(machine) / DUE_NAME).read_text())["runs"] == runs
    found = take_survey(machine.sysroot)
    health = run_health(machine.host, machine.folder, found)
    assert health.verdict is Verdict.UNHEALTHY
    assert found.booted is not None
    assert "no room for lists" in gather(machine.sysroot, found.records[found.booted], tries=3)
    # Somebody mends what was wrong, and asks for it.
    due = json.loads((folder_of(machine) / DUE_NAME).read_text())
    due["rules"][0]["rule"]["command"] = ["true"]
    (folder_of(machine) / DUE_NAME).write_text(json.dumps(due))
    assert derive(machine.host).results[0].passed
    assert run_health(machine.host, machine.folder, found).verdict is Verdict.HEALTHY


def test_a_rule_that_hangs_or_was_not_run_or_may_fail(machine: Machine) -> None:
    more = "timeout_seconds = 1\nseverity = 'wanted'\n"
    rule = rules(link(machine), "sleep 60", more)
    etc = run_on(machine, "v1", lists("v1", rule))
    (etc / "list.d/local").write_text("from here\n")
    follow(machine, run_on(machine, "v2", lists("v2", rule), healthy=False))
    health = run_health(machine.host, machine.folder, take_survey(machine.sysroot))
    assert [(one.outcome, one.severity) for one in health.checks] == [
        (Outcome.NOT_STARTED, Severity.WANTED)
    ]
    assert derive(machine.host, starting=True).results[0].outcome is Outcome.TIMED_OUT
    health = run_health(machine.host, machine.folder, take_survey(machine.sysroot))
    assert health.verdict is Verdict.DEGRADED


def test_all_rules_together_have_a_limit(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = rules(link(machine), COUNT)
    etc = run_on(machine, "v1", lists("v1", rule))
    (etc / "list.d/local").write_text("from here\n")
    follow(machine, run_on(machine, "v2", lists("v2", rule), healthy=False))
    monkeypatch.setattr(etc_derive, "MOST_SECONDS", 0)
    assert derive(machine.host).results[0].outcome is Outcome.NOT_STARTED
    assert (folder_of(machine) / DUE_NAME).exists()


def test_a_cut_before_it_is_written_down_makes_it_be_done_again(machine: Machine) -> None:
    rule = rules(link(machine), "echo once more >>log; " + COUNT)
    etc = run_on(machine, "v1", lists("v1", rule))
    (etc / "list.d/local").write_text("from here\n")
    follow(machine, run_on(machine, "v2", lists("v2", rule)))

    class Cut(Disk):
        def replace_file(self, path: Path, data: bytes, mode: int = 0o600) -> None:
            if path.name == MADE_NAME:
                raise WriteFailedError("the power went")
            super().replace_file(path, data, mode)

    whole, machine.disk = machine.disk, Cut()
    with pytest.raises(WriteFailedError):
        derive(machine.host, starting=True)
    machine.disk = whole
    assert derive(machine.host, starting=True).results[0].passed
    assert (link(machine) / "log").read_text().count("once more") == 2
    assert (link(machine) / "list").read_text() == "from the image\nfrom here\n"


def test_drop_ins_of_the_image_add_and_a_bad_one_stops_nothing(machine: Machine) -> None:
    rule = rules(link(machine), COUNT)
    folder = "usr/lib/bootd/etc.toml.d/"
    files = lists("v1", b"own = ['/etc/other']\n")
    files |= {
        folder: None,
        f"{folder}10-bad.toml": b"[derived.x]\npaths = ['/usr/x']\n",
        f"{folder}20-list.toml": rule,
        f"{folder}30-large.toml": b"#" * 100_000,
        f"{folder}notes": b"not TOML",
    }
    etc = run_on(machine, "v1", files)
    (etc / "list.d/local").write_text("from here\n")
    (etc / "list").write_text("mine\n")
    (etc / "other").write_text("mine\n")
    files |= {"etc/list": b"2\n", "etc/other": b"theirs\n"}
    run_on(machine, "v2", files)
    found = report(machine)
    assert found.counts.conflicts == 0
    [problem] = [one for one in found.notes if one.kind is NoteKind.RULES]
    assert "10-bad.toml" in problem.detail
    assert "30-large.toml" in problem.detail
    assert (folder_of(machine) / DUE_NAME).exists()


def test_the_administrator_replaces_a_rule_or_switches_it_off(machine: Machine) -> None:
    rule = rules(link(machine), COUNT)
    etc = run_on(machine, "v1", lists("v1", rule))
    (etc / "list").write_text("mine\n")
    machine.configuration = Configuration.model_validate(
        {"parallel_layers": 1, "etc": {"derived": {"list": {"command": []}}}}
    )
    etc = run_on(machine, "v2", lists("v2", rule))
    assert (etc / "list").read_text() == "mine\n"
    assert report(machine).counts.conflicts == 1


def test_an_older_conflict_at_a_derived_file_closes(machine: Machine) -> None:
    etc = run_on(machine, "v1", lists("v1", b""))
    (etc / "list").write_text("mine\n")
    run_on(machine, "v2", lists("v2", b""))
    assert report(machine).counts.conflicts == 1
    etc = run_on(machine, "v3", lists("v3", rules(link(machine), COUNT)))
    assert (etc / "list").read_text() == "from v3\n" * 9
    undecided = json.loads((folder_of(machine) / "etc-undecided.json").read_text())
    assert undecided["conflicts"] == []


def test_edits_that_go_back_have_their_derived_files_made_there(machine: Machine) -> None:
    rule = rules(link(machine), COUNT)
    run_on(machine, "v1", lists("v1", rule))
    etc = run_on(machine, "v2", lists("v2", rule))
    (etc / "list.d/local").write_text("from here\n")
    (etc / "list").write_text("from the image\nfrom here\n")
    rollback(machine.host, Silent(), carry_etc=True)
    follow(machine, machine.etc(machine.power_on()))
    assert (link(machine) / "list").read_text() == "from v1\n" * 9
    derive(machine.host, starting=True)
    assert (link(machine) / "list").read_text() == "from the image\nfrom here\n"


def test_a_foreign_system_makes_nothing(machine: Machine) -> None:
    run_on(machine, "v1", lists("v1", b""))
    (machine.folder / "proc/cmdline").write_text("quiet\n")
    with pytest.raises(NoSuchDeploymentError):
        derive(machine.host)


@pytest.fixture
def mutable(machine: Machine) -> Iterator[Machine]:
    """A machine whose folder can be removed afterwards."""
    yield machine
    run(["chattr", "-R", "-f", "-ia", machine.folder], expected=(0, 1))


def flags(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return file_flags(descriptor) & (FIXED | CARRIED)
    finally:
        os.close(descriptor)


def test_flags_of_files_go_along_and_keep_nobody_from_the_rules(mutable: Machine) -> None:
    machine = mutable
    rule = rules(link(machine), COUNT)
    etc = run_on(machine, "v1", lists("v1", rule))
    (etc / "list.d/local").write_text("from here\n")
    (etc / "list").write_text("old\n")
    (etc / "log").write_text("mine\n")
    (etc / "gone.d").mkdir()
    for letters, name in (("+i", "list"), ("+aA", "log"), ("+d", "list.d/local"), ("+i", "gone.d")):
        run(["chattr", letters, etc / name])
    etc = run_on(machine, "v2", lists("v2", rule))
    follow(machine, etc)
    # Until it has started nothing keeps bootd from throwing the new /etc away.
    assert [flags(etc / name) & FIXED for name in ("list", "log", "gone.d")] == [0, 0, 0]
    assert derive(machine.host, starting=True).results[0].passed
    assert (etc / "list").read_text() == "from the image\nfrom here\n"
    assert flags(etc / "list") == 0x10
    assert flags(etc / "log") == 0x20 | 0x80
    assert flags(etc / "list.d/local") == 0x40
    assert flags(etc / "gone.d") == 0x10
    assert not (folder_of(machine) / DUE_NAME).exists()
    noted = {one.path for one in report(machine).notes if one.kind is NoteKind.IMMUTABLE}
    assert noted == {"/etc/list", "/etc/log", "/etc/gone.d"}


def test_what_was_immutable_and_is_gone_leaves_a_word(mutable: Machine) -> None:
    etc = run_on(mutable, "v1", lists("v1", b""))
    run(["chattr", "+i", etc / "list"])
    files = lists("v2", b"")
    del files["etc/list"]
    etc = run_on(mutable, "v2", files | {"etc/list": "link"})
    derive(mutable.host, starting=True)
    assert (etc / "list").is_symlink()
    [note] = report(mutable).notes
    assert (note.path, note.kind) == ("/etc/list", NoteKind.METADATA_DROPPED)


def test_a_derived_file_is_the_same_drift_under_each_version(machine: Machine) -> None:
    rule = rules(link(machine), "cat list.d/* >>list")
    files = [lists(version, rule) for version in ("v1", "v2", "v3")]
    digests = []
    for version, shipped in zip(("v1", "v2", "v3"), files, strict=True):
        follow(machine, run_on(machine, version, shipped))
        if version == "v1":
            (link(machine) / "list.d/local").write_text("from here\n")
            with (link(machine) / "list").open("a") as stream:
                stream.write("from the image\nfrom here\n")
        derive(machine.host, starting=True)
        assert (link(machine) / "list").read_text().endswith("from here\n")
        digests.append(drift(machine.host))
    assert len(set(digests)) == 1
    with (link(machine) / "list").open("a") as stream:
        stream.write("by hand\n")
    assert drift(machine.host) not in digests
