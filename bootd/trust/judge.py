"""Requirements that ask for a signature, met or not by the signatures of one image."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from bootd.model.errors import InvalidTrustPolicyError, NotTrustedError
from bootd.trust.gpg import signed_content
from bootd.trust.payload import SIMPLE_SIGNING, Subject, check_payload
from bootd.trust.policy import SignedBy, SigstoreSigned, Source
from bootd.trust.refusal import RefusedSignatureError, UnusableTrustError
from bootd.trust.signatures import SignatureReader
from bootd.trust.sigstore import check_sigstore

_MAX_KEY_FILE: Final = 4 << 20
_SHOWN: Final = 300
_T = TypeVar("_T")


class Judge:
    """Judges one image; all requirements share the signatures that were read."""

    def __init__(
        self, subject: Subject, reader: SignatureReader, root: Path, now: datetime
    ) -> None:
        self._subject = subject
        self._reader = reader
        self._root = root
        self._now = now

    def check(self, requirement: SignedBy | SigstoreSigned) -> str:
        """Return who signed, in words.

        Raises:
            NotTrustedError: the requirement is not met.
            InvalidTrustPolicyError: a key or a certificate that it names cannot be used.
            InvalidConfigurationError, TransportError, WriteFailedError: see `SignatureReader`.
        """
        if isinstance(requirement, SignedBy):
            return self._signed_by(requirement)
        return self._sigstore_signed(requirement)

    def _signed_by(self, requirement: SignedBy) -> str:
        if requirement.key_type != "GPGKeys":
            raise NotTrustedError(f"nothing can meet the keyType {requirement.key_type}")

        def check(signature: bytes) -> str:
            content, signer = signed_content(signature, self._read(requirement.keys, "key"))
            check_payload(content, SIMPLE_SIGNING, self._subject, requirement.identity)
            return f"the OpenPGP key {signer}"

        return self._first(self._reader.simple(), check, "simple")

    def _sigstore_signed(self, requirement: SigstoreSigned) -> str:
        signatures = self._reader.sigstore()
        if not signatures and not self._reader.looks_beside:
            raise NotTrustedError(
                "it asks for a sigstore signature, and none is looked for",
                hint="Set use-sigstore-attachments: true in /etc/containers/registries.d.",
            )
        return self._first(
            signatures,
            lambda one: check_sigstore(requirement, one, self._subject, self._read, self._now),
            "sigstore",
        )

    def _first(self, signatures: list[_T], check: Callable[[_T], str], kind: str) -> str:
        """Return what the first signature that counts is by."""
        refusals = []
        for signature in signatures:
            try:
                return check(signature)
            except RefusedSignatureError as error:
                refusals.append(str(error)[:_SHOWN])
            except UnusableTrustError as error:
                raise InvalidTrustPolicyError(str(error)) from error
        if not refusals:
            raise NotTrustedError(f"it asks for a {kind} signature, and the image has none")
        told = "; ".join(dict.fromkeys(refusals))[: 2 * _SHOWN]
        if len(refusals) == 1:
            raise NotTrustedError(f"its signature does not count: {told}")
        raise NotTrustedError(f"none of its {len(refusals)} signatures counts: {told}")

    def _read(self, source: Source, what: str) -> list[bytes]:
        """Return the keys or certificates that a policy names; `what` is their key in it."""
        contents = list(source.data)
        for path in source.paths:
            try:
                with (self._root / path.lstrip("/")).open("rb") as stream:
                    data = stream.read(_MAX_KEY_FILE + 1)
            except OSError as error:
                raise UnusableTrustError(f"{what} {path}: {error.strerror}") from error
            if len(data) > _MAX_KEY_FILE:
                raise UnusableTrustError(f"{what} {path} has more than {_MAX_KEY_FILE} bytes")
            contents.append(data)
        return contents
