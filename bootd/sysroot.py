"""The physical layout of a machine (docs/architecture.md, "On disk"), its records and its lock.

A sysroot is a folder that is laid out as the disk is: the live host's ``/sysroot``, a mounted disk
under installation, or a temporary folder. Nothing below this module asks for ``/``.

Invariants: a record that cannot be parsed raises, it is never treated as absent; the lock is held
shared to read more than one record and exclusive to change anything. It has two parts: who brings
contents into the store from a network lets go of the records meanwhile, which others then may read
and change.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bootd.durable import TEMPORARY_PREFIX, Disk, storage_errors
from bootd.file_lock import FileLock, exclusively_held, locked
from bootd.model.boot.command_line import first_value
from bootd.model.boot.loader import LoaderRecord
from bootd.model.boot.noted_entry import NotedEntries
from bootd.model.boot.partition import BootPartition
from bootd.model.deployment import (
    NEW_COMPOSEFS,
    DeniedDigests,
    DeploymentId,
    DeploymentRecord,
    Intent,
    StagedMarker,
    StoreFormat,
    hash_feature,
)
from bootd.model.errors import (
    DamagedRecordError,
    InternalError,
    InvalidArgumentError,
    NoSuchDeploymentError,
    NotASysrootError,
    UnknownFormatError,
)
from bootd.model.hash_algorithm import SHA256, HashAlgorithm
from bootd.records import read_record, write_record

LAYOUT_VERSION: Final = 1
KERNEL_ARGUMENT: Final = "bootd"
INTEGRITY_ARGUMENT: Final = "bootd.integrity"
_MAX_COMMAND_LINE: Final = 1 << 20
_MAX_DEPLOYMENTS: Final = 1_000
_BOOT_LOCK_SECONDS: Final = 60.0
"""A change of an entry is a few writes; a slow stick needs seconds for them."""
_RECORDS_LOCK_SECONDS: Final = 20.0
"""How long a change of a record, or a look at some, waits for another one. It is shorter than what
clients of the bus wait for an answer."""
_MOMENT_SECONDS: Final = 5.0
"""How long who needs the store waits for one that has it for moments: a blessing renews the boot
loader in a process of its own, and nothing orders it and a job of the daemon."""
_INTENT_LOCK_SECONDS: Final = 20.0
"""To replace one record takes a sync of the disk."""
_UNKNOWN_PARTITION: Final = BootPartition()
_STORE_FOLDERS: Final = (
    "objects",
    "layers",
    "contents",
    "images",
    "partial",
    "deployments",
    "var",
)


@dataclass(frozen=True, slots=True)
class Sysroot:
    """Where everything is.

    Attributes:
        physical: the physical root; the store is ``physical/bootd``.
        boot: where ``$BOOT`` (XBOOTLDR or the ESP) is mounted.
        run: bootd's folder for this boot, ``/run/bootd``.
        command_line: the booted kernel's command line, ``/proc/cmdline``.
        disk: the gateway for durable changes.
        boot_id: the running kernel's ``boot_id``; another one means that the power may have gone.
        efi_variables: where efivarfs is mounted; without EFI there is no such folder.
        partition: what is known of ``$BOOT`` as a whole.
    """

    physical: Path
    boot: Path
    run: Path
    command_line: Path
    disk: Disk = field(default_factory=Disk)
    boot_id: Path = Path("/proc/sys/kernel/random/boot_id")
    efi_variables: Path = Path("/sys/firmware/efi/efivars")
    partition: BootPartition = _UNKNOWN_PARTITION

    @classmethod
    def at(cls, directory: Path, disk: Disk | None = None) -> Sysroot:
        """Return the sysroot that lies wholly in one folder: tests, the demo, a chroot."""
        return cls(
            physical=directory,
            boot=directory / "boot",
            run=directory / "run/bootd",
            command_line=directory / "proc/cmdline",
            disk=disk or Disk(),
            efi_variables=directory / "sys/firmware/efi/efivars",
        )

    @property
    def store(self) -> Path:
        """The folder of everything that is bootd's."""
        return self.physical / "bootd"

    @property
    def objects(self) -> Path:
        """File contents by fs-verity digest."""
        return self.store / "objects"

    @property
    def layers(self) -> Path:
        """Layer indexes by diff ID."""
        return self.store / "layers"

    @property
    def contents(self) -> Path:
        """SHA-256 and fs-verity digests of what layers hold, by diff ID."""
        return self.store / "contents"

    @property
    def images(self) -> Path:
        """Manifests, configurations and EROFS images by manifest digest."""
        return self.store / "images"

    @property
    def partial(self) -> Path:
        """Downloads to resume."""
        return self.store / "partial"

    @property
    def deployments(self) -> Path:
        """One folder a deployment."""
        return self.store / "deployments"

    @property
    def health(self) -> Path:
        """What the health checks found, one file a deployment."""
        return self.store / "health"

    @property
    def etc_copies(self) -> Path:
        """Copies of files of ``/etc`` that stand nowhere else any more."""
        return self.store / "etc-copies"

    @property
    def intent_file(self) -> Path:
        """``intent.json``."""
        return self.store / "intent.json"

    @property
    def denied_file(self) -> Path:
        """``denied.json``."""
        return self.store / "denied.json"

    @property
    def loader_file(self) -> Path:
        """``loader.json``."""
        return self.store / "loader.json"

    @property
    def noted_entries_file(self) -> Path:
        """``entries.json``."""
        return self.store / "entries.json"

    @property
    def staged_file(self) -> Path:
        """``staged.json``, gone with this boot."""
        return self.run / "staged.json"

    def deployment(self, identifier: DeploymentId) -> Path:
        """Return the folder of a deployment, existing or not."""
        return self.deployments / identifier

    def initialise(self, algorithm: HashAlgorithm = SHA256) -> None:
        """Lay out an empty store, 0700; an existing one is completed, never emptied.

        Args:
            algorithm: by which a new store names what it holds; an existing one keeps its own.

        Raises:
            UnknownFormatError: a store of another layout is there already.
        """
        self.disk.make_directory(self.boot, 0o755)
        self.disk.make_directory(self.store, 0o700)
        for name in _STORE_FOLDERS:
            self.disk.make_directory(self.store / name, 0o755 if name == "var" else 0o700)
        if not self._format_file.exists():
            new = _new_installation()
            made = StoreFormat(
                version=LAYOUT_VERSION,
                incompatible=hash_feature(algorithm),
                installation=new,
                composefs=NEW_COMPOSEFS,
            )
            write_record(self.disk, self._format_file, made)
        self.check_format()

    def installation(self) -> str | None:
        """Return the ID of this installation, 32 hex digits; None: the store has none yet.

        Raises:
            DamagedRecordError: ``format.json`` cannot be read.
        """
        found = read_record(self._format_file, StoreFormat)
        return None if found is None else found.installation

    def composefs_version(self) -> int:
        """Return the version that the EROFS images of this store are called, 0 or 1.

        Raises:
            DamagedRecordError: ``format.json`` cannot be read.
        """
        found = read_record(self._format_file, StoreFormat)
        return 0 if found is None else found.composefs

    def hash_algorithm(self) -> HashAlgorithm:
        """Return by which algorithm objects and images of this store are named.

        Raises:
            DamagedRecordError: ``format.json`` cannot be read.
        """
        found = read_record(self._format_file, StoreFormat)
        return SHA256 if found is None else found.hash_algorithm

    def name_installation(self) -> None:
        """Give the store of an older bootd an ID; an ID that is there stays.

        The caller holds an exclusive lock.

        Raises:
            DamagedRecordError: ``format.json`` cannot be read.
        """
        found = read_record(self._format_file, StoreFormat)
        if found is not None and found.installation is None:
            named = found.model_copy(update={"installation": _new_installation()})
            write_record(self.disk, self._format_file, named)

    def check_format(self, *, for_writing: bool = True) -> None:
        """Refuse a store that this bootd does not understand.

        Raises:
            NotASysrootError: there is no store here.
            UnknownFormatError: a newer layout, or a feature this bootd does not know.
            DamagedRecordError: ``format.json`` cannot be read.
        """
        found = read_record(self._format_file, StoreFormat)
        if found is None:
            raise NotASysrootError(f"{self.physical} has no bootd/format.json")
        unknown = [*found.unknown, *(found.read_only_compatible if for_writing else ())]
        if found.version != LAYOUT_VERSION:
            raise UnknownFormatError(
                f"{self.store} has layout version {found.version}; this bootd knows "
                f"version {LAYOUT_VERSION}"
            )
        if unknown:
            raise UnknownFormatError(
                f"{self.store} uses features this bootd does not know: {', '.join(unknown)}"
            )

    @contextmanager
    def lock(self, *, exclusive: bool, wait_seconds: float = _MOMENT_SECONDS) -> Iterator[FileLock]:
        """Hold the store: exclusive to change anything of it, shared to read more than one record.

        The layout is checked under it. An exclusive one is two locks (flock): that of the contents,
        and that of the records, which is given: `FileLock.left` lets go of it for a time.

        Raises:
            BusyError: another process holds it and does not let go in time.
            NotASysrootError, UnknownFormatError, DamagedRecordError: see `check_format`.
        """
        self._check_store()
        with ExitStack() as held:
            if exclusive:
                held.enter_context(locked(self.store / "lock", wait_seconds=wait_seconds))
                wait_seconds = max(wait_seconds, _RECORDS_LOCK_SECONDS)
            records = locked(self.store, exclusive=exclusive, wait_seconds=wait_seconds)
            given = held.enter_context(records)
            self.check_format(for_writing=exclusive)
            yield given

    @contextmanager
    def records_lock(self, *, exclusive: bool = True) -> Iterator[None]:
        """Hold the records alone, which no download has: to read some, or to change them.

        Raises:
            BusyError: another process has them for long.
            NotASysrootError, UnknownFormatError, DamagedRecordError: see `check_format`.
        """
        self._check_store()
        with locked(self.store, exclusive=exclusive, wait_seconds=_RECORDS_LOCK_SECONDS):
            self.check_format(for_writing=exclusive)
            yield

    @contextmanager
    def boot_lock(self) -> Iterator[None]:
        """Hold the lock under which boot entries change (flock on ``$BOOT``).

        Each change takes it for the moment that it lasts. It is apart from the store's, which a
        download holds for hours: what a boot proved must not wait for that. Whoever holds both took
        the store's first.

        Raises:
            BusyError: another process changes boot entries and does not end.
            WriteFailedError: ``$BOOT`` cannot be opened.
        """
        if not self.boot.is_dir():
            yield
            return
        with locked(self.boot, wait_seconds=_BOOT_LOCK_SECONDS):
            yield

    def exclusive_lock(self) -> int:
        """Return the open file by which this process holds the lock exclusively.

        A child that has it holds the lock, too, as long as it lives. Source: proc(5), fdinfo.

        Raises:
            InternalError: this process does not hold it.
        """
        descriptor = exclusively_held(self.store / "lock")
        if descriptor is None:
            raise InternalError(f"what writes to {self.store} does not hold its lock")
        return descriptor

    def this_boot(self) -> str:
        """Return what tells this boot from all others.

        Raises:
            WriteFailedError: the kernel does not say.
        """
        with storage_errors("read", self.boot_id):
            return self.boot_id.read_text(encoding="ascii", errors="replace").strip()

    def booted(self) -> DeploymentId | None:
        """Return the deployment this kernel was started for, or None on a foreign system."""
        value = self.started_with(KERNEL_ARGUMENT)
        try:
            return None if value is None else DeploymentId(value)
        except InvalidArgumentError:
            return None

    def started_with(self, key: str) -> str | None:
        """Return the value that this kernel's command line has for a key; None: it has none."""
        try:
            text = self.command_line.read_bytes()[:_MAX_COMMAND_LINE].decode(errors="replace")
        except FileNotFoundError:
            return None
        return first_value(text.strip(), key)

    def deployment_ids(self) -> list[DeploymentId]:
        """Return the IDs of all deployment folders, sorted; leftovers of a crash are left out."""
        try:
            names = sorted(path.name for path in self.deployments.iterdir())
        except FileNotFoundError:
            return []
        found = [name for name in names if not name.startswith(TEMPORARY_PREFIX)]
        if len(found) > _MAX_DEPLOYMENTS:
            raise DamagedRecordError(f"{self.deployments} holds {len(found)} deployments")
        return [DeploymentId(name) for name in found if _is_identifier(name)]

    def read_deployment(self, identifier: DeploymentId) -> DeploymentRecord:
        """Return a deployment's record.

        Raises:
            NoSuchDeploymentError: there is no such deployment.
            DamagedRecordError, UnknownFormatError: its record cannot be used.
        """
        path = self.deployment(identifier) / "deployment.json"
        record = read_record(path, DeploymentRecord)
        if record is None:
            if self.deployment(identifier).is_dir():
                raise DamagedRecordError(f"{path} is missing")
            raise NoSuchDeploymentError(f"there is no deployment {identifier}")
        if record.id != identifier:
            raise DamagedRecordError(f"{path} is the record of {record.id}")
        return record

    def write_deployment(self, folder: Path, record: DeploymentRecord) -> None:
        """Put a deployment's record into its folder, durably."""
        write_record(self.disk, folder / "deployment.json", record)

    def read_intent(self) -> Intent:
        """Return the intent; an empty one where none was ever written."""
        return read_record(self.intent_file, Intent) or Intent()

    def write_intent(self, intent: Intent) -> None:
        """Replace the intent, durably, whatever others make of it: for who is alone with it."""
        write_record(self.disk, self.intent_file, intent)

    def change_intent(self, change: Callable[[Intent], Mapping[str, object]]) -> Intent:
        """Replace some keys of the intent, durably; return the whole of it.

        That needs no other lock, so that a hold is never refused: changes of other keys at the same
        time, by whoever holds the records, stay.

        Args:
            change: is given what the intent is now, and returns the keys to replace; what it raises
                leaves the intent as it was.

        Raises:
            DamagedRecordError, UnknownFormatError: what is there cannot be used.
            BusyError: another process replaces it and does not end.
        """
        self._check_store()
        self.disk.make_directory(self.deployments, 0o700)
        with locked(self.deployments, wait_seconds=_INTENT_LOCK_SECONDS):
            before = self.read_intent()
            after = before.model_copy(update=dict(change(before)))
            if after != before:
                self.write_intent(after)
            return after

    def read_denied(self) -> DeniedDigests:
        """Return the deny list; an empty one where none was ever written."""
        return read_record(self.denied_file, DeniedDigests) or DeniedDigests()

    def write_denied(self, denied: DeniedDigests) -> None:
        """Replace the deny list, durably."""
        write_record(self.disk, self.denied_file, denied)

    def read_loader(self) -> LoaderRecord:
        """Return what is known of bootd's loader; nothing where none was ever written."""
        return read_record(self.loader_file, LoaderRecord) or LoaderRecord()

    def write_loader(self, record: LoaderRecord) -> None:
        """Replace what is known of bootd's loader, durably."""
        write_record(self.disk, self.loader_file, record)

    def read_noted_entries(self) -> NotedEntries:
        """Return the boot entries as they were seen last; none where none was ever noted."""
        return read_record(self.noted_entries_file, NotedEntries) or NotedEntries()

    def write_noted_entries(self, noted: NotedEntries) -> None:
        """Replace what is noted of the boot entries, durably."""
        write_record(self.disk, self.noted_entries_file, noted)

    def read_staged(self) -> StagedMarker | None:
        """Return this boot's staged deployment, or None."""
        return read_record(self.staged_file, StagedMarker)

    def write_staged(self, marker: StagedMarker) -> None:
        """Mark a deployment as staged in this boot."""
        self.disk.make_directory(self.run, 0o755)
        write_record(self.disk, self.staged_file, marker)

    def clear_staged(self) -> None:
        """Forget this boot's staged deployment."""
        if self.run.is_dir():
            self.disk.remove_file(self.staged_file)

    def _check_store(self) -> None:
        if not self.store.is_dir():
            raise NotASysrootError(f"{self.physical} has no bootd folder")

    @property
    def _format_file(self) -> Path:
        return self.store / "format.json"


def _new_installation() -> str:
    return secrets.token_hex(16)


def _is_identifier(name: str) -> bool:
    try:
        DeploymentId(name)
    except InvalidArgumentError:
        return False
    return True
