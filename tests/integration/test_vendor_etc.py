"""An image whose packages have settings in ``/usr/etc``, from the first boot to a rollback."""

from __future__ import annotations

from pathlib import Path

from support.machine import installed, publish

from bootd.model.tree import RegularFile, lookup
from bootd.operations.etc.merge import defaults_in
from bootd.operations.fsck import fsck
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.store.erofs import ErofsImage

MORE: dict[str, bytes | str | None] = {
    "usr/lib/os-release": b'ID="opensuse-microos"\nID_LIKE="suse opensuse"\n',
    "usr/etc/": None,
    "usr/etc/login.defs": b"UMASK 022\n" * 20,
    "usr/etc/app.conf": b"what the package says\n" * 9,
    "etc/resolv.conf": b"",
}


def test_it_is_carried_over_like_any_other(tmp_path: Path) -> None:
    machine = installed(tmp_path, **MORE)
    first = machine.sysroot.booted()
    assert first is not None
    assert not (machine.etc(first) / "login.defs").exists()
    assert not (machine.etc(first) / "resolv.conf").exists()
    second = machine.upgrade()
    machine.reboot()
    etc = machine.etc(second)
    assert (etc / "app.conf").read_text() == "setting = v2\n"
    assert (etc / "hostname").read_text() == "my-machine\n"
    assert (etc / "local.conf").exists()
    assert not (etc / "login.defs").exists()
    erofs = machine.sysroot.deployment(second) / "root.erofs"
    with ErofsImage.open(erofs) as image:
        vendor = image.lookup(b"usr/etc")
        assert vendor is not None
        assert isinstance(lookup(image.lookup(b"usr") or vendor, b"etc/login.defs"), RegularFile)
    with defaults_in(erofs) as defaults:
        assert {b"app.conf", b"hostname", b"motd"} <= defaults.entries.keys()
        assert b"login.defs" not in defaults.entries
    rollback(machine.host, Silent())
    assert machine.reboot() == first
    assert fsck(machine.host, Silent()).damages == []


def test_a_machine_may_come_from_an_image_without_and_go_back(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    publish(machine.image, "v3", **MORE)
    third = machine.upgrade()
    machine.reboot()
    assert (machine.etc(third) / "app.conf").read_text() == "setting = v3\n"
    assert (machine.etc(third) / "hostname").read_text() == "my-machine\n"
    publish(machine.image, "v4")
    fourth = machine.upgrade()
    machine.reboot()
    assert (machine.etc(fourth) / "app.conf").read_text() == "setting = v4\n"
    assert (machine.etc(fourth) / "hostname").read_text() == "my-machine\n"
