"""The signatures of an image, from where registries.d says they lie.

Nothing is judged here. How many there are and how large they are together has a bound, for anybody
who serves an image can put any number beside it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from bootd.clock import Clock
from bootd.durable import storage_errors
from bootd.model.digest import Digest
from bootd.model.errors import InvalidConfigurationError, NotTrustedError
from bootd.model.registry.image import Descriptor
from bootd.registry.document import fetch_document
from bootd.registry.reference import Reference, RegistryReference
from bootd.registry.settings import RegistrySettings
from bootd.registry.sources.source import ImageSource
from bootd.trust.scopes import scopes_of
from bootd.trust.sigstore.bundle import BUNDLE_TYPE
from bootd.trust.sigstore.signature import SIGNATURE_TYPE, SigstoreSignature
from bootd.trust.simple.docker_reference import canonical_name
from bootd.trust.simple.lookaside import Places, load_places

MAX_SIGNATURES: Final = 128
"""How many signatures of one kind an image may have, as in podman."""
MAX_SIZE: Final = 4 << 20
"""Bytes of one signature, as in podman."""
_MAX_TOGETHER: Final = 16 << 20
_SIMPLE_FIRST_BYTES: Final = frozenset(
    (0xA0, 0xA1, 0xA2, 0xA3, 0xC8, 0x90, 0x91, 0x92, 0x3D, 0xC4, 0x88, 0x89, 0x8A, 0x8B, 0xC2)
)
"""What OpenPGP messages that are signed begin with (RFC 9580, section 4.2)."""
_NAMED_FORMAT: Final = b"\0simple-signing\n"
"""How simple signatures begin where their format is named (containers/image,
internal/signature/signature.go)."""


class SignatureReader:
    """Reads the signatures of one image, each kind when it is first asked for."""

    def __init__(
        self,
        source: ImageSource,
        reference: Reference,
        digest: Digest,
        settings: RegistrySettings,
        clock: Clock,
    ) -> None:
        self._source = source
        self._reference = reference
        self._scopes = scopes_of(reference)
        self._digest = digest
        self._settings = settings
        self._clock = clock
        self._places: Places | None = None
        self._simple: list[bytes] | None = None
        self._sigstore: list[SigstoreSignature] | None = None
        self._bundles: list[bytes] | None = None

    @property
    def places(self) -> Places:
        """What registries.d says.

        Raises:
            InvalidConfigurationError, WriteFailedError: see `load_places`.
        """
        if self._places is None:
            self._places = load_places(self._settings.root)
        return self._places

    @property
    def looks_beside(self) -> bool:
        """Whether registries.d lets sigstore signatures count."""
        return isinstance(self._reference, RegistryReference) and self.places.beside(self._scopes)

    def simple(self) -> list[bytes]:
        """Return the simple signatures of the image.

        Raises:
            NotTrustedError: they are too many, too large, or of no known format.
            InvalidConfigurationError, WriteFailedError: see `load_places`.
            TransportError: they cannot be had.
        """
        if self._simple is None:
            self._simple = list(self._read_simple())
        return self._simple

    def sigstore(self) -> list[SigstoreSignature]:
        """Return the sigstore signatures beside the image; see `simple` for errors."""
        if self._sigstore is None:
            self._sigstore = self._read_sigstore() if self.looks_beside else []
        return self._sigstore

    def bundles(self) -> list[bytes]:
        """Return the bundles that refer to the image; see `simple` for errors."""
        if self._bundles is None:
            listed = self._source.referrers(self._digest, BUNDLE_TYPE)
            self._bundles = [data for _, data in self._read_blobs(listed)]
        return self._bundles

    def _read_simple(self) -> Iterator[bytes]:
        if not isinstance(self._reference, RegistryReference):
            return
        base = self.places.lookaside(self._scopes)
        path = canonical_name(self._reference.domain, self._reference.path).partition("/")[2]
        folder = f"{base.rstrip('/')}/{path}@{self._digest.algorithm}={self._digest.hex}"
        together = 0
        for number in range(1, MAX_SIGNATURES + 2):
            place = f"{folder}/signature-{number}"
            data = self._read_place(place)
            if data is None:
                return
            together += len(data)
            if number > MAX_SIGNATURES or together > _MAX_TOGETHER:
                raise _too_many()
            message = _simple_message(data, place)
            if message is not None:
                yield message

    def _read_place(self, place: str) -> bytes | None:
        """Return what lies at a URL, or None."""
        parts = urlsplit(place)
        if parts.scheme == "file":
            return _read_file(_below(self._settings.root, unquote(parts.path)))
        if parts.scheme in {"http", "https"}:
            return fetch_document(place, MAX_SIZE, self._settings, self._clock)
        raise InvalidConfigurationError(
            f"the lookaside {place[:200]!r} is no URL of a file or of HTTP",
            hint="containers-registries.d(5) describes these files.",
        )

    def _read_sigstore(self) -> list[SigstoreSignature]:
        listed = self._source.beside(f"{self._digest.algorithm}-{self._digest.hex}.sig")
        wanted = [one for one in listed if one.media_type == SIGNATURE_TYPE]
        return [
            SigstoreSignature(one.media_type, data, one.annotations)
            for one, data in self._read_blobs(wanted)
        ]

    def _read_blobs(self, listed: list[Descriptor]) -> list[tuple[Descriptor, bytes]]:
        sizes = [one.size for one in listed]
        if len(sizes) > MAX_SIGNATURES or max(sizes, default=0) > MAX_SIZE:
            raise _too_many()
        if sum(sizes) > _MAX_TOGETHER:
            raise _too_many()
        read = []
        for descriptor in listed:
            with self._source.blob(descriptor) as stream:
                read.append((descriptor, b"".join(stream)))
        return read


def _below(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _read_file(path: Path) -> bytes | None:
    with storage_errors("read", path):
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_SIZE + 1)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                return None
            raise
    if len(data) > MAX_SIZE:
        raise _too_many()
    return data


def _simple_message(data: bytes, place: str) -> bytes | None:
    """Return the OpenPGP message of a simple signature; None: it is a signature of another kind."""
    if data.startswith(_NAMED_FORMAT):
        return data.removeprefix(_NAMED_FORMAT)
    if data[:1] == b"\0":
        return None
    if not data or data[0] not in _SIMPLE_FIRST_BYTES:
        raise NotTrustedError(f"{place} is no signature")
    return data


def _too_many() -> NotTrustedError:
    return NotTrustedError(
        f"the image has more than {MAX_SIGNATURES} signatures, one of more than {MAX_SIZE} bytes, "
        f"or more than {_MAX_TOGETHER} bytes of them"
    )
