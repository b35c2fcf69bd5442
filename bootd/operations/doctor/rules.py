"""The judgement of ``doctor``: facts in, findings and commands out, and no look at anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from bootd.boot.loader.firmware import WIDTHS
from bootd.model.config import Automatic
from bootd.model.doctor import DoctorFinding, Fit, NextCommand
from bootd.model.errors import KernelTooOldError
from bootd.operations.doctor.facts import BootPartitionFacts, MachineFacts
from bootd.store.mount import check_kernel

MINIMUM_SYSTEMD: Final = 254
"""As the package depends on it."""
WANTED_BOOT_BYTES: Final = 500 << 20
"""Two kernels with a large initramfs each, and what firmware and others keep there."""
WANTED_ROOT_BYTES: Final = 4 << 30
"""An image of a server, twice, where hardly any file is the same."""
_MEBIBYTE: Final = 1 << 20
_VERITY: Final = frozenset({"ext4", "btrfs"})


def findings(facts: MachineFacts) -> list[DoctorFinding]:
    """Return what there is to say of a machine, in the order in which it starts."""
    found = [
        _firmware(facts),
        _secure_boot(facts),
        _boot_loader(facts),
        _boot_partition(facts),
        _disk(facts),
        *_layers(facts),
        _kernel(facts),
        _systemd(facts),
        *_updates(facts),
    ]
    return [finding for finding in found if finding is not None]


def next_commands(facts: MachineFacts, found: Sequence[DoctorFinding]) -> list[NextCommand]:
    """Return the commands that lead on from here.

    Args:
        facts: the machine.
        found: what `findings` says of it.
    """
    if facts.updates is not None:
        return list(_on_a_machine(facts))
    ways = [
        NextCommand(command="bootctl-py lint ROOT", purpose="check an image that you build"),
        NextCommand(
            command="bootctl-py install to-disk DEVICE --generic-image --image REFERENCE",
            purpose="put an image on another disk, or into a file for a virtual machine",
        ),
    ]
    if not any(finding.fit is Fit.BLOCKS for finding in found):
        ways.append(
            NextCommand(
                command="bootctl-py install to-disk DEVICE --image REFERENCE",
                purpose="install this machine, from a live system or on a second disk",
            )
        )
    return ways


def _on_a_machine(facts: MachineFacts) -> Iterator[NextCommand]:
    assert facts.updates is not None
    if facts.updates.image is None:
        yield NextCommand(
            command="bootctl-py switch REFERENCE", purpose="say which image it follows"
        )
    elif facts.updates.staged:
        yield NextCommand(command="bootctl-py apply", purpose="restart into what is staged")
    else:
        yield NextCommand(command="bootctl-py upgrade", purpose="fetch the newest image")
    if facts.updates.held_by is not None:
        yield NextCommand(command="bootctl-py release", purpose="let automatic updates go on")
    if facts.updates.problems:
        yield NextCommand(command="bootctl-py why", purpose="see what else is in the way")


def _finding(topic: str, fit: Fit, text: str, hint: str = "") -> DoctorFinding:
    return DoctorFinding(topic=topic, fit=fit, text=text, hint=hint)


def _firmware(facts: MachineFacts) -> DoctorFinding:
    topic, wanted = "firmware", WIDTHS.get(facts.architecture)
    if wanted is None:
        known = ", ".join(sorted(WIDTHS))
        return _finding(
            topic, Fit.BLOCKS, f"of {facts.architecture}", f"bootd knows the loaders of {known}."
        )
    if not facts.efi:
        return _finding(
            topic,
            Fit.BLOCKS,
            "a BIOS, or EFI firmware in its compatibility mode, started this machine",
            "Switch the firmware to UEFI: bootd has no boot loader for any other.",
        )
    if facts.efi_width not in ("", wanted):
        return _finding(
            topic,
            Fit.BLOCKS,
            f"{facts.efi_width}-bit EFI on {facts.architecture}",
            "It starts no loader that images have.",
        )
    return _finding(topic, Fit.FITS, f"EFI on {facts.architecture}")


def _secure_boot(facts: MachineFacts) -> DoctorFinding | None:
    topic = "Secure Boot"
    if not facts.efi:
        return None
    if facts.secure_boot is None:
        return _finding(topic, Fit.UNKNOWN, "the firmware does not say")
    if facts.secure_boot:
        return _finding(
            topic,
            Fit.LOOK,
            "on",
            "Boot loader and kernel of the image have to be signed with a key the firmware has.",
        )
    return _finding(topic, Fit.FITS, "off")


def _boot_loader(facts: MachineFacts) -> DoctorFinding:
    topic = "boot loader"
    if facts.loader.startswith("systemd-boot"):
        return _finding(topic, Fit.FITS, facts.loader)
    if facts.loader or facts.grub:
        return _finding(
            topic,
            Fit.LOOK,
            facts.loader or "GRUB",
            "An installation brings systemd-boot and has the firmware start it first.",
        )
    return _finding(
        topic,
        Fit.UNKNOWN,
        "it leaves no word of itself",
        "An installation brings systemd-boot and has the firmware start it first.",
    )


def _boot_partition(facts: MachineFacts) -> DoctorFinding:
    topic = "boot partition"
    if facts.boot_partitions is None:
        return _finding(topic, Fit.UNKNOWN, "the disks could not be listed", "Run it as root.")
    if not facts.boot_partitions:
        return _finding(
            topic,
            Fit.LOOK,
            "there is none",
            "'install to-disk' makes one; 'install to-filesystem' needs one that you made.",
        )
    mounted = [one for one in facts.boot_partitions if one.free is not None]
    if not mounted:
        devices = ", ".join(one.device for one in facts.boot_partitions)
        return _finding(
            topic,
            Fit.UNKNOWN,
            f"{devices}, not mounted",
            f"Mount it, so that its room is known: mount {facts.boot_partitions[0].device} /efi",
        )
    return _boot_room(topic, max(mounted, key=lambda one: one.size or 0))


def _boot_room(topic: str, largest: BootPartitionFacts) -> DoctorFinding:
    size, free = largest.size or 0, largest.free or 0
    text = (
        f"{largest.device} at {largest.point}: {free // _MEBIBYTE} of {size // _MEBIBYTE} MiB free"
    )
    if size < WANTED_BOOT_BYTES:
        return _finding(
            topic,
            Fit.LOOK,
            text,
            f"Kernels of two deployments and a third that is coming want "
            f"{WANTED_BOOT_BYTES // _MEBIBYTE} MiB; 'install to-disk' makes 1 GiB.",
        )
    return _finding(topic, Fit.FITS, text)


def _disk(facts: MachineFacts) -> DoctorFinding:
    topic, root = "disk", facts.root
    if root is None:
        return _finding(
            topic,
            Fit.UNKNOWN,
            "the root is on no disk that can be seen",
            "Look at the machine itself: this may be a container or a live system.",
        )
    text = f"{root.file_system} on {root.device}, {root.free // _MEBIBYTE} MiB free"
    if root.file_system not in _VERITY:
        return _finding(
            topic,
            Fit.LOOK,
            text,
            "Files are sealed by fs-verity on ext4 and Btrfs; elsewhere set integrity = "
            '"off" in bootd.toml.',
        )
    if root.free < WANTED_ROOT_BYTES:
        return _finding(
            topic, Fit.LOOK, text, "Two images of a server want 4 GiB; what they share counts once."
        )
    return _finding(topic, Fit.FITS, text)


def _layers(facts: MachineFacts) -> Iterator[DoctorFinding]:
    layers = facts.root.layers if facts.root is not None else frozenset()
    raid = sorted(one for one in layers if one.startswith("raid") or one in ("linear", "md"))
    if raid:
        yield _finding(
            "RAID",
            Fit.LOOK,
            ", ".join(raid),
            "'install to-filesystem' takes it, with an initramfs that assembles it.",
        )
    if "crypt" in layers:
        yield _finding(
            "LUKS",
            Fit.LOOK,
            "the root is encrypted",
            "'install to-filesystem' takes what you opened, with an initramfs that opens it; "
            "'install to-disk' encrypts nothing.",
        )
    if "lvm" in layers:
        yield _finding(
            "LVM",
            Fit.LOOK,
            "the root is a logical volume",
            "'install to-filesystem' takes it, with an initramfs that activates it.",
        )


def _kernel(facts: MachineFacts) -> DoctorFinding:
    try:
        check_kernel(facts.kernel)
    except KernelTooOldError:
        return _finding(
            "kernel",
            Fit.BLOCKS if facts.updates is not None else Fit.LOOK,
            f"{facts.kernel[:100]}, older than 6.6",
            "It cannot mount a deployment; the kernel of the image has to be 6.6 or newer.",
        )
    return _finding("kernel", Fit.FITS, facts.kernel)


def _systemd(facts: MachineFacts) -> DoctorFinding:
    topic = "systemd"
    if facts.systemd is None:
        return _finding(
            topic,
            Fit.UNKNOWN,
            "it is not what runs here",
            f"The image has to have systemd {MINIMUM_SYSTEMD} or newer.",
        )
    if facts.systemd < MINIMUM_SYSTEMD:
        return _finding(
            topic,
            Fit.BLOCKS if facts.updates is not None else Fit.LOOK,
            f"{facts.systemd}, older than {MINIMUM_SYSTEMD}",
            f"The image has to have systemd {MINIMUM_SYSTEMD} or newer.",
        )
    return _finding(topic, Fit.FITS, str(facts.systemd))


def _updates(facts: MachineFacts) -> Iterator[DoctorFinding]:
    topic, updates = "updates", facts.updates
    if updates is None:
        return
    held = False
    if updates.image is None:
        held = True
        yield _finding(topic, Fit.LOOK, "no image is followed", "'bootctl-py switch' names one.")
    if updates.held_by is not None:
        held = True
        yield _finding(
            topic, Fit.LOOK, f"held by {updates.held_by}", "'bootctl-py release' ends that."
        )
    if updates.automatic in (Automatic.OFF, Automatic.CHECK):
        held = True
        yield _finding(
            topic,
            Fit.LOOK,
            f'automatic = "{updates.automatic}"',
            "Nothing is staged at night; see automatic in bootd.toml(5).",
        )
    for problem in updates.problems:
        held = True
        yield _finding(topic, Fit.LOOK, problem, "'bootctl-py why' and 'fsck' say more.")
    if not held:
        yield _finding(topic, Fit.FITS, f"{updates.image}, automatically")
