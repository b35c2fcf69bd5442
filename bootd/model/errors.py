"""Every error bootd reports: one tree, grouped by who has to act.

Each concrete class has a stable `code` (kebab case), a bus name (``org.bootd1.Error.`` and the
class name without ``Error``), an exit status of ``bootctl-py`` and a hint that says what to do
next. A family is a class that names the blame; it is never raised itself.

Exit statuses: 1 failed, 2 usage, 4 refused by policy or deny list, 5 not authorised, 6 busy,
7 verification failed, 75 try again later (sysexits.h, ``EX_TEMPFAIL``).
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

BUS_PREFIX: Final = "org.bootd1.Error."

FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 4
NOT_AUTHORISED: Final = 5
BUSY: Final = 6
NOT_VERIFIED: Final = 7
TRY_AGAIN: Final = 75

_REGISTRY: dict[str, type[BootdError]] = {}


class BootdError(Exception):
    """Root of the tree.

    Attributes:
        message: what happened, with the names and numbers.
        hint: what to do next; the class's own unless the raiser knows better.
    """

    code: ClassVar[str] = ""
    exit_status: ClassVar[int] = FAILED
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint

    def __init_subclass__(cls, *, family: bool = False) -> None:
        super().__init_subclass__()
        if not family:
            words = re.findall(r"[A-Z][a-z0-9]*", cls.__name__.removesuffix("Error"))
            cls.code = "-".join(word.lower() for word in words)
            _REGISTRY[cls.code] = cls

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross the process boundary of import workers: pickle needs the keyword back.
        return _rebuild, (type(self), self.message, self.hint)

    @classmethod
    def bus_name(cls) -> str:
        """Return the D-Bus error name of this class."""
        return BUS_PREFIX + cls.__name__.removesuffix("Error")


def _rebuild(kind: type[BootdError], message: str, hint: str) -> BootdError:
    return kind(message, hint=hint)


def registered_errors() -> dict[str, type[BootdError]]:
    """Return every concrete error class by its code."""
    return dict(_REGISTRY)


class RequestError(BootdError, family=True):
    """The request itself is wrong; repeating it will not help."""

    exit_status = USAGE


class InvalidReferenceError(RequestError):
    """An image reference does not follow the grammar."""

    default_hint = (
        "Write it as registry.example/name:tag, name@sha256:…, oci:DIR or oci-archive:FILE."
    )


class InvalidDigestError(RequestError):
    """A digest is malformed."""

    default_hint = "A digest is 'sha256:' and 64 lower-case hex digits."


class InvalidArgumentError(RequestError):
    """An option or argument has a value that is not allowed."""

    default_hint = "See bootctl-py(8) for what the option takes."


class InvalidConfigurationError(RequestError):
    """A configuration file cannot be used."""

    default_hint = (
        "Mend the file that is named; 'bootctl-py config' shows where each value is from."
    )


class NoSuchDeploymentError(RequestError):
    """No deployment has that ID."""

    default_hint = "'bootctl-py deployments' lists what is kept."


class NoSuchJobError(RequestError):
    """No job has that ID."""

    default_hint = "'bootctl-py jobs' lists the running and the recently finished ones."


class NoImageConfiguredError(RequestError):
    """Nobody has said which image this machine follows."""

    default_hint = "Run 'bootctl-py switch REFERENCE', or set image in /etc/bootd/bootd.toml."


class NotTheRunningMachineError(RequestError):
    """A reboot was asked of a daemon that manages a folder."""

    default_hint = "Only the daemon of the machine that runs can reboot it."


class NotDeniedError(RequestError):
    """A digest to be allowed is not on the deny list."""

    default_hint = "'bootctl-py denied list' shows the digests that are on it."


class ContentError(BootdError, family=True):
    """What was served is wrong; the publisher of the image has to act."""


class VerificationError(ContentError, family=True):
    """What was served is not what was promised."""

    exit_status = NOT_VERIFIED


class DigestMismatchError(VerificationError):
    """Bytes do not have the digest they were asked for by."""

    default_hint = "Nothing was kept. Try again; if it repeats, the registry or a proxy is damaged."


class SizeMismatchError(VerificationError):
    """A blob is longer or shorter than its descriptor says."""

    default_hint = "Nothing was kept. Try again; if it repeats, push the image anew."


class DiffIdMismatchError(VerificationError):
    """An unpacked layer does not have the diff ID its image promises."""

    default_hint = "Nothing was kept. Push the image anew: its configuration and layers disagree."


class InvalidManifestError(ContentError):
    """A manifest, index or image configuration cannot be understood."""

    default_hint = "Push the image anew with a current tool (skopeo, buildah, podman)."


class ManifestTooLargeError(ContentError):
    """A manifest is larger than the bound."""

    default_hint = "A manifest of this size is not an OS image; check the reference."


class UnknownMediaTypeError(ContentError):
    """A manifest or layer has a media type that bootd does not know."""

    default_hint = "bootd takes OCI and Docker schema 2 images with tar layers (plain, gzip, zstd)."


class NoMatchingPlatformError(ContentError):
    """An index has no image for this machine's architecture."""

    default_hint = "Publish the image for this architecture or follow another reference."


