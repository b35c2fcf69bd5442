"""The physical layout: records, their damage, formats from the future, the lock."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootd.model.deployment import (
    Denial,
    DeniedDigests,
    DeploymentId,
    DeploymentRecord,
    Intent,
    KernelFiles,
    StagedMarker,
)
from bootd.model.digest import Digest
from bootd.model.errors import (
    BusyError,
    DamagedRecordError,
    InvalidArgumentError,
    NoSuchDeploymentError,
    NotASysrootError,
    UnknownFormatError,
)
from bootd.model.hash_algorithm import SHA256, SHA512
from bootd.sysroot import Sysroot

DIGEST = Digest.of(b"manifest")
ID = DeploymentId.compose(DIGEST, 0)


@pytest.fixture
def sysroot(tmp_path: Path) -> Sysroot:
    made = Sysroot.at(tmp_path)
    made.initialise()
    return made


def record(**changes: Any) -> DeploymentRecord:
    kernel = KernelFiles(
        version="6.12.0",
        kernel_object="a" * 64,
        initramfs_object="b" * 64,
        kernel_size=10,
        initramfs_size=20,
        digest="c" * 64,
    )
    values = {
        "id": ID,
        "image": "registry.example/os:1",
        "digest": DIGEST,
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "kernel": kernel,
        "erofs": "d" * 64,
    }
    return DeploymentRecord.model_validate({**values, **changes})


def test_the_store_is_for_root_only_and_var_is_not(sysroot: Sysroot) -> None:
    assert sysroot.store.stat().st_mode & 0o777 == 0o700
    assert (sysroot.store / "var").stat().st_mode & 0o777 == 0o755
    sysroot.initialise()


def test_records_come_back_as_they_were_written(sysroot: Sysroot) -> None:
    folder = sysroot.deployment(ID)
    folder.mkdir()
    sysroot.write_deployment(folder, record(pinned=True))
    assert sysroot.read_deployment(ID) == record(pinned=True)
    intent = Intent(image="oci:/x:latest", staged=ID)
    sysroot.write_intent(intent)
    assert sysroot.read_intent() == intent
    denied = DeniedDigests(
        denied=[Denial(digest=DIGEST, cause="test", when=datetime(2026, 1, 1, tzinfo=UTC))]
    )
    sysroot.write_denied(denied)
    assert sysroot.read_denied() == denied
    sysroot.write_staged(StagedMarker(deployment=ID))
    assert sysroot.read_staged() == StagedMarker(deployment=ID)
    sysroot.clear_staged()
    assert sysroot.read_staged() is None


def test_nothing_written_yet_is_not_an_error(sysroot: Sysroot) -> None:
    assert sysroot.read_intent() == Intent()
    assert sysroot.read_denied() == DeniedDigests()
    assert sysroot.read_staged() is None
    assert sysroot.deployment_ids() == []
    assert sysroot.booted() is None


@pytest.mark.parametrize("name", ["intent.json", "denied.json", "format.json"])
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_record_is_never_taken_for_none(
    sysroot: Sysroot, name: str, damage: bytes
) -> None:
    (sysroot.store / name).write_bytes(damage)
    readers: dict[str, Callable[[], object]] = {
        "intent.json": sysroot.read_intent,
        "denied.json": sysroot.read_denied,
        "format.json": sysroot.check_format,
    }
    with pytest.raises(DamagedRecordError, match=name):
        readers[name]()


def test_a_damaged_deployment_record_names_its_file(sysroot: Sysroot) -> None:
    sysroot.deployment(ID).mkdir()
    with pytest.raises(DamagedRecordError, match=r"deployment\.json is missing"):
        sysroot.read_deployment(ID)
    sysroot.write_deployment(sysroot.deployment(ID), record(id="0" * 16 + ".7"))
    with pytest.raises(DamagedRecordError, match="record of"):
        sysroot.read_deployment(ID)
    with pytest.raises(NoSuchDeploymentError):
        sysroot.read_deployment(DeploymentId("0" * 16 + ".7"))


def test_a_record_of_the_future_is_refused_and_unknown_keys_are_not(sysroot: Sysroot) -> None:
    sysroot.intent_file.write_text(json.dumps({"format": 2}))
    with pytest.raises(UnknownFormatError, match="format 2"):
        sysroot.read_intent()
    sysroot.intent_file.write_text(
        json.dumps({"format": 1, "new_key": 1, "image": "a.example/b:c"})
    )
    assert sysroot.read_intent().image == "a.example/b:c"


@pytest.mark.parametrize(
    ("content", "readable"),
    [
        ({"version": 2}, False),
        ({"version": 1, "incompatible": ["striped"]}, False),
        ({"version": 1, "incompatible": ["fsverity-sha512", "fsverity-blake3"]}, False),
        ({"version": 1, "read_only_compatible": ["striped"]}, True),
    ],
)
def test_a_store_of_the_future_is_at_most_read(
    sysroot: Sysroot, content: dict[str, Any], readable: bool
) -> None:
    (sysroot.store / "format.json").write_text(json.dumps(content))
    with pytest.raises(UnknownFormatError), sysroot.lock(exclusive=True):
        pass
    if readable:
        with sysroot.lock(exclusive=False):
            pass
    else:
        with pytest.raises(UnknownFormatError), sysroot.lock(exclusive=False):
            pass


def test_a_store_keeps_the_hash_it_was_made_with(tmp_path: Path) -> None:
    sysroot = Sysroot.at(tmp_path / "other")
    assert sysroot.hash_algorithm() is SHA256
    sysroot.initialise(SHA512)
    sysroot.initialise()
    assert sysroot.hash_algorithm() is SHA512
    text = json.loads((sysroot.store / "format.json").read_bytes())
    assert text["incompatible"] == ["fsverity-sha512"], "an older bootd has to refuse it"
    with sysroot.lock(exclusive=True):
        sysroot.name_installation()
    assert sysroot.hash_algorithm() is SHA512


def test_the_lock_keeps_a_second_writer_out(sysroot: Sysroot) -> None:
    with sysroot.lock(exclusive=True):
        with pytest.raises(BusyError), sysroot.lock(exclusive=True, wait_seconds=0.1):
            pass
        with pytest.raises(BusyError), sysroot.lock(exclusive=False):
            pass
    with sysroot.lock(exclusive=False), sysroot.lock(exclusive=False):
        pass


def test_a_folder_without_a_store_is_not_a_sysroot(tmp_path: Path) -> None:
    with pytest.raises(NotASysrootError), Sysroot.at(tmp_path).lock(exclusive=False):
        pass


@pytest.mark.parametrize(
    ("line", "booted"),
    [
        (f"root=x bootd={ID} quiet\n", ID),
        (f"bootd={ID} bootd=nonsense", ID),
        (f"bootd=nonsense bootd={ID}", None),
        (f'note="a bootd=nonsense b" "bootd={ID}"', ID),
        ("bootd=nonsense", None),
        (f"rd.bootd={ID} xbootd={ID}", None),
        ("", None),
    ],
)
def test_what_is_booted_stands_on_the_command_line(
    sysroot: Sysroot, line: str, booted: str | None
) -> None:
    sysroot.command_line.parent.mkdir()
    sysroot.command_line.write_text(line)
    assert sysroot.booted() == booted


@pytest.mark.parametrize("text", ["", "8f3a", "8F3A0b1c2d3e4f50.0", "8f3a0b1c2d3e4f50.", "a/b.0"])
def test_what_is_no_deployment_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        DeploymentId(text)


def test_folders_that_are_no_deployments_are_left_out(sysroot: Sysroot) -> None:
    for name in (ID, ".new-7-x", "lost+found"):
        (sysroot.deployments / name).mkdir()
    assert sysroot.deployment_ids() == [ID]
