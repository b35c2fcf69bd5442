"""Images that skopeo copies for bootd, and one update that is taken from somewhere else."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from support.machine import Machine, installed, publish

from bootd.durable import Disk
from bootd.model.errors import (
    HeldError,
    InvalidReferenceError,
    NoSpaceError,
    NotTrustedError,
    ProcessFailedError,
)
from bootd.operations.check import check
from bootd.operations.collect import collect
from bootd.operations.hold import hold
from bootd.operations.image.fetch import fetched_image
from bootd.operations.machine.last_check import read_last_check
from bootd.operations.progress import Silent
from bootd.operations.stage import stage
from bootd.operations.status import status
from bootd.registry.settings import RegistrySettings
from bootd.registry.sources import copied
from bootd.registry.sources.source import open_source


def skopeo(source: str, target: str) -> None:
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--quiet", source, target],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def image(tmp_path: Path) -> str:
    return publish(tmp_path / "oci", "v1")


@pytest.fixture(params=["dir", "docker-archive", "containers-storage"])
def reference(request: pytest.FixtureRequest, image: str, tmp_path: Path) -> Iterator[str]:
    """The image as other tools keep it."""
    with ExitStack() as stack:
        match request.param:
            case "dir":
                made = f"dir:{tmp_path}/di:r"
                (tmp_path / "di:r").mkdir()
            case "docker-archive":
                made = f"docker-archive:{tmp_path}/os.tar"
            case _:
                store, run = tmp_path / "storage", tmp_path / "storage-run"
                made = f"containers-storage:[vfs@{store}+{run}]localhost/os:latest"
                stack.callback(shutil.rmtree, store, ignore_errors=True)
        skopeo(image, made)
        yield made


def machine_of(tmp_path: Path, reference: str) -> Machine:
    machine = installed(tmp_path / "machine")
    intent = machine.sysroot.read_intent()
    machine.sysroot.write_intent(intent.model_copy(update={"image": reference}))
    return machine


def test_an_image_is_copied_and_staged(reference: str, tmp_path: Path) -> None:
    machine = machine_of(tmp_path, reference)
    machine.configuration = machine.configuration.model_copy(update={"parallel_layers": 2})
    found = check(machine.host, Silent())
    assert (found.image, found.image_version) == (reference, "v1")
    document = stage(machine.host, Silent())
    assert (document.image, document.digest) == (reference, found.digest)
    machine.reboot()
    assert not check(machine.host, Silent()).update
    assert list(machine.sysroot.partial.iterdir()) == []


def test_a_check_without_news_copies_nothing(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_of(tmp_path, reference)
    before = check(machine.host, Silent())
    monkeypatch.setattr(copied.CopiedSource, "_copy", lambda *_: pytest.fail("it is copied"))
    assert check(machine.host, Silent()) == before


def test_an_image_that_is_looked_at_is_copied_and_gone(reference: str, tmp_path: Path) -> None:
    machine = machine_of(tmp_path, reference)
    found = check(machine.host, Silent())
    fetched_image(machine.host, found.digest, Silent())
    assert list(machine.sysroot.partial.iterdir()) == []


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("dir:/nonesuch/os", "finds no /nonesuch/os"),
        ("docker-archive:/nonesuch/os.tar:x", "finds no /nonesuch/os.tar"),
        ("dir:/", "has no /: "),
        ("containers-storage:[vfs@{0}/s+{0}/r]localhost/none:1", "]localhost/none:1: "),
    ],
)
def test_what_is_not_there(reference: str, words: str, tmp_path: Path) -> None:
    reference = reference.format(tmp_path)
    source = open_source(reference, RegistrySettings(root=tmp_path), tmp_path / "partial", Disk())
    with closing(source), pytest.raises(InvalidReferenceError, match="the transport") as caught:
        source.resolve()
    assert words in caught.value.message
    assert len(caught.value.message) < 800
    assert caught.value.hint


def test_without_skopeo_the_error_says_what_to_install(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skopeo(image, f"docker-archive:{tmp_path}/os.tar")
    monkeypatch.setenv("PATH", str(tmp_path))
    reference = f"docker-archive:{tmp_path}/os.tar"
    source = open_source(reference, RegistrySettings(root=tmp_path), tmp_path / "partial", Disk())
    with pytest.raises(InvalidReferenceError, match="needs skopeo") as caught:
        source.resolve()
    assert f"skopeo copy {reference} oci:/path:tag" in caught.value.hint


def test_a_copy_without_room_is_not_begun(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copied, "_SPARE_BYTES", 1 << 60)
    machine = machine_of(tmp_path, reference)
    with pytest.raises(NoSpaceError, match="copying"):
        stage(machine.host, Silent())
    assert list(machine.sysroot.partial.iterdir()) == []


def test_a_copy_that_would_fill_the_disk_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = publish(tmp_path / "oci", "v1", **{"usr/lib/large": b"x" * 200_000})
    skopeo(image, f"docker-archive:{tmp_path}/os.tar")
    machine = machine_of(tmp_path, f"docker-archive:{tmp_path}/os.tar")
    monkeypatch.setattr(copied.CopiedSource, "_room", lambda *_: 100_000)
    with pytest.raises(ProcessFailedError, match=r"skopeo|prlimit"):
        stage(machine.host, Silent())
    assert list(machine.sysroot.partial.iterdir()) == []


def test_the_policy_of_the_machine_is_obeyed(reference: str, tmp_path: Path) -> None:
    machine = machine_of(tmp_path, reference)
    path = machine.folder / "etc/containers/policy.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"default": [{"type": "reject"}]}))
    with pytest.raises(NotTrustedError, match=str(path)):
        stage(machine.host, Silent())
    transport = reference.partition(":")[0]
    allowed = {transport: {"": [{"type": "insecureAcceptAnything"}]}}
    path.write_text(json.dumps({"default": [{"type": "reject"}], "transports": allowed}))
    assert stage(machine.host, Silent()).image == reference


def test_what_a_cut_left_of_a_copy_goes(image: str, tmp_path: Path) -> None:
    skopeo(image, f"docker-archive:{tmp_path}/os.tar")
    machine = machine_of(tmp_path, f"docker-archive:{tmp_path}/os.tar")
    for name in ("copy-00", ".new-gone-copy-01"):
        (machine.sysroot.partial / name / "layout").mkdir(parents=True)
    collect(machine.host, Silent())
    assert list(machine.sysroot.partial.iterdir()) == []


def test_one_update_from_a_stick(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    followed = machine.reference
    check(machine.host, Silent())
    before = read_last_check(machine.sysroot)
    stick = publish(tmp_path / "stick", "v3").removesuffix(":latest")
    hold(machine.host, "somebody")
    with pytest.raises(HeldError):
        stage(machine.host, Silent(), automatic=True)
    document = stage(machine.host, Silent(), taken_from=stick)
    assert (document.image, document.taken_from) == (followed, stick)
    # What the registry said last is no news of the stick's.
    assert read_last_check(machine.sysroot) == before
    second = machine.reboot()
    record = machine.sysroot.read_deployment(second)
    assert (record.image, record.taken_from) == (followed, stick)
    assert (record.digest, record.version) == (document.digest, "v3")
    seen = status(machine.host)
    assert (seen.image, seen.deployments[0].taken_from) == (followed, stick)
    assert machine.sysroot.read_intent().image is None
    # The next check asks what is followed, which is what it was before, and then the same.
    assert check(machine.host, Silent()).update
    publish(machine.image, "v3")
    found = check(machine.host, Silent())
    assert (found.digest, found.update) == (document.digest, False)
    assert not stage(machine.host, Silent(), taken_from=stick).changed


def test_a_stick_may_hold_a_copied_image(reference: str, tmp_path: Path) -> None:
    machine = installed(tmp_path / "machine")
    document = stage(machine.host, Silent(), taken_from=reference)
    assert (document.image, document.taken_from) == (machine.reference, reference)
    assert list(machine.sysroot.partial.iterdir()) == []
