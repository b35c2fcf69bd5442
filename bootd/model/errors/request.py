"""Whoever asked has to act: the request itself is wrong."""

from bootd.model.errors.base import USAGE, BootdError


class RequestError(BootdError, family=True):
    """The request itself is wrong; repeating it will not help."""

    exit_status = USAGE


class InvalidReferenceError(RequestError):
    """An image reference does not follow the grammar."""

    default_hint = (
        "Write it as registry.example/name:tag, name@sha256:…, oci:DIR, oci-archive:FILE, dir:DIR, "
        "docker-archive:FILE or containers-storage:NAME."
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


class InvalidTrustPolicyError(RequestError):
    """The policy for images, or a key that it names, cannot be used; so no image is trusted."""

    default_hint = (
        "Mend /etc/containers/policy.json, or the file that is named "
        "(containers-policy.json(5)); until then no image is fetched."
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