class InvalidLayerError(ContentError):
    """A layer's tar stream is damaged or holds an entry that must not be followed."""

    default_hint = (
        "Nothing was kept. Rebuild the image; the entry named is not one a builder writes."
    )


class InvalidImageError(ContentError, family=True):
    """An image is well-formed but no host could boot it."""


class NoKernelError(InvalidImageError):
    """An image has no kernel."""

    default_hint = "Install a kernel as /usr/lib/modules/<version>/vmlinuz in the image."


class NoInitramfsError(InvalidImageError):
    """An image has no initramfs."""

    default_hint = (
        "Build /usr/lib/modules/<version>/initramfs.img in the image, with bootd's module."
    )


class NoBootLoaderError(InvalidImageError):
    """An image has no boot loader that could be put on a disk."""

    default_hint = "Install systemd-boot in the image (Debian: the package systemd-boot-efi)."


class SeveralKernelsError(InvalidImageError):
    """An image has more than one kernel."""

    default_hint = "Leave one folder with a vmlinuz under /usr/lib/modules in the image."


class InvalidTreeError(InvalidImageError):
    """An image's tree cannot be laid out as bootd needs it."""

    default_hint = "'bootctl-py lint' in the image's build says what to change."


class InvalidKernelArgumentsError(InvalidImageError):
    """A kernel argument file of an image cannot be used."""

    default_hint = "Mend the named file under /usr/lib/bootc/kargs.d in the image."


class TransportError(BootdError, family=True):
    """The registry could not be reached or would not serve."""


class HostUnknownError(TransportError):
    """A host name has no address."""

    exit_status = TRY_AGAIN
    default_hint = "Check the name in the reference, and this machine's DNS and network."


class ConnectionFailedError(TransportError):
    """No connection, or it broke and could not be taken up again."""

    exit_status = TRY_AGAIN
    default_hint = "Check the network and try again; what was fetched so far is kept."


class TimedOutError(TransportError):
    """A server answered too slowly."""

    exit_status = TRY_AGAIN
    default_hint = "Try again later; what was fetched so far is kept."


class TlsFailedError(TransportError):
    """The server's certificate was not accepted."""

    default_hint = (
        "Check the clock; put a private CA under /etc/containers/certs.d/<host>/; "
        "mark a plain HTTP registry insecure in registries.conf."
    )


class RedirectLoopError(TransportError):
    """The server redirects without end."""

    default_hint = "The registry or a proxy before it is set up wrongly; tell its administrator."


class UnauthorizedError(TransportError):
    """The registry wants credentials, or refused those it was given."""

    default_hint = "Put credentials where containers-auth.json(5) says, e.g. /etc/ostree/auth.json."


class ImageNotFoundError(TransportError):
    """The registry has no such repository, tag or blob."""

    default_hint = (
        "Check the name and the tag; a private image answers like this without credentials."
    )


class RateLimitedError(TransportError):
    """The registry refuses more requests for now."""

    exit_status = TRY_AGAIN
    default_hint = "Try again later, log in, or set up a mirror in registries.conf."


class ServerFailedError(TransportError):
    """The registry answered with an error of its own."""

    exit_status = TRY_AGAIN
    default_hint = "Try again later; if it lasts, tell the registry's administrator."


class RegistryBlockedError(TransportError):
    """registries.conf forbids this registry."""

    exit_status = REFUSED
    default_hint = "Remove 'blocked' for this registry in registries.conf if that is not meant."


class StorageError(BootdError, family=True):
    """The machine's own disk is in the way."""


class NoSpaceError(StorageError):
    """Too few bytes or inodes are free."""

    default_hint = (
        "Free room, or drop old deployments with 'bootctl-py cleanup'; nothing was changed."
    )


class BootPartitionFullError(StorageError):
    """``$BOOT`` has too little room for another kernel and entry."""

    default_hint = (
        "Drop old deployments with 'bootctl-py cleanup', or foreign files on the boot partition."
    )


