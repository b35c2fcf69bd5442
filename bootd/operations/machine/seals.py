"""Whether a deployment is sealed, by what, and since when that is enforced."""

from __future__ import annotations

from typing import NamedTuple

from bootd.boot.entry import integrity_of
from bootd.model.deployment import DeploymentRecord
from bootd.model.hash_algorithm import BY_DIGEST_SIZE
from bootd.model.state import SealedFrom
from bootd.operations.machine.survey import Survey
from bootd.sysroot import INTEGRITY_ARGUMENT, Sysroot


class Seal(NamedTuple):
    """What a status tells of a deployment's seal."""

    sealed: bool
    digest: str | None
    enforced_from: SealedFrom


def seal_of(sysroot: Sysroot, survey: Survey, record: DeploymentRecord) -> Seal:
    """Return what is known of a deployment's seal.

    Of the deployment that runs, what its kernel was started with counts; of any other, what its
    boot entry says, or will say where it has none yet.
    """
    if not record.sealed:
        return Seal(sealed=False, digest=None, enforced_from=SealedFrom.NOWHERE)
    wanted = f"verity={record.erofs}"
    entry = survey.entry(record.id)
    if record.id == survey.booted:
        demanded = sysroot.started_with(INTEGRITY_ARGUMENT) == wanted
    else:
        demanded = entry is None or integrity_of(entry) == wanted
    enforced = SealedFrom.ENTRY_UNSIGNED if demanded else SealedFrom.NOWHERE
    algorithm = BY_DIGEST_SIZE[len(record.erofs) // 2]
    return Seal(sealed=True, digest=f"{algorithm.name}:{record.erofs}", enforced_from=enforced)
