"""Proof that a signature is in a transparency log: Rekor's signed entry timestamp.

cosign keeps it in the annotation ``dev.sigstore.cosign/bundle`` (cosign, pkg/cosign/bundle). The
log signs the canonical JSON (RFC 8785) of its entry; the entry, a ``hashedrekord`` 0.0.1, names
the signature, its key or certificate, and the digest of what was signed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from bootd.trust.refusal import RefusedSignatureError, UnusableTrustError
from bootd.trust.sigstore.keys import load_keys, only_pem, verify
from bootd.trust.strict_json import (
    InvalidJsonError,
    fields,
    from_base64,
    integer,
    parse_json,
    text,
)


def load_log_keys(contents: Sequence[bytes]) -> list[EllipticCurvePublicKey]:
    """Return public keys of logs.

    Raises:
        UnusableTrustError: one is none for ECDSA.
    """
    keys = load_keys(contents, "rekorPublicKey")
    curves = [key for key in keys if isinstance(key, EllipticCurvePublicKey)]
    if len(curves) != len(keys):
        raise UnusableTrustError("a rekorPublicKey is not for ECDSA")
    return curves


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry that a log has signed.

    Attributes:
        when: when the log took it in.
        value: what it is about, JSON.
    """

    when: datetime
    value: Any

    @classmethod
    def signed_by(
        cls,
        logs: Sequence[EllipticCurvePublicKey],
        timestamp: bytes,
        *,
        body: str,
        integrated: int,
        index: int,
        log: str,
    ) -> Self:
        """Return an entry if one of some logs signed it.

        Args:
            logs: keys of the logs that count.
            timestamp: the signed entry timestamp.
            body: what the entry is about, JSON in base64.
            integrated: when the log took it in, in seconds since 1970.
            index: its place in the log.
            log: the log's identifier, in hex digits.

        Raises:
            RefusedSignatureError: none of them did, or its time is none.
            InvalidJsonError: `body` is no JSON in base64.
        """
        payload = {"body": body, "integratedTime": integrated, "logID": log, "logIndex": index}
        # RFC 8785 for an object of strings and whole numbers whose names are ASCII.
        canonical = json.dumps(
            payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode(errors="replace")
        if not any(verify(key, canonical, timestamp) for key in logs):
            raise RefusedSignatureError("no log that counts signed its entry")
        try:
            when = datetime.fromtimestamp(integrated, UTC)
        except (OverflowError, ValueError, OSError) as error:
            raise RefusedSignatureError("its entry in a log has no time") from error
        return cls(when, parse_json(from_base64(body, "body"), "body"))


def logged_at(
    logs: Sequence[EllipticCurvePublicKey],
    entry: bytes,
    signer: bytes,
    signature: bytes,
    signed: bytes,
) -> datetime:
    """Return when a log took a signature in.

    Args:
        logs: keys of the logs that count.
        entry: the signed entry timestamp, as cosign keeps it.
        signer: the key or certificate of the signature, DER.
        signature: the signature.
        signed: what was signed.

    Raises:
        RefusedSignatureError: no such log signed the entry, or it is another signature's.
    """
    try:
        value = fields(
            parse_json(entry, "the log's entry"), "it", {"SignedEntryTimestamp", "Payload"}
        )
        payload = fields(
            value["Payload"], "Payload", {"body", "integratedTime", "logIndex", "logID"}
        )
        found = LogEntry.signed_by(
            logs,
            from_base64(value["SignedEntryTimestamp"], "SignedEntryTimestamp"),
            body=text(payload["body"], "body"),
            integrated=integer(payload["integratedTime"], "integratedTime"),
            index=integer(payload["logIndex"], "logIndex"),
            log=text(payload["logID"], "logID"),
        )
        _check_entry(found.value, signer, signature, signed)
    except InvalidJsonError as error:
        raise RefusedSignatureError(f"its entry in a log is of no known form: {error}") from error
    return found.when


def at(value: Any, *keys: str) -> Any:
    """Return what stands in objects within objects; None: there is nothing, or no object."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _check_entry(entry: Any, signer: bytes, signature: bytes, signed: bytes) -> None:
    """Fail unless a log's entry is about this signature."""
    if (at(entry, "kind"), at(entry, "apiVersion")) != ("hashedrekord", "0.0.1"):
        raise RefusedSignatureError("its entry in a log is no hashedrekord 0.0.1")
    of_signature = at(entry, "spec", "signature")
    listed = from_base64(at(of_signature, "publicKey", "content"), "publicKey")
    if only_pem(listed, "the key in its entry in a log") != signer:
        raise RefusedSignatureError("its entry in a log is for another key")
    if from_base64(at(of_signature, "content"), "content") != signature:
        raise RefusedSignatureError("its entry in a log is for another signature")
    listed_hash = at(entry, "spec", "data", "hash")
    if (at(listed_hash, "algorithm"), at(listed_hash, "value")) != (
        "sha256",
        sha256(signed).hexdigest(),
    ):
        raise RefusedSignatureError("its entry in a log is for something else that was signed")
