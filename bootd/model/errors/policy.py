"""A rule, a lock or a right is in the way."""

from bootd.model.errors.base import BUSY, FAILED, NOT_AUTHORISED, REFUSED, BootdError


class PolicyError(BootdError, family=True):
    """A rule, a lock or a right is in the way."""

    exit_status = REFUSED


class DeniedDigestError(PolicyError):
    """The image is on the deny list: it failed on this machine, or no host can use it."""

    default_hint = "'bootctl-py why' shows the evidence; 'bootctl-py denied allow DIGEST' lifts it."


class NotTrustedError(PolicyError):
    """The policy for images does not allow one."""

    default_hint = (
        "Sign the image, or change /etc/containers/policy.json (containers-policy.json(5)); "
        "nothing of the image was fetched."
    )


class OlderReleaseError(PolicyError):
    """The image that a reference names now is older than the one that was taken from it before."""

    default_hint = (
        "A mirror may lag, or somebody serves an old image. If the publisher did go back: "
        "'bootctl-py upgrade --allow-downgrade', or trust.allow_downgrade in bootd.toml."
    )


class HeldError(PolicyError):
    """Updates are held."""

    default_hint = "'bootctl-py status' names who holds them; release the hold first."


class NotDueError(PolicyError):
    """The schedule of automatic runs has a later time for the next one."""

    default_hint = "'bootctl-py upgrade' does not wait for it."


class StagedByHandError(PolicyError):
    """A person staged something else than the followed image, and nobody asked to replace it."""

    default_hint = (
        "It boots at the next shutdown; 'bootctl-py upgrade' replaces it, 'bootctl-py unstage' "
        "drops it."
    )


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


class DeploymentNeededError(PolicyError):
    """A deployment is not to be dropped: the machine needs it, or somebody pinned it."""

    default_hint = "'bootctl-py status' shows what each is for; nothing was changed."


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
