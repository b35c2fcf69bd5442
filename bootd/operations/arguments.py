"""The kernel arguments a deployment gets: the image's, the old image's and the machine's, merged.

Base is what the current deployment's image and configuration asked for, mine is what its boot entry
really has, theirs is what the new image and today's configuration ask for.
"""

from __future__ import annotations

from bootd.boot.arguments import merge_arguments
from bootd.model.deployment import DeploymentRecord
from bootd.operations.host import Host
from bootd.operations.survey import Survey


def machine_arguments(found: Survey, theirs: list[str]) -> list[str]:
    """Return the merged arguments, without ``bootd=``, for an image that asks for `theirs`."""
    current = found.records.get(found.current) if found.current else None
    if current is None:
        return theirs
    entry = found.entry(current.id)
    mine = current.kernel_arguments if entry is None else list(entry.arguments)
    return merge_arguments(base=current.image_arguments, mine=mine, theirs=theirs)


def merge_machine_arguments(
    host: Host, found: Survey, record: DeploymentRecord
) -> DeploymentRecord:
    """Merge once more at finalize, for arguments that changed since staging; keep what changed.

    What the installer said stays: there is nothing it could be merged with.
    """
    if found.current not in found.records:
        return record
    merged = machine_arguments(found, record.image_arguments)
    if merged == record.kernel_arguments:
        return record
    changed = record.model_copy(update={"kernel_arguments": merged})
    host.sysroot.write_deployment(host.sysroot.deployment(record.id), changed)
    return changed
