"""Images in the store: composed, opened, checked, repaired, collected, and after a power cut."""

import json
import os
from pathlib import Path

import pytest
from support.images import OCI_LAYER, build_image, entry, tar_layer
from support.power import CutDisk, PowerCut
from support.stored_layer import stored_layer
from support.verity import verity_digest

from bootd.model.digest import Digest
from bootd.model.errors import (
    DamagedImageError,
    DamagedObjectError,
    DamagedRecordError,
    InvalidArgumentError,
    InvalidLayerError,
    KernelTooOldError,
    NoSpaceError,
    UnknownFormatError,
)
from bootd.model.hash_algorithm import SHA256
from bootd.model.registry.image import CachedCheck, Descriptor, ResolvedImage
from bootd.model.tree import Metadata, RegularFile, lookup
from bootd.registry.manifest import parse_config, parse_manifest
from bootd.store.contents import StoreContents
from bootd.store.images.growing_tree import GrowingTree
from bootd.store.images.image import (
    all_images,
    compose_host_layout,
    compose_image,
    has_image,
    image_path,
    open_image,
)
from bootd.store.importing import importing
from bootd.store.layer_index import WrittenLayer
from bootd.store.layers import all_layers, has_layer, layer_path
from bootd.store.mount import check_kernel, mounted_tree
from bootd.store.objects.files import ObjectWriter, all_objects, object_path
from bootd.store.objects.measuring import measure
from bootd.store.upkeep.collect import sweep
from bootd.store.upkeep.fsck import check_store
from bootd.store.upkeep.references import referenced_objects
from bootd.store.upkeep.space import Space, check_space, needed_space
from bootd.sysroot import Sysroot

BASE = tar_layer({"usr/bin/tool": b"tool" * 100, "etc/motd": b"m" * 100, "var/seed": b"seed"})
V1 = tar_layer({"usr/lib/version": b"one" * 100})
V2 = tar_layer({"usr/lib/version": b"two" * 100, "usr/bin/.wh.tool": b""})


def resolved(*layers):
    built = build_image(layers, compression="none")
    manifest = parse_manifest(built.manifest, built.media_type)
    config_bytes = built.blobs[manifest.config.digest]
    return ResolvedImage(
        reference="oci:/images:latest",
        digest=Digest(built.digest),
        manifest=manifest,
        manifest_bytes=built.manifest,
        config=parse_config(config_bytes, manifest),
        config_bytes=config_bytes,
        seen=CachedCheck(
            reference="oci:/images:latest", platform="", top=built.digest, digest=built.digest
        ),
    )


def bring(sysroot, *layers):
    image = resolved(*layers)
    for (_, diff_id), layer in zip(image.layers, layers, strict=True):
        if not has_layer(sysroot, diff_id):
            stored_layer(sysroot, [layer], media_type=OCI_LAYER, diff_id=diff_id)
    return compose_image(sysroot, image).publish()


def quiet(*_):
    pass


@pytest.fixture
def sysroot(tmp_path):
    made = Sysroot.at(tmp_path / "root")
    made.initialise()
    return made


def another_boot(sysroot, name="another"):
    boot_id = sysroot.physical / "boot-id"
    boot_id.write_text(name)
    return Sysroot(sysroot.physical, sysroot.boot, sysroot.run, sysroot.command_line,
                   sysroot.disk, boot_id)  # fmt: skip


def test_compose_and_open(sysroot):
    composed = bring(sysroot, BASE, V1)
    opened = open_image(sysroot, composed.digest)
    assert opened.erofs_verity == composed.erofs_verity == measure(opened.erofs, SHA256).hex()
    assert opened.erofs == image_path(sysroot, composed.digest) / "root.erofs"
    assert Digest.of(opened.manifest_bytes()) == composed.digest
    assert len(opened.diff_ids()) == 2
    for image in (composed, opened):
        tree = image.tree(b"usr/etc", b"etc", b"var", b"nowhere/at/all")
        motd = lookup(tree, b"usr/etc/motd")
        assert opened.contents.read(motd) == b"m" * 100
        assert lookup(tree, b"etc").entries == {}
        assert lookup(tree, b"var").entries == {}
        assert tree.entries.keys() == {b"usr", b"etc", b"var"}
    assert has_image(sysroot, composed.digest)
    assert compose_image(sysroot, resolved(BASE, V1)).publish().erofs == opened.erofs


