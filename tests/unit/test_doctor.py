"""What ``doctor`` makes of a machine: rules over facts, and where the facts come from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bootd.cli.main import main
from bootd.model.doctor import DoctorFinding, Fit
from bootd.model.errors import ProcessFailedError
from bootd.operations.doctor import doctor, sources
from bootd.operations.doctor.facts import (
    BootPartitionFacts,
    MachineFacts,
    RootFacts,
    UpdateFacts,
)
from bootd.operations.doctor.rules import findings, next_commands
from bootd.operations.host import open_host

GIB = 1 << 30
ROOT = RootFacts("/dev/sda2", "ext4", frozenset({"part", "disk"}), 40 * GIB)
ESP = BootPartitionFacts("/dev/sda1", "/boot/efi", GIB, GIB - 1)
UPDATES = UpdateFacts("registry.example/os:1", "stage")
GOOD = MachineFacts(
    architecture="x86_64",
    kernel="6.12.38+deb13-amd64",
    systemd=257,
    efi_width="64",
    secure_boot=False,
    loader="systemd-boot 257.9-1~deb13u1",
    boot_partitions=(ESP,),
    root=ROOT,
)


def judged(topic: str, facts: MachineFacts) -> list[DoctorFinding]:
    return [finding for finding in findings(facts) if finding.topic == topic]


def test_a_machine_that_suits_has_nothing_to_be_done() -> None:
    found = findings(GOOD)
    assert {finding.fit for finding in found} == {Fit.FITS}
    assert not any(finding.hint for finding in found)
    assert [step.command.split()[1] for step in next_commands(GOOD, found)] == [
        *("lint", "install", "install"),
    ]


@pytest.mark.parametrize(
    ("topic", "facts", "fit", "words"),
    [
        ("firmware", replace(GOOD, efi=False), Fit.BLOCKS, "UEFI"),
        ("firmware", replace(GOOD, efi_width="32"), Fit.BLOCKS, "32-bit"),
        ("firmware", replace(GOOD, architecture="s390x"), Fit.BLOCKS, "aarch64"),
        ("firmware", replace(GOOD, architecture="aarch64"), Fit.FITS, "aarch64"),
        ("Secure Boot", replace(GOOD, secure_boot=True), Fit.LOOK, "signed"),
        ("Secure Boot", replace(GOOD, secure_boot=None), Fit.UNKNOWN, "not say"),
        ("boot loader", replace(GOOD, loader="", grub=True), Fit.LOOK, "GRUB"),
        ("boot loader", replace(GOOD, loader="GRUB 2.12"), Fit.LOOK, "GRUB 2.12"),
        ("boot loader", replace(GOOD, loader=""), Fit.UNKNOWN, "systemd-boot"),
        ("boot partition", replace(GOOD, boot_partitions=None), Fit.UNKNOWN, "root"),
        ("boot partition", replace(GOOD, boot_partitions=()), Fit.LOOK, "to-disk"),
        (
            "boot partition",
            replace(GOOD, boot_partitions=(BootPartitionFacts("/dev/sda1"),)),
            Fit.UNKNOWN,
            "mount /dev/sda1",
        ),
        (
            "boot partition",
            replace(GOOD, boot_partitions=(replace(ESP, size=100 << 20, free=70 << 20),)),
            Fit.LOOK,
            "70 of 100 MiB",
        ),
        ("disk", replace(GOOD, root=None), Fit.UNKNOWN, "container"),
        ("disk", replace(GOOD, root=replace(ROOT, file_system="xfs")), Fit.LOOK, "integrity"),
        ("disk", replace(GOOD, root=replace(ROOT, free=GIB)), Fit.LOOK, "4 GiB"),
        (
            "RAID",
            replace(GOOD, root=replace(ROOT, layers=frozenset({"raid1", "disk"}))),
            Fit.LOOK,
            "assembles",
        ),
        ("LUKS", replace(GOOD, root=replace(ROOT, layers=frozenset({"crypt"}))), Fit.LOOK, "opens"),
        ("LVM", replace(GOOD, root=replace(ROOT, layers=frozenset({"lvm"}))), Fit.LOOK, "volume"),
        ("kernel", replace(GOOD, kernel="6.1.0-37-amd64"), Fit.LOOK, "6.6"),
        ("kernel", replace(GOOD, kernel="6.1.0", updates=UPDATES), Fit.BLOCKS, "6.6"),
        ("kernel", replace(GOOD, kernel="odd"), Fit.LOOK, "odd"),
        ("systemd", replace(GOOD, systemd=252), Fit.LOOK, "254"),
        ("systemd", replace(GOOD, systemd=252, updates=UPDATES), Fit.BLOCKS, "254"),
        ("systemd", replace(GOOD, systemd=None), Fit.UNKNOWN, "254"),
        ("updates", replace(GOOD, updates=UPDATES), Fit.FITS, "os:1"),
        ("updates", replace(GOOD, updates=replace(UPDATES, image=None)), Fit.LOOK, "switch"),
        ("updates", replace(GOOD, updates=replace(UPDATES, held_by="me")), Fit.LOOK, "release"),
        ("updates", replace(GOOD, updates=replace(UPDATES, automatic="off")), Fit.LOOK, "off"),
        ("updates", replace(GOOD, updates=replace(UPDATES, problems=("full",))), Fit.LOOK, "full"),
    ],
)
def test_rules(topic: str, facts: MachineFacts, fit: Fit, words: str) -> None:
    [finding] = judged(topic, facts)
    assert finding.fit is fit
    assert words in f"{finding.text} {finding.hint}"
    assert (fit in (Fit.LOOK, Fit.BLOCKS)) <= bool(finding.hint)


def test_secure_boot_is_no_matter_of_a_bios() -> None:
    assert not judged("Secure Boot", replace(GOOD, efi=False, secure_boot=None))


def test_where_something_blocks_this_machine_is_not_to_be_installed() -> None:
    facts = replace(GOOD, efi=False)
    commands = [step.command for step in next_commands(facts, findings(facts))]
    assert all("to-disk DEVICE --image" not in command for command in commands)
    assert commands


@pytest.mark.parametrize(
    ("updates", "first"),
    [
        (UPDATES, "bootctl-py upgrade"),
        (replace(UPDATES, image=None), "bootctl-py switch REFERENCE"),
        (replace(UPDATES, staged=True, problems=("x",), held_by="me"), "bootctl-py apply"),
    ],
)
def test_next_command_of_a_machine(updates: UpdateFacts, first: str) -> None:
    facts = replace(GOOD, updates=updates)
    commands = [step.command for step in next_commands(facts, findings(facts))]
    assert commands[0] == first
    assert ("bootctl-py why" in commands) is bool(updates.problems)
    assert ("bootctl-py release" in commands) is (updates.held_by is not None)


@pytest.mark.parametrize(
    ("content", "enforced"),
    [(b"\6\0\0\0\1", True), (b"\6\0\0\0\0", False), (b"\6\0", None), (None, None)],
)
def test_secure_boot_is_what_the_firmware_says(
    content: bytes | None, enforced: bool | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / sources._SECURE_BOOT).write_bytes(content)
    assert sources._secure_boot(tmp_path) is enforced


def _fails(*_: object, **__: object) -> None:
    raise ProcessFailedError("it is not installed")


def _is_refused(*_: object) -> None:
    raise PermissionError


@pytest.mark.parametrize(
    ("place", "name", "fault"),
    [(sources, "run", _fails), (sources, "mounts", list), (os, "statvfs", _is_refused)],
)
def test_what_cannot_be_found_out_is_no_error(
    place: object, name: str, fault: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, fault)
    assert doctor(open_host(None)).findings


def test_it_looks_at_this_machine(capfd: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor"])
    said = capfd.readouterr().out
    for topic in ("firmware", "boot loader", "boot partition", "disk", "kernel", "systemd"):
        assert f"  {topic} " in said
    assert status == ("\nblocks " in said)
    assert "Next steps" in said
