"""An image that no host can use is fetched once, told of, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.images import (
    BuiltImage,
    build_image,
    build_oci_layout,
    digest,
    encode,
    entry,
    tar_layer,
)
from support.machine import Machine, image_files, publish
from support.registry import FaultyRegistry, faulty_registry

from bootd.clock import SYSTEM_CLOCK, Clock
from bootd.durable import Disk
from bootd.model.config import Automatic
from bootd.model.digest import Digest
from bootd.model.documents import Reason, StageDocument
from bootd.model.errors import (
    BootdError,
    DeniedDigestError,
    DiffIdMismatchError,
    DigestMismatchError,
    InvalidKernelArgumentsError,
    InvalidLayerError,
    InvalidTreeError,
    NoKernelError,
    NoSpaceError,
)
from bootd.operations import stage as staging
from bootd.operations.check import check
from bootd.operations.etc_preview import preview
from bootd.operations.explain import explain
from bootd.operations.host import Host
from bootd.operations.image import unfit_list
from bootd.operations.image.unfit_list import UNFIT
from bootd.operations.install import RootFileSystem, install
from bootd.operations.install_settings import Settings
from bootd.operations.machine.attempts import note_attempt
from bootd.operations.progress import Silent
from bootd.operations.stage import stage
from bootd.operations.status import status
from bootd.operations.trial.deny import allow, denied, deny
from bootd.registry.settings import RegistrySettings

SIZE = 1 << 20
MODULES = "usr/lib/modules/6.12.0-test"


def ballast(seed: int) -> bytes:
    return random.Random(seed).randbytes(SIZE)


def image(version: str, *layers: bytes) -> BuiltImage:
    return build_image([tar_layer(image_files(version)), *layers])


def with_blob(seed: int, **files: bytes | str | None) -> bytes:
    return tar_layer({"usr/blob": ballast(seed), **files})


def unknown_type(seed: int) -> bytes:
    return tar_layer([(entry("usr/blob"), ballast(seed)), (entry("usr/odd", b"8"), b"")])


UNFIT_LAYERS: dict[str, tuple[Callable[[int], bytes], type[BootdError]]] = {
    "an entry that nobody knows": (unknown_type, InvalidLayerError),
    "a link to nothing": (
        lambda seed: tar_layer(
            [(entry("usr/blob"), ballast(seed)), (entry("usr/l", b"1", target="usr/no"), b"")]
        ),
        InvalidLayerError,
    ),
    "defaults twice": (
        lambda seed: with_blob(seed, **{"usr/etc/x": b"x" * 100}),
        InvalidTreeError,
    ),
    "no kernel": (lambda seed: with_blob(seed, **{f"{MODULES}/.wh.vmlinuz": b""}), NoKernelError),
    "a UKI only": (
        lambda seed: with_blob(
            seed, **{f"{MODULES}/.wh.vmlinuz": b"", "boot/EFI/Linux/x.efi": b"MZ" * 99}
        ),
        NoKernelError,
    ),
    "arguments nobody can read": (
        lambda seed: with_blob(seed, **{"usr/lib/bootc/kargs.d/9.toml": b"quiet"}),
        InvalidKernelArgumentsError,
    ),
}


def with_another_diff_id(built: BuiltImage) -> BuiltImage:
    """The same layers, and a configuration that promises another content of the last one."""
    config = encode(built.config).replace(built.diff_ids[-1].encode(), b"sha256:" + b"0" * 64)
    manifest = json.loads(built.manifest)
    manifest["config"] |= {"digest": digest(config), "size": len(config)}
    return BuiltImage(encode(manifest), built.media_type, built.blobs | {digest(config): config})


@dataclass
class Site:
    """A machine that runs v1, and the registry that it follows."""

    machine: Machine
    registry: FaultyRegistry
    workers: int = 1
    clock: Clock = SYSTEM_CLOCK

    @property
    def host(self) -> Host:
        changes = {"image": self.registry.reference(), "parallel_layers": self.workers}
        settings = self.machine.configuration.model_copy(update=changes)
        root = self.machine.folder
        return Host(self.machine.sysroot, settings, RegistrySettings(root=root), self.clock)

    def push(self, built: BuiltImage) -> Digest:
        self.registry.add_image(built)
        return Digest(built.digest)

    def stage(self, *, automatic: bool = True) -> tuple[StageDocument | BootdError, int]:
        """Return what came of it, and how many bytes of blobs were sent for it."""
        before = self.registry.sent("blobs")
        done: StageDocument | BootdError
        try:
            done = stage(self.host, Silent(), automatic=automatic)
        except BootdError as error:
            done = error
        return done, self.registry.sent("blobs") - before


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    publish(machine.image, "v1")
    machine.upgrade()
    machine.reboot()
    with faulty_registry() as registry:
        registry.configure(machine.folder)
        yield Site(machine, registry)


def store_files(machine: Machine) -> set[str]:
    folders = ("layers", "contents", "images", "partial", "objects")
    paths = (path for name in folders for path in (machine.sysroot.store / name).rglob("*"))
    return {str(path.relative_to(machine.folder)) for path in paths if path.is_file()}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("fault", UNFIT_LAYERS)
def test_it_is_fetched_once_and_leaves_nothing(site: Site, fault: str, workers: int) -> None:
    make, kind = UNFIT_LAYERS[fault]
    site.workers = workers
    before = store_files(site.machine)
    pushed = site.push(image("v2", make(1)))
    first, fetched = site.stage()
    assert type(first) is kind
    assert fetched > SIZE
    assert store_files(site.machine) == before
    for automatic in (True, False):
        again, fetched = site.stage(automatic=automatic)
        assert isinstance(again, DeniedDigestError)
        assert first.message in again.message
        assert "denied allow" in again.hint
        assert fetched < 10_000
    (denial,) = denied(site.host).denied
    assert (denial.digest, denial.cause) == (pushed, UNFIT)
    assert site.machine.sysroot.booted() is not None


def test_it_is_tried_again_when_asked_for_and_by_another_version(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = site.push(image("v2", unknown_type(1)))
    site.stage()
    allow(site.host, pushed)
    again, fetched = site.stage(automatic=False)
    assert isinstance(again, InvalidLayerError)
    assert fetched > SIZE
    monkeypatch.setattr(unfit_list, "__version__", "0.0.1")
    assert denied(site.host).denied == []
    other, fetched = site.stage()
    assert isinstance(other, InvalidLayerError)
    assert fetched > SIZE
    assert [one.digest for one in denied(site.host).denied] == [pushed]


@pytest.mark.parametrize("text", [b"", b"{}", b"[" * 100_000, b'{"bootd": 1, "images": {}}'])
def test_a_list_that_cannot_be_read_is_none(site: Site, text: bytes) -> None:
    (site.machine.sysroot.store / "unfit.json").write_bytes(text)
    site.push(image("v2", unknown_type(1)))
    for kind in (InvalidLayerError, DeniedDigestError):
        done, _ = site.stage()
        assert isinstance(done, kind)


def test_another_image_under_the_tag_is_staged(site: Site) -> None:
    site.push(image("v2", unknown_type(1)))
    site.stage()
    site.push(image("v3", with_blob(2)))
    done, _ = site.stage()
    assert isinstance(done, StageDocument)
    assert done.changed
    assert status(site.host).unfit is None


def test_it_is_told_of(site: Site) -> None:
    site.push(image("v2", unknown_type(1)))
    first, _ = site.stage()
    assert isinstance(first, BootdError)
    told = status(site.host)
    assert told.unfit is not None
    assert first.message in told.unfit
    assert told.unfit in told.problems
    assert told.last_fallback is None
    assert check(site.host, Silent()).denied
    (denial,) = denied(site.host).denied
    why = explain(told, denial, Automatic.STAGE)
    assert why.reasons[0] is Reason.UNFIT
    assert {Reason.DENIED, Reason.UNREADABLE}.isdisjoint(why.reasons)


@pytest.mark.parametrize("kind", ["wire", "diff ID", "room"])
def test_only_what_is_proven_to_be_the_images_fault_is_kept(
    site: Site, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = image("v2", with_blob(1))
    site.push(with_another_diff_id(built) if kind == "diff ID" else built)
    if kind == "wire":
        site.registry.fail("blobs", corrupt=True, times=-1)
    if kind == "room":

        def full(*_: object, **__: object) -> None:
            raise NoSpaceError("no room")

        monkeypatch.setattr(Disk, "write_temporary", full)
    failed, _ = site.stage()
    wanted = {
        "wire": DigestMismatchError,
        "diff ID": DiffIdMismatchError,
        "room": NoSpaceError,
    }
    assert type(failed) is wanted[kind]
    assert len(denied(site.host).denied) == (kind == "diff ID")


def test_layers_of_a_pull_that_was_given_up_go_with_the_next_success(site: Site) -> None:
    left = build_image([with_blob(7), tar_layer(image_files("v2")), with_blob(1)])
    site.push(left)
    site.registry.fail(f"blobs/{left.layers[2]['digest']}", status=404, times=-1)
    failed, _ = site.stage()
    assert isinstance(failed, BootdError)
    assert (site.machine.sysroot.layers / left.diff_ids[1]).exists()
    site.push(image("v3", with_blob(2)))
    done, _ = site.stage()
    assert isinstance(done, StageDocument)
    assert not (site.machine.sysroot.layers / left.diff_ids[1]).exists()


def test_a_layer_too_large_for_any_host_is_not_asked_for(site: Site) -> None:
    built = image("v2", with_blob(1))
    size = built.layers[1]["size"]
    manifest = built.manifest.replace(b'"size":%d' % size, b'"size":%d' % (1 << 39))
    site.push(BuiltImage(manifest, built.media_type, built.blobs, built.diff_ids))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "check_space", lambda *_: None)
        failed, fetched = site.stage()
    assert isinstance(failed, InvalidLayerError)
    assert built.layers[1]["digest"] in failed.message
    assert fetched < 10_000


def test_a_preview_notes_it_too(site: Site) -> None:
    before = store_files(site.machine)
    pushed = site.push(image("v2", unknown_type(1)))
    for kind in (InvalidLayerError, DeniedDigestError):
        with pytest.raises(kind):
            preview(site.host, Silent(), digest=pushed)
        assert store_files(site.machine) == before


class Night(Clock):
    """A clock that stands at a night of many; nobody sleeps by it."""

    def __init__(self, number: int) -> None:
        object.__setattr__(self, "_number", number)

    def now(self) -> datetime:
        return SYSTEM_CLOCK.now() + timedelta(days=self._number)


def test_300_nights_of_an_unusable_image_cost_one(site: Site) -> None:
    """The timer comes each night, the publisher builds anew each month, and the fault stays."""
    before, bad = store_files(site.machine), unknown_type(1)
    nights = []
    for night in range(300):
        if night % 30 == 0:
            layers = [tar_layer(image_files("v2")), bad]
            pushed = site.push(build_image(layers, labels={"month": str(night // 30)}))
        site.clock = Night(night)
        done, fetched = site.stage()
        assert isinstance(done, DeniedDigestError if night else InvalidLayerError)
        note_attempt(site.host, "stage", done, automatic=True, user=0)
        nights.append(fetched)
    assert nights[0] > SIZE
    # The configuration is looked at, by which the image is known.
    assert max(nights[1:]) < 1_000
    assert store_files(site.machine) == before
    records = [path for path in site.machine.sysroot.store.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in records) < 100_000
    assert [one.digest for one in denied(site.host).denied][-1] == pushed
    # It was no fault of the machine: what comes then is taken.
    site.push(image("v3", with_blob(2)))
    done, _ = site.stage()
    assert isinstance(done, StageDocument)
    assert done.changed


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("fault", UNFIT_LAYERS)
def test_the_same_fault_is_known_in_an_image_that_is_built_anew(
    site: Site, fault: str, workers: int
) -> None:
    site.workers = workers
    make, kind = UNFIT_LAYERS[fault]
    layers = [tar_layer(image_files("v2")), make(1)]
    pushed = [site.push(build_image(layers, labels={"night": str(night)})) for night in range(3)]
    for night, one in enumerate(pushed):
        site.push(build_image(layers, labels={"night": str(night)}))
        done, fetched = site.stage()
        assert type(done) is (DeniedDigestError if night else kind)
        assert (fetched > SIZE) is (night == 0)
        assert denied(site.host).denied[-1].digest == one
    assert check(site.host, Silent()).denied
    assert status(site.host).unfit is not None
    allow(site.host, pushed[2])
    assert denied(site.host).denied == []
    done, _ = site.stage()
    assert type(done) is kind


def test_a_layer_that_is_wrong_by_itself_is_known_in_another_image(site: Site) -> None:
    bad = unknown_type(1)
    site.push(image("v2", bad))
    site.stage()
    site.push(image("v3", with_blob(2), bad))
    done, fetched = site.stage()
    assert isinstance(done, DeniedDigestError)
    assert fetched < 10_000


def test_a_layer_that_is_wrong_above_others_may_be_right_elsewhere(site: Site) -> None:
    link = tar_layer([(entry("usr/link", b"1", target="usr/target"), b"")])
    site.push(image("v2", link))
    done, _ = site.stage()
    assert isinstance(done, InvalidLayerError)
    site.push(image("v3", tar_layer({"usr/target": b"x"}), link))
    done, _ = site.stage()
    assert isinstance(done, StageDocument)


def test_whoever_installs_once_more_asks_for_it(tmp_path: Path) -> None:
    build_oci_layout(tmp_path / "image", [tar_layer(image_files("v1")), unknown_type(1)])
    (tmp_path / "root").mkdir()
    host = Machine(tmp_path / "root", tmp_path / "image").host
    settings = Settings(image=f"oci:{tmp_path / 'image'}:latest")
    for _ in range(2):
        with pytest.raises(InvalidLayerError):
            install(host, RootFileSystem("ext4", "0b5a4a0e-7a0c"), settings, Silent())
    assert store_files(Machine(tmp_path / "root", tmp_path / "image")) == set()


def test_a_stream_of_them_forgets_no_failure_of_this_machine(site: Site) -> None:
    def name(number: int) -> Digest:
        return Digest(f"sha256:{hashlib.sha256(b'%d' % number).hexdigest()}")

    deny(site.host, name(0), "boot-failed")
    for number in range(1, 131):
        with site.host.sysroot.lock(exclusive=True):
            facts = {"digest": name(number), "cause": UNFIT, "when": site.host.clock.now()}
            unfit_list.add_unfit(site.machine.sysroot, unfit_list.UnfitImage(**facts))
    kept = [one.digest for one in denied(site.host).denied]
    assert kept == [name(0), *(name(number) for number in range(31, 131))]