def test_an_image_has_its_digest_again_in_the_store_of_an_older_version(sysroot):
    """A new store calls its images version 1 of composefs; an older one goes on with 0."""
    new = bring(sysroot, BASE, V1)
    assert new.erofs.read_bytes()[12] == 1
    path = sysroot.store / "format.json"
    record = json.loads(path.read_bytes())
    assert record.pop("composefs") == 1
    path.write_text(json.dumps(record))
    sysroot.disk.remove_tree(image_path(sysroot, new.digest))
    old = bring(sysroot, BASE, V1)
    assert old.erofs.read_bytes()[12] == 0
    assert open_image(sysroot, old.digest).erofs_verity != new.erofs_verity


def test_images_var_is_found_through_its_layers(sysroot):
    image = bring(sysroot, BASE)
    layout = compose_host_layout(sysroot, open_image(sysroot, image.digest).diff_ids())
    assert lookup(layout.var, b"seed").content == b"seed"


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_tree_that_grew_while_a_layer_was_missing_makes_the_same_image(sysroot, steps):
    """However much of it there was when the layer came, and when one stands in the image twice."""
    layers = (BASE, V2, BASE, V1)
    missing = Digest.of(V2)
    expected = bring(sysroot, *layers).erofs_verity
    layer_path(sysroot, missing).unlink()
    sysroot.disk.remove_tree(image_path(sysroot, resolved(*layers).digest))
    tree = GrowingTree(sysroot, resolved(*layers).config.diff_ids, {missing})
    assert all(tree.grow() for _ in range(steps))
    tree.arrived(stored_layer(sysroot, [V2], media_type=OCI_LAYER, diff_id=missing))
    image = compose_image(sysroot, resolved(*layers), tree).publish()
    assert image.erofs_verity == expected


def test_a_tree_waits_for_the_missing_layer_with_what_stands_above_it_read(sysroot, tmp_path):
    bring(sysroot, BASE, V1)
    tree = GrowingTree(sysroot, [Digest.of(BASE), Digest.of(V2), Digest.of(V1)], {Digest.of(V2)})
    assert [tree.grow() for _ in range(3)] == [True, True, False]
    tree.arrived(WrittenLayer(Digest.of(V2), tmp_path / "gone", 1, 1))
    with pytest.raises(DamagedRecordError):
        tree.grow()


def test_a_tree_does_not_grow_by_a_damaged_layer(sysroot):
    bring(sysroot, BASE, V1)
    path = layer_path(sysroot, Digest.of(BASE))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedRecordError, match="damaged"):
        GrowingTree(sysroot, [Digest.of(BASE), Digest.of(V1)]).whole()


def test_composing_without_a_layer(sysroot):
    with pytest.raises(DamagedRecordError, match="missing"):
        compose_image(sysroot, resolved(BASE))
    assert all_images(sysroot) == []


def test_composing_what_cannot_be(sysroot):
    with pytest.raises(InvalidLayerError, match="hard link to '/nothing'"):
        bring(sysroot, tar_layer([(entry("a", b"1", target="nothing"), b"")]))
    assert not list(sysroot.images.iterdir())


