"""Bundles of cosign 3: the verdicts are cosign's where they count, and skopeo's where not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.signed_images import VECTORS, SignedImages, judge, trusting_root, verdicts

from bootd.cli.render.trust import render_trust
from bootd.cli.style import Style
from bootd.model.errors import NotTrustedError
from bootd.model.trust import TrustDocument
from bootd.trust.policy import Fulcio, SigstoreSigned, Source
from bootd.trust.refusal import RefusedSignatureError, UnusableTrustError
from bootd.trust.sigstore.bundle import BUNDLE_TYPE, check_bundle
from bootd.trust.sigstore.rekor import load_log_keys
from bootd.trust.simple.payload import Subject

_COSIGN = verdicts("verdicts-cosign3.tsv")
_BY_KEY = {"type": "sigstoreSigned", "keyPath": "/vectors/keys/key-a.pub"}
_KEYLESS = {
    "type": "sigstoreSigned",
    "fulcio": {
        "caPath": "/authority.pem",
        "oidcIssuer": "https://issuer.example",
        "subjectEmail": "nightly@vectors.example",
    },
    "rekorPublicKeyPath": "/vectors/keys/rekor.pub",
}


def root_of(folder: Path, signer: str) -> Path:
    """Return a root whose policy asks for a signer, whatever the signed name."""
    rule = _BY_KEY if signer == "key-a" else _KEYLESS
    rule = {**rule, "signedIdentity": {"type": "matchRepository"}}
    root = trusting_root(folder, None)
    (root / "etc/containers/policy.json").write_text(json.dumps({"default": [rule]}))
    # A bundle does not bring what is between its certificate and the authority.
    keys = ("fulcio-root.pem", "fulcio-intermediate.pem")
    authority = b"".join((VECTORS / "keys" / key).read_bytes() for key in keys)
    (root / "authority.pem").write_bytes(authority)
    return root


@pytest.mark.parametrize(("signer", "image"), sorted(_COSIGN))
def test_a_bundle_counts_where_cosign_accepts_it(signer: str, image: str, tmp_path: Path) -> None:
    root = root_of(tmp_path, signer)
    try:
        judge(image, root, bundles=True)
    except NotTrustedError:
        verdict = "refused"
    else:
        verdict = "accepted"
    assert verdict == _COSIGN[signer, image]


@pytest.mark.parametrize(
    ("signer", "image"),
    [("key-a", "bundle-key-a"), ("nightly@vectors.example", "bundle-keyless")],
)
def test_a_bundle_that_would_count_is_told(signer: str, image: str, tmp_path: Path) -> None:
    with pytest.raises(NotTrustedError, match="a bundle of cosign 3 would count") as refused:
        judge(image, root_of(tmp_path, signer))
    assert "bundles = true" in refused.value.hint


def test_a_bundle_of_somebody_else_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(NotTrustedError) as refused:
        judge("bundle-key-b", root_of(tmp_path, "key-a"))
    assert "a bundle of cosign" not in refused.value.message


def _bundle(image: str) -> dict[str, Any]:
    source = SignedImages(image)
    (layer,) = source.referrers(source.resolve().digest, BUNDLE_TYPE)
    with source.blob(layer) as stream:
        found: dict[str, Any] = json.loads(b"".join(stream))
    return found


def _check(image: str, bundle: Any) -> str:
    key = Source(data=((VECTORS / "keys/key-a.pub").read_bytes(),))
    subject = Subject(SignedImages(image).resolve().manifest_bytes, None)
    data = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
    return check_bundle(SigstoreSigned(keys=key), data, subject, lambda one, _: list(one.data))


def test_damage_to_a_bundle_is_refused() -> None:
    whole = _bundle("bundle-key-a")
    assert _check("bundle-key-a", whole)
    damaged: list[Any] = [b"", b"{", b"[]", b"null", b'"' + b"x" * 100]
    damaged += [{key: value for key, value in whole.items() if key != one} for one in whole]
    damaged += [{**whole, key: None} for key in whole if key != "verificationMaterial"]
    envelope: dict[str, Any] = whole["dsseEnvelope"]
    damaged += [
        {**whole, "dsseEnvelope": {**envelope, key: value}}
        for key in envelope
        for value in (None, "", [], {}, "AAAA", 1)
    ]
    damaged.remove({key: value for key, value in whole.items() if key != "verificationMaterial"})
    for one in damaged:
        with pytest.raises(RefusedSignatureError):
            _check("bundle-key-a", one)


def _as_in_rekor_2(bundle: dict[str, Any]) -> dict[str, Any]:
    """A bundle with its entry as Rekor 2 gives it (sigstore/rekor-tiles, docs/client-changes)."""
    [entry] = bundle["verificationMaterial"]["tlogEntries"]
    checkpoint = {"envelope": "log.example/tiles\n1\nAAAA\n\n\u2014 log.example/tiles AAAA\n"}
    tiled = {
        "logId": entry["logId"],
        "logIndex": "0",
        "kindVersion": {"kind": "dsse", "version": "0.0.2"},
        "canonicalizedBody": entry["canonicalizedBody"],
        "inclusionProof": {"logIndex": "0", "rootHash": "AAAA", "checkpoint": checkpoint},
    }
    stamps = {"rfc3161Timestamps": [{"signedTimestamp": "MAAA"}]}
    material = {**bundle["verificationMaterial"], "timestampVerificationData": stamps}
    return {**bundle, "verificationMaterial": {**material, "tlogEntries": [tiled]}}


def test_an_entry_of_rekor_2_is_refused_as_such() -> None:
    log = Source(data=((VECTORS / "keys/rekor.pub").read_bytes(),))
    authority = (VECTORS / "keys/fulcio-root.pem").read_bytes()
    fulcio = Fulcio(Source(data=(authority,)), "https://issuer.example", "nightly@vectors.example")
    image = "bundle-keyless"
    tiled = json.dumps(_as_in_rekor_2(_bundle(image))).encode()
    subject = Subject(SignedImages(image).resolve().manifest_bytes, None)
    with pytest.raises(RefusedSignatureError, match="which Rekor 2 does not give"):
        check_bundle(
            SigstoreSigned(fulcio=fulcio, logs=log), tiled, subject, lambda one, _: list(one.data)
        )


def test_the_key_of_a_log_of_rekor_2_cannot_be_used() -> None:
    with pytest.raises(UnusableTrustError, match="a rekorPublicKey is not for ECDSA"):
        load_log_keys([(VECTORS / "keys/key-ed25519.pub").read_bytes()])


def test_a_key_counts_whatever_log_the_entry_is_in() -> None:
    entry = _as_in_rekor_2(_bundle("bundle-keyless"))["verificationMaterial"]["tlogEntries"]
    bundle = _bundle("bundle-key-a")
    material = {**bundle["verificationMaterial"], "tlogEntries": entry}
    assert _check("bundle-key-a", {**bundle, "verificationMaterial": material})


def test_trust_check_tells_who_signed_or_why_not() -> None:
    accepted = TrustDocument(image="a.example/os", accepted=True, scope="default", signers=["me"])
    assert "Signed by  me" in render_trust(accepted, Style(colour=False))
    refused = TrustDocument(image="a.example/os", accepted=False, refusal="no", hint="sign it")
    assert render_trust(refused, Style(colour=False)).splitlines()[1:] == ["no", "hint: sign it"]
    nothing = TrustDocument(image="a.example/os", accepted=True)
    assert "no policy" in render_trust(nothing, Style(colour=False))
