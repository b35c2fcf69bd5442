"""Fsck: measure everything that is stored again and name what is damaged.

With repair, what is damaged and can be fetched again is taken away: the object, the layer indexes
and images that need it. The next upgrade then brings it back from the registry, even when the
image's digest is the one the machine is on. Deployments and their ``/etc`` are never touched.
"""

from __future__ import annotations

from bootd.boot.kernel import kernel_damage
from bootd.model.documents import Damage, FsckDocument
from bootd.operations.host import Host
from bootd.operations.progress import Phase, Progress
from bootd.operations.survey import Survey, survey
from bootd.store.fsck import check_store


def fsck(host: Host, progress: Progress, *, repair: bool = True) -> FsckDocument:
    """Check the store, the deployments and the boot partition.

    Args:
        host: the machine.
        progress: told how many bytes of how many were measured.
        repair: take damaged content away, so that an upgrade repairs it.

    Raises:
        NoVerityError, WriteFailedError: something cannot be read though it may be sound.
        BusyError: another process changes the store.
    """
    with host.sysroot.lock(exclusive=repair):
        found = survey(host.sysroot)
        checked = check_store(
            host.sysroot,
            repair=repair,
            report=lambda done, total: progress.report(Phase.VERIFYING, done, total),
        )
        records = [
            Damage(what="record", path="", problem=problem, repaired=False)
            for problem in found.problems
        ]
        damages = [*records, *_missing_parts(host, found), *checked.damages]
        return FsckDocument(
            objects=checked.objects, bytes=checked.bytes, images=checked.images, damages=damages
        )


def _missing_parts(host: Host, found: Survey) -> list[Damage]:
    damages = []
    for entry in found.entries:
        record = found.records.get(entry.deployment)
        if record is None:
            problem = f"it boots {entry.deployment}, which is not there"
            damages.append(_damage("entry", entry.file_name, problem))
            continue
        folder = host.sysroot.deployment(record.id)
        if not (folder / "etc").is_dir():
            damages.append(_damage("deployment", str(folder), "it has no etc folder"))
        found_wrong = kernel_damage(host.sysroot, record.kernel)
        if found_wrong is not None:
            damages.append(_damage("kernel", record.kernel.digest, found_wrong))
    return damages


def _damage(what: str, path: str, problem: str) -> Damage:
    return Damage(what=what, path=path, problem=problem, repaired=False)