@pytest.mark.parametrize("name", ["root.erofs", "image.json"])
@pytest.mark.parametrize("damage", ["altered", "empty", "missing"])
def test_a_damaged_image_is_refused_and_composed_anew(sysroot, name, damage):
    image = bring(sysroot, BASE)
    path = image.folder / name
    data = bytearray(path.read_bytes())
    path.unlink()
    data[len(data) // 2] ^= 1
    if damage != "missing":
        path.write_bytes(data if damage == "altered" else b"")
    with pytest.raises((DamagedImageError, DamagedRecordError), match=str(path)):
        open_image(sysroot, image.digest)
    assert compose_image(sysroot, resolved(BASE)).publish().erofs_verity == image.erofs_verity
    assert open_image(sysroot, image.digest).erofs_verity == image.erofs_verity


def test_an_image_from_the_future_is_left_alone(sysroot):
    image = bring(sysroot, BASE)
    path = image.folder / "image.json"
    record = json.loads(path.read_bytes())
    path.chmod(0o600)
    path.write_text(json.dumps({**record, "format": 2}))
    with pytest.raises(UnknownFormatError, match="format 2"):
        compose_image(sysroot, resolved(BASE))


@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
def test_damaged_manifests_and_configurations(sysroot, name):
    image = bring(sysroot, BASE)
    path = image.folder / name
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DamagedRecordError, match=name):
        image.diff_ids()


def test_contents(sysroot):
    contents = StoreContents(sysroot)
    data = b"x" * 5000
    (verity,) = ObjectWriter(sysroot).add_all([data])
    file = RegularFile(Metadata(), len(data), verity=verity)
    assert contents.measure([data[:4000], data[4000:]]) == verity
    assert contents.read(file) == data
    assert contents.read(RegularFile(Metadata(), 2, b"hi")) == b"hi"
    with os.fdopen(contents.open(file), "rb") as stream:
        assert stream.read() == data
    with pytest.raises(DamagedObjectError, match="has 5000 bytes, not 4000"):
        contents.read(RegularFile(Metadata(), 4000, verity=verity))
    with pytest.raises(DamagedObjectError, match="missing"):
        contents.open(RegularFile(Metadata(), 100, verity=bytes(32)))


def test_streams_become_objects_once(sysroot):
    writer = ObjectWriter(sysroot)
    pieces = [b"a" * 100_000, b"b" * 7]
    verity = verity_digest(b"".join(pieces))
    assert writer.add_stream(iter(pieces)) == writer.add_stream(iter(pieces)) == verity
    assert writer.add_all([b"".join(pieces)]) == [verity]
    assert list(all_objects(sysroot)) == [verity]
    assert [path.name for path in sysroot.objects.iterdir()] == [verity.hex()[:2]]


def test_the_sound_store_has_no_damage(sysroot):
    bring(sysroot, BASE, V1)
    told = []
    checked = check_store(
        sysroot, repair=True, report=lambda done, total: told.append((done, total))
    )
    assert (checked.damages, checked.objects, checked.images) == ([], 3, 1)
    assert told[-1] == (checked.bytes, checked.bytes)


def damage_object(sysroot, content, damage):
    path = object_path(sysroot, verity_digest(content))
    path.unlink()
    if damage != "missing":
        path.write_bytes(b"" if damage == "empty" else b"X" + content[1:])
    return path


@pytest.mark.parametrize("damage", ["altered", "empty", "missing"])
def test_a_damaged_object_is_named_and_its_layers_are_fetched_again(sysroot, damage):
    bring(sysroot, BASE, V1)
    image = bring(sysroot, BASE, V2)
    path = damage_object(sysroot, b"one" * 100, damage)
    layer = layer_path(sysroot, resolved(V1).config.diff_ids[0])
    named = check_store(sysroot, repair=False, report=quiet).damages
    assert [one.repaired for one in named] == [False] * len(named)
    assert layer.exists()
    repaired = check_store(sysroot, repair=True, report=quiet).damages
    assert [(one.what, one.path) for one in repaired] == [(one.what, one.path) for one in named]
    places = {one.path for one in repaired}
    expected = {str(layer), str(image_path(sysroot, resolved(BASE, V1).digest))}
    assert places == (expected if damage == "missing" else {*expected, str(path)})
    assert not layer.exists()
    assert all_images(sysroot) == [image.digest]
    bring(sysroot, BASE, V1)
    assert check_store(sysroot, repair=False, report=quiet).damages == []


