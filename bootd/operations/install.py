"""Install: a machine from an image, on an empty disk or into a file system that is mounted.

It is an upgrade of a machine that has nothing yet: stage and finalize do the work, and what only
the first deployment needs is added: the image's ``/var``, the machine's own settings, systemd-boot.

Order of writes: the mark that the installation is unfinished, the store with its deployment, the
boot entry, ``/etc``, ``/var``, the boot loader, and last the mark goes. Where the mark is found,
the installation begins anew and keeps what was fetched; a store without it is a machine and is
refused. On a disk the mark is the name of the root partition, and all of it begins anew.
"""

from __future__ import annotations

import logging
import os
import platform
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bootd.boot.devices.block_device import is_removable
from bootd.boot.entries import remove_entry
from bootd.boot.kernels.arguments import with_more
from bootd.boot.kernels.kernel import needed_boot_space
from bootd.boot.listing import list_entries
from bootd.boot.loader.firmware import Firmware
from bootd.boot.loader.install import find_loader, install_loader
from bootd.clock import SYSTEM_CLOCK
from bootd.configuration import load
from bootd.durable import TEMPORARY_PREFIX, Disk, temporary_name
from bootd.etc.merge import first_var
from bootd.model.config import Configuration
from bootd.model.deployment import ArgumentOrigin, DeploymentId
from bootd.model.documents import InstallDocument
from bootd.model.errors import (
    AlreadyInstalledError,
    BootPartitionFullError,
    InvalidArgumentError,
    NotAuthorizedError,
)
from bootd.model.hash_algorithm import HASH_ALGORITHMS, HashAlgorithm
from bootd.model.tree import Directory
from bootd.operations.boot.image_preview import preview
from bootd.operations.etc.labels import label_written
from bootd.operations.finalize import finalize
from bootd.operations.host import Host, registry_of_this_machine
from bootd.operations.image.unfit_list import forget_all
from bootd.operations.install_settings import IDENTITY, Settings, add_root_keys, write_identity
from bootd.operations.installing import disk_device as devices
from bootd.operations.installing.beside import default_of_others, enter
from bootd.operations.installing.disk_layout import (
    ESP_BYTES,
    ESP_NUMBER,
    ROOT_NUMBER,
    ROOT_TYPES,
    check_size,
)
from bootd.operations.installing.target import (
    MORE_ROOM,
    RootFileSystem,
    check_boot_room,
    filesystem_uuid,
    look_at,
)
from bootd.operations.progress import Phase, Progress
from bootd.operations.stage import stage
from bootd.registry.settings import RegistrySettings
from bootd.registry.sources.source import open_source
from bootd.store.contents import StoreContents
from bootd.store.images.host_layout import HostLayout, default_etc
from bootd.store.images.image import compose_host_layout, open_image
from bootd.store.selinux.image_labels import label_layout
from bootd.store.upkeep.space import needed_space
from bootd.sysroot import Sysroot
from bootd.trust.accept import accept

_log = logging.getLogger(__name__)

MARK_NAME: Final = "installation-unfinished"
_NO_COMMAND_LINE: Final = Path(os.devnull)
"""Whatever kernel runs the installer, the machine under installation has booted nothing."""


