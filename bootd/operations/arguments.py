"""The kernel arguments a deployment gets: the image's, the old image's and the machine's, merged.

Base is what the current deployment's image and configuration asked for, mine is what its boot entry
really has, theirs is what the new image and today's configuration ask for. What somebody changed
since by ``kargs`` comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence

from bootd.boot.arguments import merge_arguments, with_restart_after_panic, without_own
from bootd.model.deployment import ArgumentChange, DeploymentRecord
from bootd.operations.host import Host
from bootd.operations.survey import Survey


def asked_arguments(host: Host, requested: Sequence[str]) -> list[str]:
    """Return what an image's files and today's settings ask for."""
    return with_restart_after_panic([*requested, *host.configuration.kernel_arguments])


def current_arguments(found: Survey) -> list[str]:
    """Return the arguments of the current deployment, as its boot entry has them."""
    current = found.records.get(found.current) if found.current else None
    if current is None:
        return []
    entry = found.entry(current.id)
    return current.kernel_arguments if entry is None else without_own(entry.arguments)


def machine_arguments(
    found: Survey, theirs: list[str], change: ArgumentChange | None = None
) -> list[str]:
    """Return the merged arguments, without ``bootd=``, for an image that asks for `theirs`."""
    current = found.records.get(found.current) if found.current else None
    merged = theirs
    if current is not None:
        mine = current_arguments(found)
        merged = merge_arguments(base=current.image_arguments, mine=mine, theirs=theirs)
    if change is None:
        return merged
    return merge_arguments(base=change.before, mine=merged, theirs=change.after)


def coming_arguments(found: Survey) -> list[str]:
    """Return what the machine will be started with: the staged arguments, else the current ones."""
    staged = found.records.get(found.staged) if found.staged else None
    if staged is None:
        return current_arguments(found)
    return machine_arguments(found, staged.image_arguments, staged.argument_change)


def may_change(found: Survey) -> bool:
    """Return whether the arguments of the next boot can be changed under its image.

    Not where somebody went back to another deployment that does not run yet: that one boots as it
    was, with the ``/etc`` it had.
    """
    return found.current in found.records and (
        found.staged is not None or found.settled == found.current
    )


def settings_differ(host: Host, found: Survey) -> bool:
    """Return whether the settings ask for other arguments than when the next boot's were made."""
    target = found.staged or found.current
    if target not in found.records or not may_change(found):
        return False
    configured = found.records[target].configured_arguments
    return configured != host.configuration.kernel_arguments


def with_asked(
    host: Host, found: Survey, record: DeploymentRecord, asked: list[str]
) -> DeploymentRecord:
    """Return the record of a staged deployment with the arguments that are asked for now."""
    return record.model_copy(
        update={
            "image_arguments": asked,
            "configured_arguments": host.configuration.kernel_arguments,
            "kernel_arguments": machine_arguments(found, asked, record.argument_change),
        }
    )


def merge_machine_arguments(
    host: Host, found: Survey, record: DeploymentRecord
) -> DeploymentRecord:
    """Merge once more at finalize, for arguments that changed since staging; keep what changed.

    What the installer said stays: there is nothing it could be merged with.
    """
    if found.current not in found.records:
        return record
    merged = machine_arguments(found, record.image_arguments, record.argument_change)
    if merged == record.kernel_arguments:
        return record
    changed = record.model_copy(update={"kernel_arguments": merged})
    host.sysroot.write_deployment(host.sysroot.deployment(record.id), changed)
    return changed