@pytest.mark.parametrize("name", ["root.erofs", "image.json", "config.json", "manifest.json"])
def test_damaged_images_are_named(sysroot, name):
    image = bring(sysroot, BASE)
    path = image.folder / name
    path.chmod(0o600)
    path.write_bytes(b"{}")
    (damage,) = check_store(sysroot, repair=True, report=quiet).damages
    assert (damage.what, damage.path, damage.repaired) == ("image", str(image.folder), True)
    assert name in damage.problem
    assert not image.folder.exists()
    assert bring(sysroot, BASE).erofs_verity == image.erofs_verity


def test_damaged_layer_indexes_are_named(sysroot):
    bring(sysroot, BASE, V1)
    path = layer_path(sysroot, all_layers(sysroot)[0])
    path.write_bytes(path.read_bytes()[:-1])
    (damage,) = check_store(sysroot, repair=True, report=quiet).damages
    assert (damage.what, damage.path) == ("layer", str(path))
    assert not path.exists()


def test_sweeping_keeps_what_kept_images_need(sysroot):
    bring(sysroot, BASE, V1)
    kept = bring(sysroot, BASE, V2)
    (sysroot.partial / "download").write_bytes(b"x" * 1000)
    (sysroot.partial / "slow").touch()
    with (sysroot.partial / "slow").open("r+b") as after_a_hole:
        after_a_hole.seek(1 << 20)
        after_a_hole.write(b"x" * 4096)
    (sysroot.objects / "ab").mkdir(exist_ok=True)
    (sysroot.objects / "ab/.new-1-left").write_bytes(b"x")
    (sysroot.objects / ".new-1-stream").write_bytes(b"x")
    swept = sweep(sysroot, {kept.digest}, quiet)
    assert (swept.images, swept.layers, swept.objects, swept.partial_downloads) == (1, 1, 1, 2)
    assert swept.freed_bytes == 1300 + 4096
    assert all_images(sysroot) == [kept.digest]
    assert set(all_objects(sysroot)) == referenced_objects(sysroot)
    assert not list(sysroot.objects.glob("**/.new-*"))
    assert check_store(sysroot, repair=False, report=quiet).damages == []
    assert sweep(sysroot, {kept.digest}, quiet).objects == 0


def test_sweeping_keeps_what_a_deployment_needs(sysroot):
    image = bring(sysroot, BASE)
    folder = sysroot.deployments / "0123456789abcdef.0"
    folder.mkdir()
    os.link(image.erofs, folder / "root.erofs")
    swept = sweep(sysroot, set(), quiet)
    assert (swept.images, swept.layers, swept.objects) == (1, 1, 0)
    (folder / "root.erofs").unlink()
    assert sweep(sysroot, set(), quiet).objects == 2
    assert list(all_objects(sysroot)) == []


@pytest.mark.parametrize("what", ["layer", "erofs", "config"])
def test_nothing_goes_when_what_is_needed_cannot_be_known(sysroot, what):
    image = bring(sysroot, BASE)
    bring(sysroot, V1)
    path = {
        "layer": layer_path(sysroot, image.diff_ids()[0]),
        "erofs": image.erofs,
        "config": image.folder / "config.json",
    }[what]
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    before = set(all_objects(sysroot))
    with pytest.raises((DamagedImageError, DamagedRecordError)):
        sweep(sysroot, {image.digest}, quiet)
    assert set(all_objects(sysroot)) == before


def fail_after_adding(sysroot, content):
    ObjectWriter(sysroot).add_all([content])
    raise InvalidLayerError("stop")


def test_an_import_of_this_boot_is_taken_up(sysroot):
    with pytest.raises(InvalidLayerError), importing(sysroot):
        fail_after_adding(sysroot, b"left" * 100)
    assert (sysroot.store / "importing.json").exists()
    with importing(sysroot):
        assert len(list(all_objects(sysroot))) == 1
    assert not (sysroot.store / "importing.json").exists()


