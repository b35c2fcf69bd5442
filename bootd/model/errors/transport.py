"""The registry, or the way to it, is in the way."""

from bootd.model.errors.base import REFUSED, TRY_AGAIN, BootdError


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


class NotARegistryError(TransportError):
    """Something that is no registry answered, such as a portal that wants a login."""

    exit_status = TRY_AGAIN
    default_hint = (
        "Something on the way answered in the registry's place: a portal that wants a login (open "
        "a page in a browser), a proxy or a firewall. If it lasts, check the name in the reference."
    )


class RegistryBlockedError(TransportError):
    """registries.conf forbids this registry."""

    exit_status = REFUSED
    default_hint = "Remove 'blocked' for this registry in registries.conf if that is not meant."
