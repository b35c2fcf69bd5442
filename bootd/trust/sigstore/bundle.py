"""Bundles that cosign 3 makes: a signature with all that is needed to check it, in one document.

Source: sigstore/protobuf-specs, sigstore_bundle.proto (version 0.3, as JSON); DSSE (secure-systems-
lab/dsse, protocol.md); in-toto, Statement v1. A bundle names the manifest's digest and no
repository, so that ``signedIdentity`` cannot be checked on it; see `bootd.trust.judge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from bootd.trust.policy import ReadSource, SigstoreSigned, Source
from bootd.trust.refusal import RefusedSignatureError
from bootd.trust.sigstore.certificates import (
    check_chain,
    check_email,
    check_issuer,
    key_of,
    load_authority,
)
from bootd.trust.sigstore.keys import PublicKey, key_der, load_keys, only_pem, verify
from bootd.trust.sigstore.rekor import LogEntry, at, load_log_keys
from bootd.trust.simple.payload import Subject
from bootd.trust.strict_json import InvalidJsonError, from_base64, parse_json, text

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_SIGNED: Final = "https://sigstore.dev/cosign/sign/v1"
"""What ``cosign sign`` states; other statements about an image are no signatures of it."""
_PAYLOAD: Final = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What was signed (DSSE, "Envelope").

    Attributes:
        payload: the statement.
        signature: the signature of `signed`.
    """

    payload: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is over (DSSE, "PAE")."""
        kind = _PAYLOAD.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)


def check_bundle(
    requirement: SigstoreSigned, data: bytes, subject: Subject, read: ReadSource
) -> str:
    """Return who signed, in words, if a bundle meets a requirement but for the signed name.

    Args:
        requirement: what is asked.
        data: the bundle.
        subject: the image.
        read: returns keys and certificates.

    Raises:
        RefusedSignatureError: it does not.
        UnusableTrustError: keys or certificates cannot be used.
    """
    try:
        bundle = parse_json(data, "the bundle")
        if at(bundle, "mediaType") != BUNDLE_TYPE:
            raise RefusedSignatureError("it is a bundle of another version than 0.3")
        envelope = _envelope(at(bundle, "dsseEnvelope"))
        _check_statement(envelope.payload, subject)
        if requirement.keys is not None:
            return _by_key(requirement, requirement.keys, bundle, envelope, read)
        if requirement.fulcio is not None:
            return _by_fulcio(requirement, bundle, envelope, read)
    except InvalidJsonError as error:
        raise RefusedSignatureError(f"the bundle is of no known form: {error}") from error
    raise RefusedSignatureError("a bundle cannot meet pki")


def _by_key(
    requirement: SigstoreSigned,
    source: Source,
    bundle: Any,
    envelope: Envelope,
    read: ReadSource,
) -> str:
    keys = [key for key in load_keys(read(source, "key"), "key") if _signed(envelope, key)]
    if not keys:
        raise RefusedSignatureError("it is by none of the keys that count, or was altered")
    if requirement.logs is None:
        return "a sigstore key, in a bundle"
    logs = load_log_keys(read(requirement.logs, "rekorPublicKey"))
    _check_log(bundle, envelope, logs, key_der(keys[0]))
    return "a sigstore key, in a bundle and in a log"


def _by_fulcio(
    requirement: SigstoreSigned, bundle: Any, envelope: Envelope, read: ReadSource
) -> str:
    fulcio = requirement.fulcio
    assert fulcio is not None
    assert requirement.logs is not None
    authority = load_authority(read(fulcio.authority, "ca"), "ca")
    logs = load_log_keys(read(requirement.logs, "rekorPublicKey"))
    raw = from_base64(at(bundle, "verificationMaterial", "certificate", "rawBytes"), "certificate")
    try:
        certificate = x509.load_der_x509_certificate(raw)
    except ValueError as error:
        raise RefusedSignatureError(f"its certificate is damaged: {error}") from error
    entry = _check_log(bundle, envelope, logs, raw)
    check_chain(certificate, [], authority, entry.when)
    check_issuer(certificate, fulcio.issuer)
    check_email(certificate, fulcio.email)
    if not _signed(envelope, key_of(certificate)):
        raise RefusedSignatureError("it is not by the key of its certificate, or was altered")
    return f"{fulcio.email}, vouched for by {fulcio.issuer}, in a bundle"


def _signed(envelope: Envelope, key: PublicKey) -> bool:
    return verify(key, envelope.signed, envelope.signature)


def _envelope(value: Any) -> Envelope:
    if at(value, "payloadType") != _PAYLOAD:
        raise RefusedSignatureError("the bundle holds no in-toto statement")
    signatures = at(value, "signatures")
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise RefusedSignatureError("the bundle has not one signature")
    return Envelope(
        from_base64(at(value, "payload"), "payload"), from_base64(at(signatures[0], "sig"), "sig")
    )


def _check_statement(payload: bytes, subject: Subject) -> None:
    statement = parse_json(payload, "the statement")
    if (at(statement, "_type"), at(statement, "predicateType")) != (_STATEMENT, _SIGNED):
        raise RefusedSignatureError("the bundle states something else than that it is signed")
    about = at(statement, "subject")
    digests = [at(one, "digest", "sha256") for one in about] if isinstance(about, list) else []
    if not any(isinstance(one, str) and subject.has_digest(f"sha256:{one}") for one in digests):
        raise RefusedSignatureError("the bundle is for another image")


def _check_log(
    bundle: Any, envelope: Envelope, logs: Sequence[EllipticCurvePublicKey], signer: bytes
) -> LogEntry:
    """Return the entry of a log that counts, which is about this envelope."""
    entries = at(bundle, "verificationMaterial", "tlogEntries")
    if not isinstance(entries, list) or len(entries) != 1:
        raise RefusedSignatureError("the bundle has not one entry of a log")
    (told,) = entries
    promise = at(told, "inclusionPromise", "signedEntryTimestamp")
    if promise is None:
        raise RefusedSignatureError(
            "its entry in a log has no signed entry timestamp, which Rekor 2 does not give"
        )
    entry = LogEntry.signed_by(
        logs,
        from_base64(promise, "signedEntryTimestamp"),
        body=text(at(told, "canonicalizedBody"), "canonicalizedBody"),
        integrated=_number(at(told, "integratedTime"), "integratedTime"),
        index=_number(at(told, "logIndex") or "0", "logIndex"),
        log=from_base64(at(told, "logId", "keyId"), "keyId").hex(),
    )
    _check_entry(entry.value, envelope, signer)
    return entry


def _check_entry(entry: Any, envelope: Envelope, signer: bytes) -> None:
    """Fail unless a log's entry of the kind ``dsse`` is about this envelope."""
    if (at(entry, "kind"), at(entry, "apiVersion")) != ("dsse", "0.0.1"):
        raise RefusedSignatureError("its entry in a log is no dsse 0.0.1")
    told = at(entry, "spec", "payloadHash")
    if (at(told, "algorithm"), at(told, "value")) != (
        "sha256",
        sha256(envelope.payload).hexdigest(),
    ):
        raise RefusedSignatureError("its entry in a log is for something else that was signed")
    listed = at(entry, "spec", "signatures")
    for one in listed if isinstance(listed, list) else []:
        same = from_base64(at(one, "signature"), "signature") == envelope.signature
        verifier = from_base64(at(one, "verifier"), "verifier")
        if same and only_pem(verifier, "the key in its entry in a log") == signer:
            return
    raise RefusedSignatureError("its entry in a log is for another signature")


def _number(value: Any, what: str) -> int:
    """Return a 64-bit number, which protobuf writes as a string (ProtoJSON)."""
    digits = str(value)
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):  # noqa: PLR2004 - 64 bits
        raise InvalidJsonError(f"{what} is not a whole number")
    return int(digits)
