"""Readers of what decides whether an image is accepted: policies, signatures, certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bootd.trust.policy import Fulcio, SigstoreSigned, Source, parse_policy
from bootd.trust.refusal import RefusedSignatureError, UnusableTrustError
from bootd.trust.sigstore.bundle import check_bundle
from bootd.trust.sigstore.identity import MatchRepository
from bootd.trust.sigstore.signature import SIGNATURE_TYPE, SigstoreSignature, check_sigstore
from bootd.trust.simple.docker_reference import parse_docker_reference
from bootd.trust.simple.payload import COSIGN, SIMPLE_SIGNING, Subject, check_payload
from bootd.trust.strict_json import InvalidJsonError
from fuzz.target import Target

_KEYS = Path(__file__).parents[1] / "vectors/signatures/keys"
_REFUSALS = (RefusedSignatureError, UnusableTrustError, InvalidJsonError)
_IDENTITY = MatchRepository()
_NAME = parse_docker_reference("vectors.example/os:key-a")
assert _NAME is not None


class _AnyImage(Subject):
    """An image that every digest is of: what is signed is not what is fuzzed here."""

    def has_digest(self, digest: str) -> bool:
        super().has_digest(digest)
        return True


_SUBJECT = _AnyImage(b"{}", _NAME)
_NOW = datetime(2026, 11, 30, tzinfo=UTC)
_SEPARATOR = b"\n--\n"
_ANNOTATIONS = (
    "dev.cosignproject.cosign/signature",
    "dev.sigstore.cosign/bundle",
    "dev.sigstore.cosign/certificate",
    "dev.sigstore.cosign/chain",
)


def _keys(*names: str) -> Source:
    return Source(data=tuple((_KEYS / name).read_bytes() for name in names))


_AUTHORITY = _keys("fulcio-root.pem", "fulcio-intermediate.pem")
_REQUIREMENTS = (
    SigstoreSigned(_keys("key-a.pub"), None, None, None, _IDENTITY),
    SigstoreSigned(_keys("key-a.pub"), None, None, _keys("rekor.pub"), _IDENTITY),
    SigstoreSigned(
        None,
        Fulcio(_AUTHORITY, "https://issuer.example", "nightly@vectors.example"),
        None,
        _keys("rekor.pub"),
        _IDENTITY,
    ),
)


def _any(checks: Iterable[Callable[[], object]]) -> None:
    """Make all checks; fail as the last one does if none is passed."""
    passed, refusal = False, RefusedSignatureError("nothing was checked")
    for check in checks:
        try:
            check()
            passed = True
        except RefusedSignatureError as error:
            refusal = error
    if not passed:
        raise refusal


def _read(source: Source, _what: str) -> list[bytes]:
    return list(source.data)


def _policy(data: bytes) -> None:
    parse_policy(data)


def _payload(data: bytes) -> None:
    kinds = (SIMPLE_SIGNING, COSIGN)
    _any(partial(check_payload, data, kind, _SUBJECT, _IDENTITY) for kind in kinds)


def _bundle(data: bytes) -> None:
    _any(partial(check_bundle, one, data, _SUBJECT, _read) for one in _REQUIREMENTS)


def _signature(data: bytes) -> None:
    payload, *rest = data.split(_SEPARATOR, len(_ANNOTATIONS))
    texts = (part.decode("latin-1") for part in rest)
    annotations = dict(zip(_ANNOTATIONS, texts, strict=False))
    signature = SigstoreSignature(SIGNATURE_TYPE, payload, annotations)
    _any(partial(check_sigstore, one, signature, _SUBJECT, _read, _NOW) for one in _REQUIREMENTS)


TARGETS = (
    Target("policy", _policy, _REFUSALS),
    Target("payload", _payload, _REFUSALS),
    Target("bundle", _bundle, _REFUSALS),
    Target("signature", _signature, _REFUSALS),
)