def test_objects_that_nothing_vouches_for_do_not_outlive_a_power_cut(sysroot):
    image = bring(sysroot, BASE)
    with pytest.raises(InvalidLayerError), importing(sysroot):
        fail_after_adding(sysroot, b"torn" * 100)
    path = object_path(sysroot, verity_digest(b"torn" * 100))
    path.chmod(0o600)
    path.write_bytes(b"")
    with importing(another_boot(sysroot)):
        assert not path.exists()
        assert len(list(all_objects(sysroot))) == 2
    assert open_image(sysroot, image.digest)
    assert check_store(sysroot, repair=False, report=quiet).damages == []


def test_after_an_import_that_ended_nothing_is_removed(sysroot):
    with importing(sysroot):
        ObjectWriter(sysroot).add_all([b"kept" * 100])
    with importing(another_boot(sysroot)):
        assert len(list(all_objects(sysroot))) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_a_damaged_mark_is_one_of_another_boot(sysroot, text):
    ObjectWriter(sysroot).add_all([b"unvouched" * 100])
    (sysroot.store / "importing.json").write_text(text)
    with importing(sysroot):
        assert list(all_objects(sysroot)) == []


@pytest.mark.parametrize("loss", ["killed", "torn", "lost"])
def test_the_power_may_go_at_any_step_of_an_upgrade(tmp_path, loss):
    """After any cut the same upgrade gives a store without damage."""
    whole = CutDisk(tmp_path / "limbo")
    upgrade(Sysroot.at(tmp_path / "whole", whole))
    for cut in range(len(whole.steps)):
        disk = CutDisk(tmp_path / f"limbo{cut}", cut)
        folder = tmp_path / f"cut{cut}"
        with pytest.raises(PowerCut):
            upgrade(Sysroot.at(folder, disk))
        disk.lose(loss)
        after = Sysroot.at(folder)
        if loss != "killed":
            after = another_boot(after) if folder.exists() else after
        if folder.exists() and (folder / "bootd/images").is_dir():
            for digest in all_images(after):
                open_image(after, digest)
        folder.mkdir(exist_ok=True)
        after = another_boot(Sysroot.at(folder)) if loss != "killed" else Sysroot.at(folder)
        upgrade(after)
        assert check_store(after, repair=False, report=quiet).damages == []


def upgrade(sysroot):
    sysroot.initialise()
    with importing(sysroot):
        for layer in (BASE, V2):
            diff_id = resolved(layer).config.diff_ids[0]
            if not has_layer(sysroot, diff_id):
                stored_layer(sysroot, [layer], media_type=OCI_LAYER, diff_id=diff_id)
    compose_image(sysroot, resolved(BASE, V2)).publish()


def test_space():
    digest = Digest("sha256:" + "0" * 64)
    gzip = Descriptor(
        mediaType=OCI_LAYER + "+gzip", digest=digest, size=700_000_000, annotations={}
    )
    nothing, some = needed_space([]), needed_space([gzip])
    assert 2_000_000_000 < some.bytes - nothing.bytes < 4_000_000_000
    assert 60_000 < some.inodes - nothing.inodes < 200_000


def test_check_space(tmp_path):
    check_space(tmp_path, Space(1, 1))
    with pytest.raises(NoSpaceError, match=r"MB free, and the image may need 1,000,000,000 MB"):
        check_space(tmp_path, Space(10**15, 1))


def test_check_space_of_inodes():
    with pytest.raises(NoSpaceError, match=r"inodes free, and the image may need 99999999999"):
        check_space(Path("/dev/shm"), Space(1, 99_999_999_999))


@pytest.mark.parametrize("release", ["6.6.0", "6.6", "6.18.44-x", "10.0-rc1"])
def test_kernels_that_can(release):
    check_kernel(release)


@pytest.mark.parametrize("release", ["6.5.13", "5.15.0", "4.4", "", "unknown"])
def test_kernels_that_cannot(release):
    with pytest.raises(KernelTooOldError, match=r"6\.6"):
        check_kernel(release)


def test_paths_that_mount_options_cannot_hold(tmp_path):
    folder = tmp_path / "a:b"
    folder.mkdir()
    with pytest.raises(InvalidArgumentError, match="a:b"), mounted_tree(folder, folder, folder):
        pass