def install_to_disk(
    device: Path,
    settings: Settings,
    progress: Progress,
    *,
    filesystem: str = "ext4",
    wipe: bool = False,
    registry: RegistrySettings | None = None,
    firmware: Firmware | None = None,
) -> InstallDocument:
    """Install a machine on a whole disk, or into a disk image.

    The image is asked for before the disk is touched. Whether it has a kernel and a boot loader may
    be known then (see `image_preview`). Else it is when its layers are there, and they go to the
    disk: what has none leaves a disk that was formatted.

    Args:
        device: the disk, or a file that is as large as the disk shall be.
        settings: what the machine begins with.
        progress: told what is done.
        filesystem: the root's: one of `disk_device.FORMATS`.
        wipe: whatever the disk holds may go.
        registry: how to get at the image; None: as this machine does.
        firmware: what is to start a disk that stays in this machine. None: the disk is for another
            one, as a file and a removable disk are in any case.

    Raises:
        NoFirmwareError: this machine could not start what would be installed.
        InvalidArgumentError: the device is no disk, or a setting cannot be used.
        DeviceInUseError, DeviceNotEmptyError: the disk is not free; nothing was changed.
        NoSpaceError, BootPartitionFullError: the disk is too small.
        NoBootLoaderError, InvalidTreeError: the image cannot be installed.
        NotTrustedError, InvalidTrustPolicyError: the policy of the machine that installs does not
            allow the image.
        ProcessFailedError: a program is missing or failed.
        BootdError: see `stage` and `finalize`.
    """
    registry = registry or registry_of_this_machine()
    trust = load(registry.root).configuration.trust
    settings.check()
    architecture = _architecture()
    if firmware is not None and (not device.is_block_device() or is_removable(device)):
        firmware = None
    if firmware is not None:
        firmware.require(architecture)
    _require_root()
    devices.check_tools(filesystem)
    disk = Disk()
    with TemporaryDirectory(prefix="bootd-install-") as work, devices.claimed(device) as size:
        if not wipe:
            devices.refuse_contents(device)
        progress.report(Phase.RESOLVING)
        with closing(open_source(settings.image, registry, Path(work), disk)) as source:
            resolved = accept(
                source, source.resolve(), registry, SYSTEM_CLOCK, bundles=trust.bundles
            )
            coming = preview(source, resolved, architecture)
        if coming is not None:
            devices.check_esp_size(coming.together, ESP_BYTES)
        needed = needed_space([descriptor for descriptor, _ in resolved.layers]).bytes
        check_size(str(device), size, needed)
        devices.check_file_room(device, needed)
        progress.report(Phase.FORMATTING)
        parts = devices.partition(device, architecture)
        esp, root = parts[ESP_NUMBER - 1], parts[ROOT_NUMBER - 1]
        with devices.attached(device, root) as loop:
            devices.make_root(loop, filesystem)
            folder = Path(work, "root")
            folder.mkdir()
            with devices.mounted(loop, filesystem, folder):
                # $BOOT is filled here first and copied to its partition as a whole.
                boot = folder / f"{TEMPORARY_PREFIX}esp"
                host = _host(folder, boot, Path(work), disk, registry)
                found = RootFileSystem(filesystem, filesystem_uuid(loop))
                document = install(host, found, settings, progress)
                with devices.attached(device, esp) as esp_loop:
                    devices.make_esp(esp_loop, esp.size, boot)
                disk.remove_tree(boot)
        devices.name_finished(device, disk)
    devices.tell_kernel(device)
    document = document.model_copy(update={"device": str(device)})
    if firmware is None:
        return document
    return enter(document, firmware, [devices.esp_partition(device)])


def install_to_filesystem(
    root: Path,
    esp: Path,
    settings: Settings,
    progress: Progress,
    *,
    registry: RegistrySettings | None = None,
    firmware: Firmware | None = None,
) -> InstallDocument:
    """Install a machine into a root file system, with its EFI system partition, both mounted.

    Other files in either stay as they are. What can be known to be wrong with the two is said
    before anything is fetched or written.

    Args:
        root: where the root file system is mounted.
        esp: where the EFI system partition is mounted.
        settings: what the machine begins with.
        progress: told what is done.
        registry: how to get at the image; None: as this machine does.
        firmware: what is to start the machine. None: it is for another machine.

    Raises:
        NoFirmwareError: this machine could not start what would be installed.
        InvalidArgumentError: one of the folders is no mount point or its file system will not do,
            or a setting cannot be used.
        AlreadyInstalledError: the file system holds a machine already.
        BootdError: see `install_to_disk`.
    """
    settings.check()
    architecture = _architecture()
    if firmware is not None:
        firmware.require(architecture)
    _require_root()
    with TemporaryDirectory(prefix="bootd-install-") as work:
        registry = registry or registry_of_this_machine()
        host = _host(root, esp, Path(work), Disk(), registry)
        again = host.sysroot.store.exists()
        target = look_at(root, esp, architecture, settings.kernel_arguments, again=again)
        if not again:
            _expect(host, settings.image, architecture)
        document = install(host, target.root, settings, progress)
    stack = target.stack_warnings(document.kernel_arguments)
    warnings = [*target.warnings, *stack, *document.warnings]
    document = document.model_copy(update={"warnings": warnings})
    return document if firmware is None else enter(document, firmware, target.partitions)


