"""The entries on the boot partition: commit, bless, mark bad, remove, heal, at every cut."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.boot_tree import boot_entry, deployment_id, entry_names, install_test_kernel
from support.loader import counted_down, next_entry, plain, use_up_tries
from support.power import LOSSES, CutDisk, PowerCut

from bootd.boot.entries import (
    bless_entry,
    commit_entry,
    heal_entries,
    prepare_loader,
    remove_entry,
    return_try,
    with_default,
)
from bootd.boot.entry import parse_entry, render_entry
from bootd.boot.listing import list_entries, next_serial
from bootd.boot.loader.next_boot import next_boot
from bootd.durable import Disk
from bootd.model.errors import (
    InvalidBootEntryError,
    InvalidKernelArgumentsError,
    NoSpaceError,
)
from bootd.sysroot import Sysroot


def boots_next(sysroot: Sysroot) -> str | None:
    """The name, without counter, of what the loader starts; both know it alike."""
    name = next_boot(sysroot).now.name
    assert name is None or name == plain(next_entry(sysroot).file_name)
    return name


FOREIGN = "title Debian\nsort-key aaa\nversion 99\nlinux /debian/linux\n"


@pytest.fixture
def sysroot(tmp_path) -> Sysroot:
    found = Sysroot.at(tmp_path)
    install_test_kernel(found)
    return found


def _write(sysroot: Sysroot, name: str, text: str | bytes) -> None:
    path = sysroot.boot / "loader/entries" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_a_boot_partition_without_entries(sysroot):
    listing = list_entries(sysroot)
    assert (listing.entries, listing.damaged, listing.foreign) == ((), (), ())
    assert next_serial(sysroot) == 1
    assert boots_next(sysroot) is None
    assert heal_entries(sysroot) == []


def test_the_life_of_an_entry(sysroot):
    entry = boot_entry(next_serial(sysroot), tries=3)
    assert commit_entry(sysroot, entry) == "bootd-0001-000000000000000a.0+3-0.conf"
    assert list_entries(sysroot).entries == (entry,)
    path = sysroot.boot / "loader/entries" / entry.file_name
    path.rename(path.with_name(counted_down(path.name)))
    tried = replace(entry, tries_left=2, tries_done=1)
    assert list_entries(sysroot).entries == (tried,)
    assert bless_entry(sysroot, entry) == replace(entry, tries_left=None)
    assert entry_names(sysroot) == ["bootd-0001-000000000000000a.0.conf"]
    assert bless_entry(sysroot, entry) == replace(entry, tries_left=None)
    remove_entry(sysroot, entry)
    remove_entry(sysroot, entry)
    assert entry_names(sysroot) == []
    with pytest.raises(InvalidBootEntryError, match="is gone"):
        bless_entry(sysroot, entry)


@pytest.mark.parametrize("name", ["", "+0-3", "+2-1"])
def test_a_name_that_a_cut_left_without_content_is_no_entry(sysroot, name):
    entry = boot_entry(5, tries=3)
    commit_entry(sysroot, entry)
    _write(sysroot, f"bootd-0005-000000000000000a.0{name}.conf", "")
    _write(sysroot, "bootd-0006-000000000000000b.0+3-0.conf", "")
    _write(sysroot, "empty.conf", "")
    assert list_entries(sysroot).entries == (entry,)
    assert list_entries(sysroot).problems == ()
    assert boots_next(sysroot) == entry.plain_name
    assert len(heal_entries(sysroot)) == 2
    assert entry_names(sysroot) == [entry.file_name, "empty.conf"]
    bless_entry(sysroot, entry)
    assert entry_names(sysroot) == ["bootd-0005-000000000000000a.0.conf", "empty.conf"]


class _NoRoomForAFile(Disk):
    def copy_file(self, source: Path, target: Path, mode: int = 0o600) -> None:
        raise NoSpaceError(f"cannot write {target}")


def test_blessing_needs_no_room(sysroot):
    entry = boot_entry(1, tries=3)
    commit_entry(sysroot, entry)
    bless_entry(replace(sysroot, disk=_NoRoomForAFile()), entry)
    assert list_entries(sysroot).entries == (replace(entry, tries_left=None),)


def test_foreign_and_damaged_files_are_told_apart_and_left_alone(sysroot):
    _write(sysroot, "debian.conf", FOREIGN)
    _write(sysroot, "bootd-0009-000000000000000b.0.conf", "title broken\n")
    _write(sysroot, "BOOTD-0011-000000000000000C.0.CONF", "x")
    _write(sysroot, "bootd-windows.conf", "title X\nlinux /x\n")
    _write(sysroot, "notes.txt", "no entry")
    _write(sysroot, ".hidden.conf", "no entry")
    before = entry_names(sysroot)
    listing = list_entries(sysroot)
    assert listing.foreign == ("debian.conf",)
    assert [(entry.name, entry.deployment) for entry in listing.damaged] == [
        ("BOOTD-0011-000000000000000C.0.CONF", None),
        ("bootd-0009-000000000000000b.0.conf", deployment_id(0xB)),
        ("bootd-windows.conf", None),
    ]
    assert len(listing.problems) == 3
    assert next_serial(sysroot) == 12
    commit_entry(sysroot, boot_entry(12))
    assert heal_entries(sysroot) == []
    assert set(before) < set(entry_names(sysroot))
    assert boots_next(sysroot) == boot_entry(12).file_name


def test_foreign_entries_do_not_win_and_bad_ones_lose(sysroot):
    _write(sysroot, "debian.conf", FOREIGN)
    commit_entry(sysroot, boot_entry(1, deployment=1))
    commit_entry(sysroot, boot_entry(2, deployment=2, tries=1))
    assert boots_next(sysroot) == boot_entry(2, deployment=2).file_name
    use_up_tries(sysroot, boot_entry(2, deployment=2, tries=1))
    assert boots_next(sysroot) == boot_entry(1, deployment=1).file_name


@pytest.mark.parametrize(
    ("names", "true"),
    [
        (["+3-0", "+2-1"], "+2-1"),
        (["", "+3-0"], ""),
        (["", "+0-3"], ""),
        (["+0-3", "+1-2", "+3-0"], "+0-3"),
    ],
)
def test_of_two_names_the_later_one_is_true(sysroot, names, true):
    for name in names:
        text = render_entry(boot_entry(5))
        _write(sysroot, f"bootd-0005-000000000000000a.0{name}.conf", text)
    [entry] = list_entries(sysroot).entries
    assert entry.file_name == f"bootd-0005-000000000000000a.0{true}.conf"
    assert len(heal_entries(sysroot)) == len(names) - 1
    assert entry_names(sysroot) == [entry.file_name]


@pytest.mark.parametrize("names", [["+3-0", "+2-1"], ["", "+3-0"], ["+0-3", ""]])
@pytest.mark.parametrize(
    ("action", "left"), [(bless_entry, ""), (return_try, "+4-0"), (remove_entry, None)]
)
def test_a_change_leaves_one_name(sysroot, names, action, left):
    text = render_entry(boot_entry(5))
    for name in names:
        _write(sysroot, f"bootd-0005-000000000000000a.0{name}.conf", text)
    action(sysroot, boot_entry(5, tries=3))
    found = entry_names(sysroot)
    if left is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(f"bootd-0005-000000000000000a.0{left}")


def test_committing_the_same_entry_again_leaves_one_name(sysroot):
    commit_entry(sysroot, boot_entry(5, tries=3))
    commit_entry(sysroot, boot_entry(5))
    assert entry_names(sysroot) == [boot_entry(5).file_name]


@pytest.mark.parametrize(
    ("entry", "kind", "problem"),
    [
        (boot_entry(5, deployment=0xB), InvalidBootEntryError, "serial 5 is taken"),
        (replace(boot_entry(6), linux="/bootd/x/vmlinuz"), InvalidBootEntryError, "not there"),
        (replace(boot_entry(6), arguments=("a b",)), InvalidKernelArgumentsError, "space"),
    ],
)
def test_entries_that_are_not_committed(sysroot, entry, kind, problem):
    commit_entry(sysroot, boot_entry(5))
    with pytest.raises(kind, match=problem):
        commit_entry(sysroot, entry)
    assert entry_names(sysroot) == [boot_entry(5).file_name]


def test_the_last_serial(sysroot):
    _write(sysroot, "bootd-999999999-x.conf", "title x\n")
    with pytest.raises(InvalidBootEntryError, match="999999999"):
        next_serial(sysroot)


def test_a_folder_with_too_many_files(sysroot):
    for number in range(10_001):
        _write(sysroot, f"{number}.conf", "")
    with pytest.raises(InvalidBootEntryError, match="10001 files"):
        list_entries(sysroot)


CONFIGURATIONS = [
    (b"", b"default bootd-*\n"),
    (b"timeout 3", b"timeout 3\ndefault bootd-*\n"),
    (b"# x\r\ntimeout 3\n", b"# x\r\ntimeout 3\ndefault bootd-*\n"),
    (b"default debian.conf\ntimeout 3\n", b"timeout 3\ndefault bootd-*\n"),
    (b"timeout 3\n  default  @saved\n", b"timeout 3\ndefault bootd-*\n"),
    (b"default bootd-*\ntimeout 3\n", b"default bootd-*\ntimeout 3\n"),
    (b"default bootd-*\ndefault x\n", b"default bootd-*\n"),
    (b"#default x\ndefaults y\n", b"#default x\ndefaults y\ndefault bootd-*\n"),
    (b"default\n\xff\n", b"\xff\ndefault bootd-*\n"),
]


@pytest.mark.parametrize(("before", "after"), CONFIGURATIONS)
def test_the_loader_s_configuration(before, after):
    assert with_default(before) == after
    assert with_default(after) == after


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([b"default x", b"timeout 3", b"", b"# y", b"editor no"])))
def test_other_lines_of_the_configuration_stay(lines):
    after = with_default(b"\n".join(lines))
    kept = [line for line in lines if line and not line.startswith(b"default")]
    assert [line for line in after.splitlines() if line] == [*kept, b"default bootd-*"]


@pytest.mark.parametrize(
    ("pattern", "others", "stays"),
    [
        ("arch-*", ["arch-linux.conf"], True),
        ("ARCH.conf", ["arch.conf"], True),
        ("arch-*", ["fedora.conf"], True),
        ("arch-*", [], False),
        ("*", ["arch.conf"], True),
        ("linux-6.1.efi", ["linux-6.1.efi"], True),
        ("@saved", ["arch.conf"], True),
        ("@saved", [], False),
        ("auto-windows", [], True),
        ("bootd-0003-*", ["arch.conf"], False),
        ("bootd-0003-*", ["bootd-0003-of-a-neighbour.conf"], True),
    ],
)
def test_a_default_of_another_system_stays(pattern, others, stays):
    before = f"timeout 3\r\n\tdefault  {pattern}\neditor no".encode()
    assert (with_default(before, others) == before) is stays


def test_another_system_s_default_is_kept_and_told(sysroot):
    theirs = b"timeout 3\ndefault arch-*\neditor no\n"
    _write(sysroot, "arch-linux+2-1.conf", "title Arch\nlinux /arch\n")
    loader = sysroot.boot / "loader/loader.conf"
    loader.write_bytes(theirs)
    commit_entry(sysroot, boot_entry(1))
    assert loader.read_bytes() == theirs
    assert boots_next(sysroot) == "arch-linux.conf"
    (sysroot.boot / "loader/entries/arch-linux+2-1.conf").unlink()
    commit_entry(sysroot, boot_entry(2, deployment=2))
    assert loader.read_bytes() == b"timeout 3\neditor no\ndefault bootd-*\n"


def test_a_kernel_image_of_another_system_may_be_the_default(sysroot):
    images = sysroot.boot / "EFI/Linux"
    images.mkdir(parents=True)
    (images / "debian-6.12+3.EFI").write_bytes(b"MZ")
    (sysroot.boot / "loader").mkdir()
    (sysroot.boot / "loader/loader.conf").write_text("default debian-6.12.efi\n")
    commit_entry(sysroot, boot_entry(1))
    assert (sysroot.boot / "loader/loader.conf").read_text() == "default debian-6.12.efi\n"


def test_the_loader_is_prepared_once(sysroot):
    (sysroot.boot / "loader").mkdir()
    (sysroot.boot / "loader/entries.srel").write_text("ostree\n")
    prepare_loader(sysroot)
    assert (sysroot.boot / "loader/entries.srel").read_text() == "ostree\n"
    assert (sysroot.boot / "loader/loader.conf").read_text() == "default bootd-*\n"
    disk = CutDisk(sysroot.physical / "limbo", cut=0)
    prepare_loader(Sysroot.at(sysroot.physical, disk))
    assert disk.steps == []


OLD, NEW = boot_entry(1, deployment=1), boot_entry(2, deployment=2, tries=3)
CHANGES = {
    "commit": (partial(commit_entry, entry=NEW), [], (OLD, NEW)),
    "bless": (partial(bless_entry, entry=NEW), [NEW], (NEW, NEW)),
    "return a try": (partial(return_try, entry=NEW), [NEW], (NEW, NEW)),
    "remove": (partial(remove_entry, entry=NEW), [NEW], (NEW, OLD)),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("change", "more", "boots"), CHANGES.values(), ids=CHANGES.keys())
def test_a_power_cut_at_any_step_leaves_a_machine_that_boots(tmp_path, change, more, boots, loss):
    before = Sysroot.at(tmp_path / "before")
    install_test_kernel(before)
    for entry in [OLD, *more]:
        commit_entry(before, entry)
    for cut in range(20):
        folder = tmp_path / str(cut)
        shutil.copytree(before.physical, folder)
        disk = CutDisk(tmp_path / f"limbo-{cut}", cut)
        try:
            change(Sysroot.at(folder, disk))
        except PowerCut:
            finished = False
        else:
            finished = True
        disk.lose(loss)
        after = Sysroot.at(folder)
        chosen = next_entry(after)
        text = (after.boot / "loader/entries" / chosen.file_name).read_bytes()
        deployment = parse_entry(chosen.file_name, text).deployment
        assert deployment in {entry.deployment for entry in boots}
        change(after)
        heal_entries(after)
        assert not [name for name in entry_names(after) if name.startswith(".new-")]
        assert not list_entries(after).damaged
        assert _deployment_that_boots(after) == boots[1].deployment
        if finished:
            assert deployment == boots[1].deployment
            assert cut > 0
            return
    pytest.fail("it never finished")


def _deployment_that_boots(sysroot: Sysroot):
    name = next_entry(sysroot).file_name
    return parse_entry(name, (sysroot.boot / "loader/entries" / name).read_bytes()).deployment