class WriteFailedError(StorageError):
    """The kernel refused a read or a write."""

    default_hint = "Check the journal for disk errors; 'bootctl-py fsck' checks what is stored."


class DamagedRecordError(StorageError):
    """A record of bootd's own cannot be read."""

    default_hint = "'bootctl-py fsck' says what else is damaged; other deployments are untouched."


class DamagedImageError(StorageError):
    """An EROFS image is not well-formed."""

    default_hint = "'bootctl-py fsck' names what is damaged, 'bootctl-py upgrade' then repairs it."


class DamagedObjectError(StorageError):
    """A stored object's content does not match its name, or it is missing."""

    default_hint = "'bootctl-py fsck' names what is damaged, 'bootctl-py upgrade' then repairs it."


class UnknownFormatError(StorageError):
    """The store was written by a newer bootd in a way this one must not touch."""

    default_hint = "Boot the newer deployment, or update bootd; nothing was changed."


class NotASysrootError(StorageError):
    """A folder is not a physical root that bootd knows."""

    default_hint = "Name the folder that holds bootd/, or install one with 'bootctl-py install'."


class EtcTooLargeError(StorageError):
    """A machine's ``/etc`` is larger or deeper than a merge takes."""

    default_hint = "Move what is not configuration out of the folder that is named, to /var."


class BootChainError(BootdError, family=True):
    """Boot loader, entries or kernel are in the way."""


class NoBootPartitionError(BootChainError):
    """``$BOOT`` was not found."""

    default_hint = "Mount the EFI system partition, or name it with boot_partition in bootd.toml."


class InvalidBootEntryError(BootChainError):
    """A boot entry of bootd's own cannot be parsed."""

    default_hint = "Remove the named file if it is not wanted; bootd does not touch it."


class KernelTooOldError(BootChainError):
    """The running kernel cannot mount a composefs root."""

    default_hint = "bootd needs Linux 6.6 or newer on the host."


class NoRollbackError(BootChainError):
    """There is no other deployment to go back to."""

    default_hint = "'bootctl-py deployments' lists what is kept; an upgrade makes a second one."


class NothingStagedError(BootChainError):
    """No deployment is staged."""

    default_hint = "'bootctl-py upgrade' stages one."


class UnhealthyError(BootChainError):
    """The running deployment is not well, or not known to be."""

    default_hint = "'bootctl-py health' shows which check failed, and what it said."


class InvalidTransitionError(BootChainError):
    """An upgrade was asked to take a step its state does not allow."""

    default_hint = "'bootctl-py status' shows the state; if it stays, report this with the journal."


class PolicyError(BootdError, family=True):
    """A rule, a lock or a right is in the way."""

    exit_status = REFUSED


class DeniedDigestError(PolicyError):
    """The image is on the deny list because it failed on this machine."""

    default_hint = "'bootctl-py why' shows the evidence; 'bootctl-py denied allow DIGEST' lifts it."


class HeldError(PolicyError):
    """Updates are held."""

    default_hint = "'bootctl-py status' names who holds them; release the hold first."


class DeviceInUseError(PolicyError):
    """A disk to install to is in use."""

    default_hint = (
        "Unmount what is named (umount, swapoff, losetup --detach), or name another disk; nothing "
        "was changed."
    )


class DeviceNotEmptyError(PolicyError):
    """A disk to install to holds something."""

    default_hint = "Look at it first; with --wipe all of it is lost. Nothing was changed."


class AlreadyInstalledError(PolicyError):
    """A file system to install to holds an installed machine."""

    default_hint = "Use 'bootctl-py switch' on that machine, or install to an empty file system."


class BusyError(PolicyError):
    """Another job is changing the machine."""

    exit_status = BUSY
    default_hint = "Wait for it ('bootctl-py jobs') or cancel it ('bootctl-py cancel JOB')."


class NotAuthorizedError(PolicyError):
    """polkit refused."""

    exit_status = NOT_AUTHORISED
    default_hint = "Run it as root, or ask the administrator for the polkit action that is named."


class DaemonUnreachableError(PolicyError):
    """The daemon does not answer on the bus."""

    exit_status = FAILED
    default_hint = (
        "'systemctl status bootd' says why; 'bootctl-py status --offline' needs no daemon."
    )


class CancelledError(PolicyError):
    """The job was cancelled."""

    exit_status = FAILED
    default_hint = "Nothing was changed; what was fetched is kept for the next try."


class InternalError(BootdError):
    """A fault in bootd; the cause is in the journal."""

    default_hint = "Please report this with the journal of bootd.service."


class ProcessFailedError(BootdError):
    """A program that bootd started failed."""

    default_hint = "The program's own words are in the message; the journal has the whole."
