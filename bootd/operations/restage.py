"""Restage: the image stays, what the kernel is started with changes.

What is staged gets the new arguments in its record, by one atomic write. Where nothing is staged,
the running image is deployed once more from the store, beside the running deployment, so that a
rollback undoes the change as it undoes any other.
"""

from __future__ import annotations

from bootd.model.deployment import ArgumentChange, DeploymentId
from bootd.model.errors import DeniedDigestError
from bootd.model.etc_report import EtcReport
from bootd.model.image import ResolvedImage
from bootd.operations.arguments import (
    asked_arguments,
    coming_arguments,
    machine_arguments,
    may_change,
    settings_differ,
    with_asked,
)
from bootd.operations.collect import clean_up
from bootd.operations.deploy import deploy, requested_arguments
from bootd.operations.host import Host
from bootd.operations.staged import mark_staged
from bootd.operations.survey import Survey
from bootd.store.image import StoredImage

Restaged = tuple[DeploymentId, EtcReport | None]
"""The deployment that boots next, and, if it was made anew, what becomes of ``/etc``."""


def take_up(
    host: Host,
    found: Survey,
    resolved: ResolvedImage,
    image: StoredImage,
    change: ArgumentChange | None,
) -> Restaged | None:
    """Stage the image that the machine is, or will be, on with the arguments asked for now.

    Args:
        host: the machine, locked by the caller.
        found: a look at it.
        resolved: that image.
        image: the same in the store.
        change: what somebody changed in a deployment that was staged instead.

    Returns:
        None where the next boot has those arguments already.

    Raises:
        DeniedDigestError: this image failed here, and other arguments may be why.
        InvalidKernelArgumentsError: the image asks for what is no argument.
        StorageError: see `deploy`.
    """
    coming = found.staged or found.current
    if coming is None or not may_change(found):
        return None
    target = found.records[coming]
    asked = target.image_arguments
    if settings_differ(host, found):
        asked = asked_arguments(host, requested_arguments(image))
    change = target.argument_change if found.staged else change
    if machine_arguments(found, asked, change) == coming_arguments(found):
        return None
    denial = host.sysroot.read_denied().find(resolved.digest)
    if denial is not None:
        raise DeniedDigestError(
            f"the kernel arguments of bootd.toml are not taken up: {resolved.digest} is on the "
            f"deny list since {denial.when:%Y-%m-%d}: {denial.cause}"
        )
    if found.staged is not None:
        changed = with_asked(host, found, target, asked)
        host.sysroot.write_deployment(host.sysroot.deployment(target.id), changed)
        return target.id, None
    record, report = deploy(host, found, resolved, image, change)
    mark_staged(host.sysroot, record.id, None)
    clean_up(host)
    return record.id, report
