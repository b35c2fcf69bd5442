"""Fsck: measure everything that is stored again and name what is damaged.

With repair, what is damaged and can be fetched again is taken away: the object, the layer indexes
and images that need it. The next upgrade then brings it back from the registry, even when the
image's digest is the one the machine is on. What ``$BOOT`` lost is put back from the store.
Deployments and their ``/etc`` are never touched.
"""

from __future__ import annotations

from bootd.boot.proof import boot_problems
from bootd.model.documents import Damage, FsckDocument
from bootd.operations.boot.loader import keep_loader
from bootd.operations.boot.mirrors import check_mirrors
from bootd.operations.boot.noted_entries import try_to_note
from bootd.operations.boot.repair import repair_boot
from bootd.operations.host import Host, with_boot
from bootd.operations.machine.survey import Survey, take_survey
from bootd.operations.progress import Phase, Progress
from bootd.store.upkeep.fsck import check_store


def fsck(host: Host, progress: Progress, *, repair: bool = True) -> FsckDocument:
    """Check the store, the deployments and the boot partition.

    Args:
        host: the machine.
        progress: told how many bytes of how many were measured.
        repair: put back what ``$BOOT`` lost, and take damaged content of the store away, so that
            an upgrade brings it back.

    Raises:
        NoVerityError, WriteFailedError: something cannot be read though it may be sound.
        BusyError: another process changes the store.
    """
    with host.sysroot.lock(exclusive=repair):
        survey = take_survey(host.sysroot)
        mended = repair_boot(host, survey, thorough=True, repair=repair)
        mended += keep_loader(host, survey, thorough=True, repair=repair).damages
        if repair:
            try_to_note(host.sysroot, take_survey(host.sysroot))
        checked = check_store(
            host.sysroot,
            repair=repair,
            report=lambda done, total: progress.report(Phase.VERIFYING, done, total),
        )
        told = {damage.problem for damage in mended if damage.repaired} | {survey.usurper}
        partition = [
            _damage("boot-partition", str(host.sysroot.partition.name), problem)
            for problem in boot_problems(host.sysroot)
        ]
        partition += check_mirrors(host.sysroot, thorough=True, repair=repair)
        records = [
            _damage("record", "", problem) for problem in survey.problems if problem not in told
        ]
        damages = [*partition, *records, *_missing_parts(host, survey), *mended, *checked.damages]
        return FsckDocument(
            objects=checked.objects, bytes=checked.bytes, images=checked.images, damages=damages
        )


def prepare_boot(host: Host) -> None:
    """Do what has to be done before anybody mounts ``$BOOT`` in a boot.

    Raises:
        BootdError: the machine's disks cannot be looked at.
    """
    # To mount it is to make the halves of an array alike (bootd.boot.devices.arrays).
    with with_boot(host):
        pass


def _missing_parts(host: Host, survey: Survey) -> list[Damage]:
    damages = []
    for entry in survey.entries:
        record = survey.records.get(entry.deployment)
        if record is None:
            problem = f"it boots {entry.deployment}, which is not there"
            damages.append(_damage("entry", entry.file_name, problem))
            continue
        folder = host.sysroot.deployment(record.id)
        if not (folder / "etc").is_dir():
            damages.append(_damage("deployment", str(folder), "it has no etc folder"))
    return damages


def _damage(what: str, path: str, problem: str) -> Damage:
    return Damage(what=what, path=path, problem=problem, repaired=False)
