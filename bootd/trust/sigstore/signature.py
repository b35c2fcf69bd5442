"""Sigstore signatures that lie beside an image, judged as podman judges them.

Source: containers-policy.json(5), "sigstoreSigned", and what cosign writes (cosign,
specs/SIGNATURE_SPEC.md). The bytes of the signature, of its certificate and of the log's entry are
annotations of the layer whose blob is what was signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bootd.trust.policy import Fulcio, Pki, ReadSource, SigstoreSigned, Source
from bootd.trust.refusal import RefusedSignatureError
from bootd.trust.sigstore.certificates import (
    certificate_der,
    check_chain,
    check_email,
    check_hostname,
    check_issuer,
    key_of,
    load_authority,
    load_certificate,
    load_chain,
)
from bootd.trust.sigstore.keys import PublicKey, key_der, load_keys, verify
from bootd.trust.sigstore.rekor import load_log_keys, logged_at
from bootd.trust.simple.payload import COSIGN, Subject, check_payload
from bootd.trust.strict_json import InvalidJsonError, from_base64

SIGNATURE_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
_PREFIX: Final = "dev.sigstore.cosign/"
_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_ENTRY: Final = f"{_PREFIX}bundle"
_CERTIFICATE: Final = f"{_PREFIX}certificate"
_CHAIN: Final = f"{_PREFIX}chain"


@dataclass(frozen=True, slots=True)
class SigstoreSignature:
    """A signature beside an image.

    Attributes:
        media_type: what it is; only `SIGNATURE_TYPE` counts.
        payload: what was signed.
        annotations: the signature, and what belongs to it.
    """

    media_type: str
    payload: bytes
    annotations: Mapping[str, str]

    def annotation(self, key: str) -> bytes:
        """Return what stands under a key.

        Raises:
            RefusedSignatureError: nothing does.
        """
        if key not in self.annotations:
            raise RefusedSignatureError(f"it has no {key}")
        return self.annotations[key].encode(errors="replace")

    @property
    def chain(self) -> bytes:
        """The certificates between that of the signature and the authority's, PEM, or nothing."""
        return self.annotations.get(_CHAIN, "").encode(errors="replace")

    @property
    def signature(self) -> bytes:
        """The bytes of the signature.

        Raises:
            RefusedSignatureError: there are none.
        """
        try:
            return from_base64(self.annotations.get(_SIGNATURE), "the signature")
        except InvalidJsonError as error:
            raise RefusedSignatureError(str(error)) from error


def check_sigstore(
    requirement: SigstoreSigned,
    signature: SigstoreSignature,
    subject: Subject,
    read: ReadSource,
    now: datetime,
) -> str:
    """Return who signed, in words, if a signature meets a requirement.

    Args:
        requirement: what is asked.
        signature: the signature.
        subject: the image.
        read: returns keys and certificates.
        now: the time, for certificates that no log vouches for.

    Raises:
        RefusedSignatureError: it does not.
        UnusableTrustError: keys or certificates cannot be used.
    """
    if requirement.keys is not None:
        signers, who = _by_key(requirement, requirement.keys, signature, read)
    elif requirement.fulcio is not None:
        signers, who = _by_fulcio(requirement, requirement.fulcio, signature, read)
    else:
        assert requirement.pki is not None
        signers, who = _by_pki(requirement.pki, signature, read, now)
    if not any(verify(key, signature.payload, signature.signature) for key in signers):
        raise RefusedSignatureError("it is by none of the keys that count, or was altered")
    check_payload(signature.payload, COSIGN, subject, requirement.identity)
    return who


def _by_key(
    requirement: SigstoreSigned, source: Source, signature: SigstoreSignature, read: ReadSource
) -> tuple[list[PublicKey], str]:
    keys = load_keys(read(source, "key"), "key")
    if requirement.logs is None:
        return keys, "a sigstore key"
    logs = load_log_keys(read(requirement.logs, "rekorPublicKey"))
    entry = signature.annotation(_ENTRY)
    refusals = []
    for key in keys:
        try:
            logged_at(logs, entry, key_der(key), signature.signature, signature.payload)
        except RefusedSignatureError as error:
            refusals.append(str(error))
        else:
            return [key], "a sigstore key, in a log"
    raise RefusedSignatureError("; ".join(refusals))


def _by_fulcio(
    requirement: SigstoreSigned, fulcio: Fulcio, signature: SigstoreSignature, read: ReadSource
) -> tuple[list[PublicKey], str]:
    authority = load_authority(read(fulcio.authority, "ca"), "ca")
    assert requirement.logs is not None
    logs = load_log_keys(read(requirement.logs, "rekorPublicKey"))
    entry = signature.annotation(_ENTRY)
    certificate = load_certificate(signature.annotation(_CERTIFICATE))
    when = logged_at(
        logs, entry, certificate_der(certificate), signature.signature, signature.payload
    )
    between = load_chain(signature.chain)
    check_chain(certificate, between, authority, when)
    check_issuer(certificate, fulcio.issuer)
    check_email(certificate, fulcio.email)
    return [key_of(certificate)], f"{fulcio.email}, vouched for by {fulcio.issuer}"


def _by_pki(
    pki: Pki, signature: SigstoreSignature, read: ReadSource, now: datetime
) -> tuple[list[PublicKey], str]:
    roots = load_authority(read(pki.roots, "caRoots"), "caRoots")
    between = []
    if pki.intermediates is not None:
        between = load_authority(read(pki.intermediates, "caIntermediates"), "caIntermediates")
    certificate = load_certificate(signature.annotation(_CERTIFICATE))
    between += load_chain(signature.chain)
    check_chain(certificate, between, roots, now)
    if pki.email:
        check_email(certificate, pki.email)
    if pki.hostname:
        check_hostname(certificate, pki.hostname)
    return [key_of(certificate)], pki.email or pki.hostname
