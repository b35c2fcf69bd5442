"""Boot loader, entries or kernel are in the way."""

from bootd.model.errors.base import TRY_AGAIN, BootdError


class BootChainError(BootdError, family=True):
    """Boot loader, entries or kernel are in the way."""


class NoBootPartitionError(BootChainError):
    """``$BOOT`` was not found."""

    default_hint = "Mount the EFI system partition, or name it with boot_partition in bootd.toml."


class NoFirmwareError(BootChainError):
    """This machine's firmware cannot start what would be installed."""

    default_hint = (
        "A disk for another machine is made with --generic-image, or as an image in a file."
    )


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


class FixedKernelArgumentsError(BootChainError):
    """The kernel arguments of what boots next cannot be changed now."""

    default_hint = "'bootctl-py status' shows what runs and what boots next."


class UnhealthyError(BootChainError):
    """The running deployment is not well, or not known to be."""

    default_hint = "'bootctl-py health' shows which check failed, and what it said."


class NotBlessedYetError(BootChainError):
    """A deployment may be good, but its boot entry could not be changed to say so."""

    exit_status = TRY_AGAIN
    default_hint = "The entry is changed when the daemon starts, or by 'bootctl-py bless'."
