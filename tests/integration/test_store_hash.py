"""A machine whose store names what it holds by SHA-512: its life is that of any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.installing import installable_image
from support.machine import Machine, publish

from bootd.model.errors import InvalidArgumentError
from bootd.model.hash_algorithm import SHA256, SHA512, HashAlgorithm
from bootd.operations.fsck import fsck
from bootd.operations.install import MARK_NAME, RootFileSystem, install
from bootd.operations.install_settings import Settings
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.store.images.image import EROFS_NAME
from bootd.store.objects.files import all_objects, object_path
from bootd.store.objects.measuring import measure
from bootd.store.objects.verity import verity_digest

ROOT = RootFileSystem("ext4", "0b5a4a0e-7a0c-4b0e-9d0e-2f6c1c1f7a11")


def machine_in(folder: Path) -> Machine:
    machine = Machine(folder / "root", folder / "image")
    machine.folder.mkdir()
    return machine


def install_on(machine: Machine, algorithm: HashAlgorithm) -> None:
    image = installable_image(machine.image)
    settings = Settings(image=image, hostname="web1", store_hash=algorithm.name)
    install(machine.host, ROOT, settings, Silent())


def check_store(machine: Machine, algorithm: HashAlgorithm) -> None:
    """All that is in the store has its name by one hash, and is sound."""
    sysroot = machine.sysroot
    assert sysroot.hash_algorithm() is algorithm
    objects = list(all_objects(sysroot))
    assert {len(verity) for verity in objects} == {algorithm.digest_size}
    assert fsck(machine.host, Silent()).damages == []
    for identifier in sysroot.deployment_ids():
        record = sysroot.read_deployment(identifier)
        measured = measure(sysroot.deployment(identifier) / EROFS_NAME, algorithm)
        assert record.erofs == measured.hex()
        kernel = bytes.fromhex(record.kernel.kernel_object)
        assert verity_digest(object_path(sysroot, kernel).read_bytes(), algorithm) == kernel


def test_a_machine_lives_with_sha512(tmp_path: Path) -> None:
    machine = machine_in(tmp_path)
    install_on(machine, SHA512)
    first = machine.power_on()
    (machine.etc(first) / "app.conf").write_text("setting = mine\n")
    installable_image(machine.image, "v2")
    second = machine.upgrade()
    assert machine.reboot() == second
    etc = machine.etc(second)
    # What nobody changed is the new image's: that is known by digests alone.
    assert (etc / "motd").read_text().startswith("welcome to v2")
    assert (etc / "app.conf").read_text() == "setting = mine\n"
    check_store(machine, SHA512)
    rollback(machine.host, Silent())
    assert machine.power_on() == first
    check_store(machine, SHA512)


def test_what_is_damaged_is_found_by_the_store_s_hash_and_mended(tmp_path: Path) -> None:
    machine = machine_in(tmp_path)
    machine.sysroot.initialise(SHA512)
    publish(machine.image, "v1")
    machine.upgrade()
    check_store(machine, SHA512)
    victim = max(
        (object_path(machine.sysroot, verity) for verity in all_objects(machine.sysroot)),
        key=lambda path: path.stat().st_size,
    )
    victim.chmod(0o600)
    victim.write_bytes(b"damaged")
    found = fsck(machine.host, Silent(), repair=True)
    assert str(victim) in {damage.path for damage in found.damages}
    assert not victim.exists()


@pytest.mark.parametrize(("before", "asked"), [(SHA512, SHA256), (SHA256, SHA512)])
def test_an_installation_taken_up_with_another_hash_begins_anew(
    tmp_path: Path, before: HashAlgorithm, asked: HashAlgorithm
) -> None:
    machine = machine_in(tmp_path)
    install_on(machine, before)
    check_store(machine, before)
    (machine.sysroot.store / MARK_NAME).touch()
    install_on(machine, asked)
    check_store(machine, asked)
    machine.power_on()


def test_another_hash_is_refused_before_anything_is_touched() -> None:
    settings = Settings(image="registry.example/os:stable", store_hash="md5")
    with pytest.raises(InvalidArgumentError, match="cannot have the hash 'md5'"):
        settings.check()
