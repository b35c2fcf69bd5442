"""What ``doctor`` knows of a machine, before anybody judges it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BootPartitionFacts:
    """An EFI system partition, or an XBOOTLDR partition.

    Attributes:
        device: where it stands in ``/dev``.
        point: where it is mounted; None: nowhere.
        size: bytes of its file system; None: it is not mounted, so nobody knows.
        free: bytes that anybody may still write; None likewise.
    """

    device: str
    point: str | None = None
    size: int | None = None
    free: int | None = None


@dataclass(frozen=True, slots=True)
class RootFacts:
    """The file system that the machine runs from.

    Attributes:
        device: where its device stands in ``/dev``.
        file_system: its type, such as ``ext4``.
        layers: what its device is and lies on, in lsblk(8)'s words, such as ``crypt`` or ``raid1``.
        free: bytes that anybody may still write.
    """

    device: str
    file_system: str
    layers: frozenset[str]
    free: int


@dataclass(frozen=True, slots=True)
class UpdateFacts:
    """How a machine of bootd's gets updates.

    Attributes:
        image: the reference it follows; None: it follows nothing.
        automatic: the setting of that name in ``bootd.toml``.
        held_by: who holds updates, and why; None: nobody.
        staged: whether one waits for a restart.
        problems: whatever else the status tells of.
    """

    image: str | None
    automatic: str
    held_by: str | None = None
    staged: bool = False
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """A machine.

    Attributes:
        architecture: as ``uname -m`` prints it.
        kernel: as ``uname -r`` prints it.
        systemd: the version of systemd that runs; None: it is not known, or another program is
            the first process.
        efi: whether EFI firmware started it.
        efi_width: ``64`` or ``32``; empty: the kernel does not say.
        secure_boot: whether the firmware enforces signatures; None: it does not say.
        loader: what the boot loader calls itself; empty: it leaves no word.
        grub: whether a folder of GRUB's is in ``/boot``.
        boot_partitions: all there are; None: the disks could not be listed.
        root: None: it is on no disk, as in a container or a live system.
        updates: None: the machine is none of bootd's.
    """

    architecture: str
    kernel: str
    systemd: int | None = None
    efi: bool = True
    efi_width: str = ""
    secure_boot: bool | None = None
    loader: str = ""
    grub: bool = False
    boot_partitions: tuple[BootPartitionFacts, ...] | None = ()
    root: RootFacts | None = None
    updates: UpdateFacts | None = None