def install(
    host: Host, root: RootFileSystem, settings: Settings, progress: Progress
) -> InstallDocument:
    """Install a machine into a sysroot; whatever is cut off can be done again.

    Args:
        host: the machine that is to be; its ``$BOOT`` is the EFI system partition.
        root: the file system its physical root is.
        settings: what it begins with.
        progress: told what is done.

    Raises:
        AlreadyInstalledError: there is a machine already.
        NoBootLoaderError, InvalidTreeError: the image cannot be installed.
        BootdError: see `stage` and `finalize`.
    """
    sysroot = host.sysroot
    architecture = _architecture()
    _begin(sysroot, HASH_ALGORITHMS[settings.store_hash])
    composed: list[HostLayout] = []
    try:
        staged = stage(host, progress, reference=settings.image, composed=composed.append)
    except BootPartitionFullError as error:
        # There is nothing yet that bootd could be asked to remove.
        raise BootPartitionFullError(error.message, hint=MORE_ROOM) from error
    identifier = staged.deployment
    assert identifier is not None
    progress.report(Phase.INSTALLING)
    image = open_image(sysroot, staged.digest)
    # An installation that was cut off left the image; what it was composed of is gone.
    layout = composed[0] if composed else compose_host_layout(sysroot, image.diff_ids())
    loader = find_loader(layout.root, architecture)
    if settings.root_keys is not None:
        now = int(host.clock.now().timestamp())
        add_root_keys(layout, settings.root_keys, image.contents, now)
        label_layout(layout, image.contents)
    kernel = sysroot.read_deployment(identifier).kernel
    needed = needed_boot_space(sysroot, kernel) + 2 * loader.size
    size = kernel.size
    warnings = check_boot_room(sysroot.boot, needed, size)
    _add_arguments(sysroot, identifier, settings.machine_arguments(root.arguments))
    finalized = finalize(host, _Installing(progress))
    assert finalized.entry is not None
    etc = sysroot.deployment(identifier) / "etc"
    write_identity(sysroot.disk, etc, settings.hostname)
    label_written(etc, IDENTITY, default_etc(layout.root), image.contents)
    follows = settings.follow or settings.image
    sysroot.write_intent(sysroot.read_intent().model_copy(update={"image": follows}))
    _fill_var(sysroot, layout.var, image.contents)
    places = install_loader(sysroot, image.contents.read(loader), architecture)
    warnings += [f"{other}." for other in places.others]
    if not places.names:
        warnings.append("No name for a boot loader was free: only one of those can start this.")
    warnings += default_of_others(sysroot)
    sysroot.disk.remove_file(_mark(sysroot))
    return InstallDocument(
        image=staged.image,
        digest=staged.digest,
        follows=follows,
        deployment=identifier,
        entry=finalized.entry,
        device=None,
        filesystem=root.kind,
        kernel_arguments=sysroot.read_deployment(identifier).kernel_arguments,
        fetched_bytes=staged.fetched_bytes,
        loader=next(iter(places.names), None),
        warnings=warnings,
    )


