"""The labels of a composed image, and what is refused because it has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.images import build_oci_layout, entry, tar_layer
from support.machine import Machine, image_files
from support.selinux import CONTEXTS, FILES, labels_of, policy_files
from support.verity import verity_digest

from bootd.model.errors import NoLabelsError
from bootd.model.tree import Directory, Metadata, RegularFile, Symlink, lookup, walk
from bootd.store.erofs import ErofsImage
from bootd.store.images.image import all_images, compose_host_layout, open_image
from bootd.store.selinux.labelling import Labeller, unlabel
from bootd.store.selinux.policy import read_policy

CONTAINER = {"security.selinux": "system_u:object_r:container_file_t:s0:c1,c2"}


def stage(folder: Path, *layers: bytes, **more: bytes | str | None):
    """Stage an image; return its tree and the machine."""
    machine = Machine(folder / "root", folder / "image")
    machine.folder.mkdir(parents=True)
    build_oci_layout(machine.image, [tar_layer(image_files("v1", **more)), *layers])
    return staged_tree(machine), machine


def staged_tree(machine: Machine) -> Directory:
    with ErofsImage.open(machine.sysroot.deployment(machine.upgrade()) / "root.erofs") as image:
        return image.root()


def test_a_composed_tree_has_the_labels_of_its_own_policy(tmp_path: Path) -> None:
    tree, machine = stage(
        tmp_path,
        **policy_files(local="/usr/bin/mine bin:bin:mine_t\n", subs_dist="/usr/lib64 /usr/lib\n"),
        **{"usr/lib64/a.so": b"", "usr/lib/a.so": b"", "usr/bin/mine": b"m", "etc/motd.d/a": b""},
        **{"var/cache/x": b"", "usr/local/bin/t": b"t"},
    )
    labels = labels_of(tree)
    expected = {
        "": "root_t", "usr": "usr_t", "usr/bin": "bin_t", "usr/bin/tool": "bin_t",
        "usr/bin/mine": "mine_t", "usr/local/bin/t": "bin_t", "usr/lib64/a.so": "lib_t",
        "usr/lib64": "usr_t", "usr/lib/a.so": "lib_t", "usr/etc": "etc_t", "etc": "etc_t",
        "usr/etc/link": "etc_link_t", "usr/etc/motd.d/a": "motd_t", "var": "var_t",
        "usr/etc/hostname": "hostname_t", "proc": "default_t", "tmp": "default_t",
    }  # fmt: skip
    assert {path: labels[path] for path in expected} == expected
    assert None not in labels.values()
    image = open_image(machine.sysroot, all_images(machine.sysroot)[0])
    var = labels_of(compose_host_layout(machine.sysroot, image.diff_ids()).var)
    assert var == {
        "": "var_t", "lib": "var_lib_t", "lib/seed": "var_lib_t", "cache": None, "cache/x": "var_t",
    }  # fmt: skip


def test_an_image_with_its_defaults_in_usr_etc_is_labelled_alike(tmp_path: Path) -> None:
    files = {f"usr/{name}": text for name, text in policy_files().items()}
    gone = {name: None for name in image_files("v1") if name.startswith("etc/")}
    moved = {f"usr/{name}": image_files("v1")[name] for name in gone if name != "etc/"}
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    kept = {name: data for name, data in image_files("v1").items() if name not in gone}
    build_oci_layout(machine.image, [tar_layer(kept | moved | files)])
    tree = staged_tree(machine)
    assert labels_of(tree)["usr/etc/hostname"] == "hostname_t"
    assert labels_of(tree)["usr/etc"] == labels_of(tree)["etc"] == "etc_t"


def test_settings_of_packages_in_usr_etc_are_labelled_where_they_are(tmp_path: Path) -> None:
    suse = {"usr/lib/os-release": b"ID=opensuse\nID_LIKE=suse\n", "usr/etc/hostname": b"x\n"}
    contexts = CONTEXTS + "/usr/etc(/.*)? a:b:vendor_t:s0\n"
    tree, _ = stage(tmp_path, **policy_files(contexts=contexts), **suse)
    labels = labels_of(tree)
    assert labels["usr/etc"] == labels["usr/etc/hostname"] == "vendor_t"
    defaults = "usr/lib/bootd/defaults/etc"
    assert labels[defaults] == "etc_t"
    assert labels[f"{defaults}/hostname"] == "hostname_t"


def layer_with_labels() -> bytes:
    return tar_layer(
        [
            (entry("usr/bin/", b"5", mode=0o755, xattrs=CONTAINER), b""),
            (entry("usr/bin/big", size=100, xattrs=CONTAINER | {"user.kept": "1"}), b"b" * 100),
            (entry("var/cache", b"5", mode=0o755, xattrs=CONTAINER), b""),
            (entry("etc/odd", size=1, xattrs=CONTAINER), b"o"),
        ]
    )


@pytest.mark.parametrize("mode", ["enforcing", None])
def test_labels_that_layers_bring_say_nothing_about_a_host(
    tmp_path: Path, mode: str | None
) -> None:
    tree, _ = stage(tmp_path, layer_with_labels(), **({} if mode is None else policy_files(mode)))
    labels = labels_of(tree)
    assert "container_file_t" not in labels.values()
    assert labels["usr/bin/big"] == ("bin_t" if mode else None)
    big = lookup(tree, b"usr/bin/big")
    assert big is not None
    assert big.metadata.xattrs.keys() - {b"security.selinux"} == {b"user.kept"}


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (policy_files(contexts=None), "there is no .*file_contexts"),
        (policy_files(contexts="# nothing"), "specifies nothing"),
        (policy_files(contexts="/usr\n"), "line 1: it gives no label"),
        (policy_files(contexts="/usr/(((bin x:y:z\n"), "line 1: the expression .* parenthesis"),
        (policy_files(contexts="#" * (5 << 20)), "5242880 bytes"),
        (policy_files(local="/a\n"), "file_contexts.local, line 1"),
        (policy_files(contexts=None) | {f"{FILES}/file_contexts": "/dev/null"}, "is no file"),
        ({"etc/selinux/config": b"SELINUX=enforcing\nSELINUXTYPE=../x\n"}, "names the policy"),
        ({"etc/selinux/config": b"SELINUX=enforcing\n"}, "selinux/targeted/contexts"),
    ],
)
def test_an_enforced_policy_that_cannot_label_is_a_refusal(
    tmp_path: Path, files: dict[str, bytes], why: str
) -> None:
    with pytest.raises(NoLabelsError, match=why) as refusal:
        stage(tmp_path, **files)
    assert len(str(refusal.value)) <= 300
    machine = Machine(tmp_path / "root", tmp_path / "image")
    assert machine.sysroot.deployment_ids() == []
    assert list(machine.sysroot.images.iterdir()) == []


@pytest.mark.parametrize("mode", ["permissive", "disabled", "sometimes"])
def test_where_nothing_is_enforced_what_can_be_labelled_is_and_nothing_is_refused(
    tmp_path: Path, mode: str
) -> None:
    tree, _ = stage(tmp_path / "a", **policy_files(mode))
    assert labels_of(tree)["usr/bin/tool"] == "bin_t"
    broken = policy_files(mode, contexts=CONTEXTS + "/usr/lib/((( x:y:z\n")
    tree, _ = stage(tmp_path / "b", **broken)
    assert set(labels_of(tree).values()) == {None}


def test_an_image_without_selinux_is_what_it_was(tmp_path: Path) -> None:
    """Its EROFS file has this digest since there are such files, but for the version it names."""
    _, machine = stage(tmp_path)
    image = bytearray(
        open_image(machine.sysroot, all_images(machine.sysroot)[0]).erofs.read_bytes()
    )
    image[12] = 0
    expected = "98c8fc9b904a4127fff0ce7c69dee9aedaa3e25e5684ac2cba3111a1904aa928"
    assert verity_digest(bytes(image)).hex() == expected


def node(path: bytes, tree: Directory):
    found = lookup(tree, path)
    assert found is not None
    return found


def test_names_of_a_file_that_are_labelled_otherwise_become_files() -> None:
    shared, alike = (RegularFile(Metadata(), 1, b"x") for _ in range(2))
    link = Symlink(Metadata(), b"to")
    tree = Directory(
        Metadata(),
        {
            b"a": Directory(Metadata(), {b"1": shared, b"2": shared, b"3": alike, b"l": link}),
            b"a-": Directory(Metadata(), {b"1": alike}),
            b"b": Directory(Metadata(), {b"1": shared, b"2": alike, b"3": shared, b"l": link}),
        },
    )
    files = {"selinux/t/contexts/files/file_contexts": b"/.* x:x:x_t\n/b/[13l] x:x:b_t\n"}
    Labeller(read_policy(files.get, "t")).label(tree)
    assert labels_of(tree) == {
        "": "x_t", "a": "x_t", "a-": "x_t", "b": "x_t", "a/1": "x_t", "a/2": "x_t", "a/3": "x_t",
        "a/l": "x_t", "a-/1": "x_t", "b/1": "b_t", "b/2": "x_t", "b/3": "b_t", "b/l": "b_t",
    }  # fmt: skip
    assert node(b"a/1", tree) is node(b"a/2", tree) is shared
    assert node(b"a/3", tree) is node(b"a-/1", tree) is node(b"b/2", tree) is alike
    assert len({id(node(path, tree)) for path in (b"a/1", b"b/1", b"b/3")}) == 3
    assert node(b"b/l", tree) is not link


def test_metadata_that_files_share_is_never_changed() -> None:
    metadata = Metadata(xattrs={b"security.selinux": b"a:b:old_t", b"user.x": b"1"})
    tree = Directory(metadata, {b"%d" % n: RegularFile(metadata, 0, b"") for n in range(9)})
    files = {"selinux/t/contexts/files/file_contexts": b"/.* x:x:x_t\n"}
    Labeller(read_policy(files.get, "t")).label(tree)
    assert set(labels_of(tree).values()) == {"x_t"}
    assert len({id(one.metadata) for _, one in walk(tree)}) == 1
    unlabel(tree)
    assert metadata.xattrs == {b"security.selinux": b"a:b:old_t", b"user.x": b"1"}
    assert [one.metadata.xattrs for _, one in walk(tree)] == [{b"user.x": b"1"}] * 9
