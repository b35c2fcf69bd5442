"""Deploy: from an image in the store to a deployment beside the running one.

Order of writes: a folder under a temporary name with all that belongs to the deployment, syncfs,
rename. Nothing boots it, or keeps it, before the caller has marked it as staged.
"""

from __future__ import annotations

from typing import Final

from bootd.boot.entry import command_line
from bootd.boot.kernels.arguments import ARGUMENT_FOLDER, image_arguments
from bootd.boot.kernels.image_kernel import MODULES, find_kernel
from bootd.boot.kernels.kernel import kernel_files
from bootd.durable import temporary_name
from bootd.etc.report import with_notes
from bootd.model.config import Integrity
from bootd.model.deployment import ArgumentChange, DeploymentId, DeploymentRecord
from bootd.model.etc.report import EtcReport
from bootd.model.registry.image import ImageName
from bootd.model.tree import Directory
from bootd.operations.boot.room import check_room
from bootd.operations.etc.merge import trial_merge
from bootd.operations.etc.moment import write_edits
from bootd.operations.etc.owners import OwnersHere, owner_notes, owners_here, write_owners
from bootd.operations.etc_reports import write_report
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey
from bootd.operations.upgrade.arguments import with_asked, with_machines
from bootd.operations.upgrade.devicetree import find_devicetree
from bootd.store.images.image import EROFS_NAME, StoredImage
from bootd.store.images.sealing import seal

_LEVELS: Final = 2
"""A kernel lies in the folder of its version, arguments in files of their folder."""


def deploy(
    host: Host,
    survey: Survey,
    name: ImageName,
    image: StoredImage,
    change: ArgumentChange | None = None,
) -> tuple[DeploymentRecord, EtcReport]:
    """Make a deployment of an image; return its record, and what would become of ``/etc``.

    Args:
        host: the machine.
        survey: a look at it.
        name: the image.
        image: the same in the store.
        change: how its kernel arguments are changed beyond what is merged.

    Raises:
        ContentError: the image has no kernel, or more than one, or asks for what is no argument.
        BootPartitionFullError: its kernel will not fit, whatever may be given up for it.
        NoVerityError: deployments are to be sealed, and the file system cannot do that.
        StorageError: the disk is in the way; no deployment appears.
    """
    tree = _read_tree(image, MODULES, ARGUMENT_FOLDER)
    kernel = find_kernel(tree)
    identifier = _new_identifier(host, survey, name)
    owners = owners_here(host, survey, image.erofs) or OwnersHere()
    record = DeploymentRecord(
        id=identifier,
        image=name.reference,
        taken_from=name.taken_from,
        digest=name.digest,
        version=name.version,
        released=name.released,
        expires=name.expires,
        accepted=name.accepted,
        created=host.clock.now(),
        kernel=kernel_files(kernel, find_devicetree(host, survey, image, kernel.version)),
        erofs=owners.verity(image.erofs_verity),
        sealed=host.configuration.integrity is Integrity.VERITY,
    )
    record = with_asked(host, record, image_arguments(tree, image.contents))
    record = owners.noted(with_machines(survey, record, change))
    # What the kernel would not take is refused now, and not at every shutdown from now on.
    command_line(record)
    check_room(host, survey, record.kernel)
    if record.sealed:
        seal(host.sysroot, image.erofs)
    return record, _publish(host, survey, record, owners, image)


def requested_arguments(image: StoredImage) -> dict[str, list[str]]:
    """Return the kernel arguments that the files of an image ask for, by path.

    Raises:
        InvalidKernelArgumentsError: naming the file and the key.
        DamagedImageError: the image cannot be read.
    """
    return image_arguments(_read_tree(image, ARGUMENT_FOLDER), image.contents)


def _read_tree(image: StoredImage, *paths: str) -> Directory:
    return image.tree(*(path.strip("/").encode() for path in paths), levels=_LEVELS)


def _publish(
    host: Host,
    survey: Survey,
    record: DeploymentRecord,
    owners: OwnersHere,
    image: StoredImage,
) -> EtcReport:
    disk = host.sysroot.disk
    target = host.sysroot.deployment(record.id)
    building = temporary_name(target)
    disk.remove_tree(building)
    disk.make_directory(building)
    write_owners(host, owners, image.erofs, building / EROFS_NAME, sealed=record.sealed)
    host.sysroot.write_deployment(building, record)
    trial = trial_merge(host, survey, building / EROFS_NAME)
    report = with_notes(trial.report, owner_notes(owners.mapped, owners.unknown))
    write_report(host.sysroot, building, report)
    write_edits(host.sysroot, building, trial.edits)
    disk.publish_directory(building, target)
    return report


def _new_identifier(host: Host, survey: Survey, name: ImageName) -> DeploymentId:
    short = name.digest.short
    entries = (*survey.entries, *survey.neighbours)
    known = [*host.sysroot.deployment_ids(), *(entry.deployment for entry in entries)]
    serials = [identifier.serial for identifier in known if identifier.startswith(short + ".")]
    return DeploymentId.compose(name.digest, max(serials, default=-1) + 1)
