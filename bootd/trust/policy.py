"""What containers-policy.json(5) asks of an image, as values.

Only the form is judged here. A policy that is wrong anywhere is wrong everywhere: a requirement
that cannot be understood must not be the one that does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bootd.trust.scopes import Scopes, check_scope
from bootd.trust.sigstore.identity import MatchRepoDigestOrExact, SignedIdentity, parse_identity
from bootd.trust.strict_json import InvalidJsonError, fields, from_base64, parse_json, text

MAX_POLICY_SIZE: Final = 4 << 20
"""Bytes of a policy file: keys may stand in it."""
_MAX_REQUIREMENTS: Final = 100
_MAX_KEYS: Final = 1_000
_KEY_TYPES: Final = frozenset({"GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs"})


@dataclass(frozen=True, slots=True)
class Source:
    """Where keys or certificates are: in files, or in the policy itself.

    Attributes:
        paths: absolute paths of files.
        data: contents.
    """

    paths: tuple[str, ...] = ()
    data: tuple[bytes, ...] = ()


ReadSource = Callable[[Source, str], list[bytes]]
"""Returns the contents that a source names; the text is its name, for messages."""


@dataclass(frozen=True, slots=True)
class InsecureAcceptAnything:
    """``insecureAcceptAnything``: every image, signed or not."""


@dataclass(frozen=True, slots=True)
class Reject:
    """``reject``: no image."""


@dataclass(frozen=True, slots=True)
class SignedBaseLayer:
    """``signedBaseLayer``: nobody has implemented it, so that it accepts no image."""


@dataclass(frozen=True, slots=True)
class SignedBy:
    """``signedBy``: a simple signature by a GPG key.

    Attributes:
        key_type: only ``GPGKeys`` can be met.
        keys: OpenPGP keyrings; a signature by any of their keys counts.
        identity: which signed names count.
    """

    key_type: str
    keys: Source
    identity: SignedIdentity = field(default_factory=MatchRepoDigestOrExact)


@dataclass(frozen=True, slots=True)
class Fulcio:
    """Certificates that Fulcio issued to one person or program.

    Attributes:
        authority: certificates of the authority, PEM.
        issuer: the OpenID issuer.
        email: the e-mail address.
    """

    authority: Source
    issuer: str
    email: str


@dataclass(frozen=True, slots=True)
class Pki:
    """Certificates that an authority of one's own issued.

    Attributes:
        roots: certificates of the authority, PEM.
        intermediates: certificates between, PEM.
        email: the e-mail address that the certificate has, or empty.
        hostname: the host name that it has, or empty.
    """

    roots: Source
    intermediates: Source | None
    email: str
    hostname: str


@dataclass(frozen=True, slots=True)
class SigstoreSigned:
    """``sigstoreSigned``: a sigstore signature by a key, or by a certificate.

    Attributes:
        keys: public keys, PEM; or None.
        fulcio: see `Fulcio`, or None.
        pki: see `Pki`, or None. One of the three is there.
        logs: public keys of transparency logs (Rekor), PEM; the signature has to be in one of them.
        identity: which signed names count.
    """

    keys: Source | None = None
    fulcio: Fulcio | None = None
    pki: Pki | None = None
    logs: Source | None = None
    identity: SignedIdentity = field(default_factory=MatchRepoDigestOrExact)


Requirement = InsecureAcceptAnything | Reject | SignedBaseLayer | SignedBy | SigstoreSigned
Requirements = tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """All requirements, by transport and scope.

    Attributes:
        default: what holds where nothing else does.
        transports: for each transport, requirements by scope; the scope "" is the transport's own
            default.
    """

    default: Requirements
    transports: Mapping[str, Mapping[str, Requirements]]

    def requirements(self, scopes: Scopes) -> tuple[str, Requirements]:
        """Return which scope decides about an image, and what it asks.

        Each requirement has to be met.

        Args:
            scopes: the transport, and the scopes that the image is in, the narrowest first.
        """
        sections = self.transports.get(scopes.transport, {})
        for scope in (*scopes.names, ""):
            if scope in sections:
                return f"{scopes.transport}:{scope}", sections[scope]
        return "default", self.default


def kind_of(requirement: Requirement) -> str:
    """Return what a policy calls a kind of requirement, such as ``sigstoreSigned``."""
    name = type(requirement).__name__
    return name[:1].lower() + name[1:]


def parse_policy(data: bytes) -> Policy:
    """Return the policy that a file's contents describe.

    Raises:
        InvalidJsonError: they describe none.
    """
    if len(data) > MAX_POLICY_SIZE:
        raise InvalidJsonError(f"the policy has more than {MAX_POLICY_SIZE} bytes")
    value = fields(parse_json(data, "the policy"), "the policy", {"default"}, {"transports"})
    transports = value.get("transports", {})
    return Policy(
        _requirements(value["default"], "default"),
        {
            transport: _scopes(transport, scopes)
            for transport, scopes in _object(transports, "transports").items()
        },
    )


def _scopes(transport: str, value: Any) -> dict[str, Requirements]:
    scopes = _object(value, f"transport {transport[:100]!r}")
    for scope in scopes:
        check_scope(transport, scope)
    return {scope: _requirements(value, f"{transport}:{scope}") for scope, value in scopes.items()}


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidJsonError(f"{what} is not an object")
    return value


def _requirements(value: Any, where: str) -> Requirements:
    if not isinstance(value, list) or not value:
        raise InvalidJsonError(f"{where[:200]} has no requirement")
    if len(value) > _MAX_REQUIREMENTS:
        raise InvalidJsonError(f"{where[:200]} has more than {_MAX_REQUIREMENTS} requirements")
    try:
        return tuple(_requirement(one) for one in value)
    except InvalidJsonError as error:
        raise InvalidJsonError(f"{where[:200]}: {error}") from error


def _requirement(value: Any) -> Requirement:
    kind = value.get("type") if isinstance(value, dict) else None
    match kind:
        case "insecureAcceptAnything":
            fields(value, kind, {"type"})
            return InsecureAcceptAnything()
        case "reject":
            fields(value, kind, {"type"})
            return Reject()
        case "signedBaseLayer":
            parse_identity(fields(value, kind, {"type", "baseLayerIdentity"})["baseLayerIdentity"])
            return SignedBaseLayer()
        case "signedBy":
            return _signed_by(value)
        case "sigstoreSigned":
            return _sigstore_signed(value)
        case _:
            raise InvalidJsonError(f"the type {str(kind)[:100]!r} is unknown")


def _signed_by(value: Any) -> SignedBy:
    known = {"keyPath", "keyPaths", "keyData", "signedIdentity"}
    fields(value, "signedBy", {"type", "keyType"}, known)
    if value["keyType"] not in _KEY_TYPES:
        raise InvalidJsonError(f"the keyType {str(value['keyType'])[:100]!r} is unknown")
    keys = _only_source(value, "key", ("Path", "Paths", "Data"))
    if keys is None:
        raise InvalidJsonError("signedBy needs one of keyPath, keyPaths, keyData")
    return SignedBy(value["keyType"], keys, _identity(value))


def _sigstore_signed(value: Any) -> SigstoreSigned:
    forms = ("Path", "Paths", "Data", "Datas")
    known = {f"{what}{form}" for what in ("key", "rekorPublicKey") for form in forms}
    fields(value, "sigstoreSigned", {"type"}, known | {"fulcio", "pki", "signedIdentity"})
    keys = _only_source(value, "key", forms)
    logs = _only_source(value, "rekorPublicKey", forms)
    fulcio = _fulcio(value["fulcio"]) if "fulcio" in value else None
    pki = _pki(value["pki"]) if "pki" in value else None
    if [keys, fulcio, pki].count(None) != 2:  # noqa: PLR2004 - all but one
        raise InvalidJsonError(
            "sigstoreSigned needs one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki"
        )
    if fulcio is not None and logs is None:
        raise InvalidJsonError("fulcio needs a rekorPublicKeyPath, or another form of it")
    if pki is not None and logs is not None:
        raise InvalidJsonError("pki cannot have a rekorPublicKey")
    return SigstoreSigned(keys, fulcio, pki, logs, _identity(value))


def _fulcio(value: Any) -> Fulcio:
    known = {"caPath", "caData", "oidcIssuer", "subjectEmail"}
    fields(value, "fulcio", {"oidcIssuer", "subjectEmail"}, known)
    authority = _only_source(value, "ca", ("Path", "Data"))
    issuer = text(value["oidcIssuer"], "oidcIssuer")
    email = text(value["subjectEmail"], "subjectEmail")
    if authority is None or not issuer or not email:
        raise InvalidJsonError("fulcio needs caPath or caData, oidcIssuer and subjectEmail")
    return Fulcio(authority, issuer, email)


def _pki(value: Any) -> Pki:
    known = {f"ca{what}{form}" for what in ("Roots", "Intermediates") for form in ("Path", "Data")}
    fields(value, "pki", (), known | {"subjectEmail", "subjectHostname"})
    roots = _only_source(value, "caRoots", ("Path", "Data"))
    email = text(value.get("subjectEmail", ""), "subjectEmail")
    hostname = text(value.get("subjectHostname", ""), "subjectHostname")
    if roots is None or not (email or hostname):
        raise InvalidJsonError(
            "pki needs caRootsPath or caRootsData, and subjectEmail or subjectHostname"
        )
    return Pki(roots, _only_source(value, "caIntermediates", ("Path", "Data")), email, hostname)


def _identity(value: Any) -> SignedIdentity:
    if "signedIdentity" not in value:
        return MatchRepoDigestOrExact()
    return parse_identity(value["signedIdentity"])


def _only_source(value: Any, what: str, forms: tuple[str, ...]) -> Source | None:
    """Return the one source among keys that begin alike; None: there is none of them."""
    given = [f"{what}{form}" for form in forms if f"{what}{form}" in value]
    if not given:
        return None
    if len(given) > 1:
        raise InvalidJsonError(f"of {', '.join(given)} only one may be there")
    (key,) = given
    many = value[key] if key.endswith("s") else [value[key]]
    if not isinstance(many, list) or not many or len(many) > _MAX_KEYS:
        raise InvalidJsonError(f"{key} is not a list of 1 to {_MAX_KEYS} values")
    if "Path" in key[len(what) :]:
        paths = tuple(text(one, key) for one in many)
        if not all(path.startswith("/") for path in paths):
            raise InvalidJsonError(f"{key} is not an absolute path")
        return Source(paths=paths)
    return Source(data=tuple(from_base64(one, key) for one in many))