def _expect(host: Host, reference: str, architecture: str) -> None:
    """Refuse what an image will not do on ``$BOOT``, if that can be known before it is fetched."""
    sysroot = host.sysroot
    work = sysroot.run.parent
    with closing(open_source(reference, host.registry, work, sysroot.disk)) as source:
        bundles = host.configuration.trust.bundles
        accepted = accept(source, source.resolve(), host.registry, host.clock, bundles=bundles)
        coming = preview(source, accepted, architecture)
    if coming is not None:
        check_boot_room(sysroot.boot, coming.together, coming.kernel)


class _Installing:
    """Progress of an operation that is a part of this one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def report(self, phase: Phase, done: int = 0, total: int = 0) -> None:
        self._progress.report(Phase.INSTALLING)


def _begin(sysroot: Sysroot, algorithm: HashAlgorithm) -> None:
    """Set the mark, or find it and take away what was made beyond downloads and layers.

    The store is laid out afterwards.
    """
    mark = _mark(sysroot)
    if not mark.exists():
        if (sysroot.store / "format.json").exists():
            raise AlreadyInstalledError(f"{sysroot.physical} holds an installed machine")
        sysroot.disk.make_directory(sysroot.store, 0o700)
        sysroot.disk.replace_file(mark, b"")
        sysroot.initialise(algorithm)
        return
    _log.info("%s holds an installation that did not come to its end", sysroot.physical)
    deployments = set(sysroot.deployment_ids())
    for entry in list_entries(sysroot).entries:
        if entry.deployment in deployments:
            remove_entry(sysroot, entry)
    forget_all(sysroot)
    sysroot.disk.remove_file(sysroot.intent_file)
    sysroot.disk.remove_tree(sysroot.deployments)
    sysroot.disk.remove_tree(sysroot.store / "var")
    if sysroot.hash_algorithm() is not algorithm:
        # What was fetched has names by the other hash; which one that was is forgotten last.
        for folder in (sysroot.images, sysroot.layers, sysroot.contents, sysroot.objects):
            sysroot.disk.remove_tree(folder)
        sysroot.disk.remove_file(sysroot.store / "format.json")
    sysroot.initialise(algorithm)


def _mark(sysroot: Sysroot) -> Path:
    return sysroot.store / MARK_NAME


def _add_arguments(sysroot: Sysroot, identifier: DeploymentId, arguments: list[str]) -> None:
    record = sysroot.read_deployment(identifier)
    origins = dict.fromkeys(arguments, ArgumentOrigin.INSTALLER)
    changes = {
        "kernel_arguments": with_more(record.image_arguments, arguments),
        "argument_origins": {**origins, **record.argument_origins},
    }
    changed = record.model_copy(update=changes)
    sysroot.write_deployment(sysroot.deployment(identifier), changed)


def _fill_var(sysroot: Sysroot, var: Directory, contents: StoreContents) -> None:
    target = sysroot.store / "var"
    building = temporary_name(target)
    sysroot.disk.remove_tree(building)
    for note in first_var(var, contents, building):
        _log.warning("%s: %s %s", note.path, note.kind, note.detail)
    sysroot.disk.remove_tree(target)
    sysroot.disk.publish_directory(building, target)


def _host(physical: Path, boot: Path, work: Path, disk: Disk, registry: RegistrySettings) -> Host:
    sysroot = Sysroot(
        physical=physical,
        boot=boot,
        run=work / "run",
        command_line=_NO_COMMAND_LINE,
        disk=disk,
        efi_variables=work / "no-variables",
    )
    # What this machine's bootd.toml says is about this machine, but for what goes with its policy.
    trust = load(registry.root).configuration.trust
    return Host(sysroot, Configuration(trust=trust), registry)


def _architecture() -> str:
    found = platform.machine()
    if found not in ROOT_TYPES:
        raise InvalidArgumentError(
            f"bootd cannot install a machine of the architecture {found}",
            hint=f"It can for {', '.join(ROOT_TYPES)}.",
        )
    return found


def _require_root() -> None:
    if os.geteuid() != 0:
        raise NotAuthorizedError("installing a machine takes root", hint="Run it as root.")
