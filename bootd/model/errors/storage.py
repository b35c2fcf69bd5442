"""The machine's own disk is in the way."""

from bootd.model.errors.base import BootdError


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
        "'bootctl-py cleanup --boot' lists what holds the room, 'bootctl-py forget ID' drops a "
        "deployment."
    )


class BootPartitionReadOnlyError(StorageError):
    """``$BOOT`` cannot be written to."""

    default_hint = "Remount the boot partition for writing (mount -o remount,rw)."


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


class NoVerityError(StorageError):
    """Files are to be guarded by the kernel, and the file system cannot do that."""

    default_hint = (
        'Use ext4 or Btrfs with fs-verity (mkfs.ext4 -O verity), or set integrity = "off".'
    )


class UnknownFormatError(StorageError):
    """The store was written by a newer bootd in a way this one must not touch."""

    default_hint = "Boot the newer deployment, or update bootd; nothing was changed."


class NotASysrootError(StorageError):
    """This machine, or the one in a folder, has no store of bootd's: it does not run from one."""

    default_hint = (
        "'bootctl-py doctor' looks whether it could. 'bootctl-py install to-disk' puts an image on "
        "a disk, 'bootctl-py install to-filesystem' into a folder, and 'bootctl-py lint' checks an "
        "image that you build."
    )


class EtcTooLargeError(StorageError):
    """A machine's ``/etc`` is larger or deeper than a merge takes."""

    default_hint = "Move what is not configuration out of the folder that is named, to /var."
