"""Requirements that ask for a signature, met or not by the signatures of one image."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from bootd.model.errors import BootdError, InvalidTrustPolicyError, NotTrustedError
from bootd.trust.policy import SignedBy, SigstoreSigned, Source
from bootd.trust.refusal import RefusedSignatureError, UnusableTrustError
from bootd.trust.signatures import SignatureReader
from bootd.trust.sigstore.bundle import check_bundle
from bootd.trust.sigstore.signature import check_sigstore
from bootd.trust.simple.gpg import signed_content
from bootd.trust.simple.payload import SIMPLE_SIGNING, Subject, check_payload

_log = logging.getLogger(__name__)

_MAX_KEY_FILE: Final = 4 << 20
_SHOWN: Final = 300
_T = TypeVar("_T")


class Judge:
    """Judges one image; all requirements share the signatures that were read."""

    def __init__(
        self,
        subject: Subject,
        reader: SignatureReader,
        root: Path,
        now: datetime,
        *,
        bundles: bool,
    ) -> None:
        self._subject = subject
        self._reader = reader
        self._root = root
        self._now = now
        self._bundles = bundles

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
        """Return who signed; a bundle is looked at where no signature beside the image counts."""
        signatures = self._reader.sigstore()
        try:
            return self._first(
                signatures,
                lambda one: check_sigstore(requirement, one, self._subject, self._read, self._now),
                "sigstore",
            )
        except NotTrustedError as error:
            if self._bundles:
                return self._by_bundle(requirement, error)
            raise self._with_a_way(requirement, error, any_signature=bool(signatures)) from error

    def _by_bundle(self, requirement: SigstoreSigned, beside: NotTrustedError) -> str:
        bundles = self._reader.bundles()
        if not bundles:
            raise beside
        return self._first(
            bundles,
            lambda one: check_bundle(requirement, one, self._subject, self._read),
            "sigstore",
        )

    def _with_a_way(
        self, requirement: SigstoreSigned, error: NotTrustedError, *, any_signature: bool
    ) -> NotTrustedError:
        """Return a refusal with what would let a signature count that is not looked at."""
        if self._would_count(requirement):
            return NotTrustedError(
                f"{error.message}; a bundle of cosign 3 would count",
                hint="A bundle names no repository, so signedIdentity cannot be checked on it; "
                "bundles = true under [trust] in bootd.toml lets it count all the same.",
            )
        if any_signature or self._reader.looks_beside:
            return error
        return NotTrustedError(
            "it asks for a sigstore signature, and none is looked for",
            hint="Set use-sigstore-attachments: true in /etc/containers/registries.d.",
        )

    def _would_count(self, requirement: SigstoreSigned) -> bool:
        try:
            for bundle in self._reader.bundles():
                with suppress(RefusedSignatureError):
                    check_bundle(requirement, bundle, self._subject, self._read)
                    return True
        except (BootdError, UnusableTrustError) as error:
            _log.debug("no bundle was looked at: %s", error)
        return False

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
