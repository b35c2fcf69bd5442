"""The files of a deployment belong to whom the image names, whatever number that one has here.

An image's EROFS file has the image's numbers. Where a user or group has another one on this
machine, the deployment gets an EROFS file of its own, in which owners, groups and access control
lists have the numbers of here (`bootd.store.erofs.owners`). It holds for all of the image: for
programs in ``/usr``, and for the defaults of ``/etc``, which every merge starts from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bootd.durable import storage_errors, temporary_name
from bootd.etc.accounts.chosen import Move
from bootd.etc.accounts.owners import Numbers, owners_of
from bootd.etc.accounts.records import GROUP, PASSWD
from bootd.etc.disk.account_lock import account_lock
from bootd.etc.disk.descriptors import opened_folder
from bootd.etc.rules.settle import accounts_to_come, databases_in
from bootd.model.deployment import DeploymentRecord
from bootd.model.errors import NoVerityError
from bootd.model.etc.report import EtcNote, NoteKind
from bootd.model.hash_algorithm import BY_DIGEST_SIZE
from bootd.operations.etc.merge import sides
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey
from bootd.store.contents import StoreContents
from bootd.store.erofs.owners import map_owners
from bootd.store.images.image import EROFS_NAME, image_path
from bootd.store.objects.measuring import measure
from bootd.store.objects.verity import enable_verity, verity_digest


@dataclass(frozen=True, slots=True)
class OwnersHere:
    """An image's EROFS file with the numbers that its users and groups have on this machine.

    Attributes:
        content: its bytes; None: the image's own has these numbers already.
        mapped: how many files have another owner or group than in the image.
        unknown: how many of them are root's because their owner is nobody here.
        accounts: a digest of all that the numbers follow from.
    """

    content: bytes | None = None
    mapped: int = 0
    unknown: int = 0
    accounts: str = ""

    def verity(self, image: str) -> str:
        """Return the fs-verity digest, in hex; `image` is that of the image's own file."""
        if self.content is None:
            return image
        return verity_digest(self.content, BY_DIGEST_SIZE[len(image) // 2]).hex()

    def noted(self, record: DeploymentRecord) -> DeploymentRecord:
        """Return a deployment's record that tells of it."""
        notes = {
            "accounts": self.accounts,
            "mapped_files": self.mapped,
            "ownerless_files": self.unknown,
        }
        return record.model_copy(update=notes)


def owners_here(
    host: Host,
    survey: Survey,
    erofs: Path,
    known: str | None = None,
    moves: tuple[Move, ...] | None = None,
) -> OwnersHere | None:
    """Return an image's EROFS file as this machine is to have it.

    Args:
        host: the machine.
        survey: what is on it.
        erofs: the EROFS file with the image's own numbers.
        known: `OwnersHere.accounts` of an earlier answer; where it would be the same again, and
            where the machine has no accounts yet, None is returned.
        moves: see `bootd.operations.etc.merge.sides`.

    Raises:
        DamagedImageError, DamagedObjectError, WriteFailedError: something cannot be read.
    """
    numbers = _numbers(host, survey, erofs, moves)
    if numbers is None:
        return None
    image, here = numbers
    accounts = hashlib.sha256(f"{image.fingerprint()}{here.fingerprint()}".encode()).hexdigest()
    if accounts == known:
        return None
    owners = owners_of(image, here)
    with storage_errors("read", erofs):
        content = erofs.read_bytes()
    mapped = map_owners(content, owners.user, owners.group)
    return OwnersHere(
        content=mapped.content if mapped.mapped else None,
        mapped=mapped.mapped,
        unknown=mapped.unknown,
        accounts=accounts,
    )


def owner_notes(mapped: int, unknown: int) -> list[EtcNote]:
    """Return what a report says of files that have other owners than the image's numbers say."""
    if not mapped:
        return []
    files = f"{mapped} {'file' if mapped == 1 else 'files'} of /usr/ and /etc"
    text = (
        f"{files} had another number"
        if not unknown
        else (
            f"{files} had another number; {unknown} of them are root's alone, since their owner is "
            "nobody here"
        )
    )
    return [EtcNote(path="/usr", kind=NoteKind.OWNERS, detail=text)]


def write_owners(
    host: Host, owners: OwnersHere, erofs: Path, target: Path, *, sealed: bool
) -> None:
    """Put the EROFS file in place of one with the image's numbers; it is not yet durable.

    Args:
        host: the machine.
        owners: what `owners_here` returned.
        erofs: the EROFS file with the image's own numbers.
        target: where there is nothing yet.
        sealed: whether the kernel has to guard it.

    Raises:
        NoSpaceError, WriteFailedError: the disk is in the way.
        NoVerityError: it is to be sealed, and the file system cannot do that.
    """
    if owners.content is None:
        host.sysroot.disk.link_file(erofs, target)
        return
    host.sysroot.disk.write_temporary(target, [owners.content])
    if not enable_verity(target, host.sysroot.hash_algorithm()) and sealed:
        raise NoVerityError(f"the file system of {host.sysroot.store} has no fs-verity")


def follow_accounts(
    host: Host,
    survey: Survey,
    record: DeploymentRecord,
    moves: tuple[Move, ...] | None = None,
) -> DeploymentRecord:
    """Let a staged deployment follow accounts that changed since; return its record.

    Order of writes: the EROFS file under a temporary name, a sync, its name, the record. A cut in
    between is mended by the next attempt, since the file is not the one of the record then.

    Raises:
        NoSpaceError, WriteFailedError, DamagedImageError, DamagedObjectError: nothing, or only the
            EROFS file, was changed.
    """
    erofs = image_path(host.sysroot, record.digest) / EROFS_NAME
    if not erofs.is_file():
        return record
    disk, path = host.sysroot.disk, host.sysroot.deployment(record.id) / EROFS_NAME
    algorithm = host.sysroot.hash_algorithm()
    stands = measure(path, algorithm).hex()
    known = record.accounts if stands == record.erofs else None
    owners = owners_here(host, survey, erofs, known=known, moves=moves)
    if owners is None:
        return record
    verity = owners.verity(measure(erofs, algorithm).hex())
    if verity != stands:
        fresh = temporary_name(path)
        disk.discard_file(fresh)
        write_owners(host, owners, erofs, fresh, sealed=record.sealed)
        disk.sync_filesystem(fresh.parent)
        disk.rename_file(fresh, path)
    changed = owners.noted(record.model_copy(update={"erofs": verity}))
    host.sysroot.write_deployment(host.sysroot.deployment(record.id), changed)
    return changed


def _numbers(
    host: Host, survey: Survey, erofs: Path, moves: tuple[Move, ...] | None
) -> tuple[Numbers, Numbers] | None:
    """Return the numbers of an image and those of here, or None where nothing is here yet."""
    contents = StoreContents(host.sysroot)
    with sides(host, survey, erofs, moves=moves) as three:
        if three is None:
            return None
        with opened_folder(three.mine) as etc, account_lock(etc):
            coming = accounts_to_come(three.base, etc, three.theirs, contents, three.elsewhere)
        own, elsewhere = databases_in(three.theirs, contents), three.elsewhere.theirs
    if PASSWD not in coming or GROUP not in coming:
        return None
    return Numbers.of(own, elsewhere), Numbers.of(coming, elsewhere)
