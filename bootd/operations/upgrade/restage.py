"""Restage: the image stays, what the kernel is started with changes.

What is staged gets the new arguments in its record, by one atomic write. Where nothing is staged,
the running image is deployed once more from the store, beside the running deployment, so that a
rollback undoes the change as it undoes any other.
"""

from __future__ import annotations

from bootd.boot.entry import command_line
from bootd.model.deployment import ArgumentChange, DeploymentId, DeploymentRecord
from bootd.model.errors import DeniedDigestError
from bootd.model.etc.report import EtcReport
from bootd.model.registry.image import ImageName
from bootd.operations.collect import clean_up
from bootd.operations.host import Host
from bootd.operations.machine.staged import mark_staged
from bootd.operations.machine.survey import Survey
from bootd.operations.upgrade.arguments import (
    coming_arguments,
    may_change,
    settings_differ,
    with_asked,
    with_machines,
)
from bootd.operations.upgrade.deploy import deploy, requested_arguments
from bootd.store.images.image import StoredImage

Restaged = tuple[DeploymentId, EtcReport | None]
"""The deployment that boots next, and, if it was made anew, what becomes of ``/etc``."""


def take_up(
    host: Host,
    survey: Survey,
    name: ImageName,
    image: StoredImage,
    change: ArgumentChange | None,
    *,
    automatic: bool,
) -> Restaged | None:
    """Stage the image that the machine is, or will be, on with the arguments asked for now.

    Args:
        host: the machine, locked by the caller.
        survey: a look at it.
        name: that image.
        image: the same in the store.
        change: what somebody changed in a deployment that was staged instead.
        automatic: nobody asked.

    Returns:
        None where the next boot has those arguments already.

    Raises:
        DeniedDigestError: this image failed here, and other arguments may be why.
        InvalidKernelArgumentsError: the kernel would not take the arguments.
        StorageError: see `deploy`.
    """
    coming = survey.staged or survey.current
    if coming is None or not may_change(survey):
        return None
    target = survey.records[coming]
    change = target.argument_change if survey.staged else change
    asked = target
    if settings_differ(host, survey):
        asked = with_asked(host, target, requested_arguments(image))
    asked = with_machines(survey, asked, change)
    if asked.kernel_arguments == coming_arguments(survey):
        return None
    denial = host.sysroot.read_denied().find(name.digest)
    if denial is not None:
        raise DeniedDigestError(
            f"the kernel arguments of bootd.toml are not taken up: {name.digest} is on the "
            f"deny list since {denial.when:%Y-%m-%d}: {denial.cause}"
        )
    if survey.staged is not None:
        return replace_staged(host, asked), None
    return stage_again(host, survey, name, image, change, automatic=automatic)


def replace_staged(host: Host, record: DeploymentRecord) -> DeploymentId:
    """Let what is staged have the arguments of another record of it.

    Raises:
        InvalidKernelArgumentsError: the kernel would not take them.
    """
    command_line(record)
    host.sysroot.write_deployment(host.sysroot.deployment(record.id), record)
    return record.id


def stage_again(
    host: Host,
    survey: Survey,
    name: ImageName,
    image: StoredImage,
    change: ArgumentChange | None,
    *,
    automatic: bool = False,
) -> Restaged:
    """Deploy the image that runs once more, with changed arguments, and mark it as staged.

    Raises:
        HeldError: nobody asked for it, and updates are held.
        InvalidKernelArgumentsError: the kernel would not take them.
        StorageError: see `deploy`.
    """
    record, report = deploy(host, survey, name, image, change)
    now = host.clock.now() if automatic else None
    mark_staged(host.sysroot, record.id, None, unless_held_at=now)
    clean_up(host)
    return record.id, report
