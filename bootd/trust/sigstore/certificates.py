"""Certificates that sign images: from an authority that counts, and for somebody who counts.

OpenSSL builds and checks the chain; see docs/decisions for why not another library.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from bootd.trust.refusal import RefusedSignatureError, UnusableTrustError
from bootd.trust.sigstore.keys import PublicKey

MAX_CERTIFICATES: Final = 20
"""How many certificates a signature may bring."""
_ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
"""Fulcio's extensions for the OpenID issuer (sigstore/fulcio, docs/oid-info.md)."""
_UTF8_STRING: Final = 0x0C
_SHORT_LENGTH: Final = 0x80


def load_authority(contents: Sequence[bytes], what: str) -> list[x509.Certificate]:
    """Return certificates of an authority.

    Raises:
        UnusableTrustError: there is none, or one is damaged.
    """
    try:
        return [one for data in contents for one in x509.load_pem_x509_certificates(data)]
    except ValueError as error:
        raise UnusableTrustError(f"{what} holds no certificates in PEM: {error}") from error


def load_certificate(data: bytes) -> x509.Certificate:
    """Return the one certificate that a signature has.

    Raises:
        RefusedSignatureError: it is none, or several.
    """
    loaded = _load(data, "its certificate")
    if len(loaded) != 1:
        raise RefusedSignatureError(f"it has {len(loaded)} certificates where one belongs")
    return loaded[0]


def load_chain(data: bytes) -> list[x509.Certificate]:
    """Return what is between a signature's certificate and the authority.

    Their last one is the authority's own, which only the policy can name.

    Raises:
        RefusedSignatureError: they are damaged, or too many.
    """
    return _load(data, "the chain of its certificate")[:-1] if data else []


def check_chain(
    certificate: x509.Certificate,
    between: Sequence[x509.Certificate],
    authority: Sequence[x509.Certificate],
    when: datetime,
) -> None:
    """Fail unless an authority issued a certificate for signing code, and it was valid at a time.

    Raises:
        RefusedSignatureError: it did not, or it was not.
    """
    store = crypto.X509Store()
    for root in authority:
        store.add_cert(crypto.X509.from_cryptography(root))
    # What the policy names is trusted, be it signed by itself or not.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(when.replace(tzinfo=None))
    context = crypto.X509StoreContext(
        store,
        crypto.X509.from_cryptography(certificate),
        [crypto.X509.from_cryptography(one) for one in between],
    )
    try:
        chain = context.get_verified_chain()
    except crypto.X509StoreContextError as error:
        raise RefusedSignatureError(f"its certificate does not count: {error}") from error
    if not all(_may_sign_code(one.to_cryptography()) for one in chain):
        raise RefusedSignatureError("its certificate is not for signing code")


def check_email(certificate: x509.Certificate, email: str) -> None:
    """Fail unless a certificate is for an e-mail address.

    Raises:
        RefusedSignatureError: it is not.
    """
    names = _names(certificate)
    emails = [] if names is None else names.get_values_for_type(x509.RFC822Name)
    if email not in emails:
        shown = ", ".join(emails)[:200] or "nobody"
        raise RefusedSignatureError(f"its certificate is for {shown}, not for {email}")


def check_hostname(certificate: x509.Certificate, hostname: str) -> None:
    """Fail unless a certificate is for a host (RFC 6125, section 6.4).

    Raises:
        RefusedSignatureError: it is not.
    """
    names = _names(certificate)
    if names is not None:
        with suppress(ValueError):
            address = ipaddress.ip_address(hostname.strip("[]"))
            if address in names.get_values_for_type(x509.IPAddress):
                return
        if any(_covers(one, hostname) for one in names.get_values_for_type(x509.DNSName)):
            return
    raise RefusedSignatureError(f"its certificate is not for {hostname}")


def check_issuer(certificate: x509.Certificate, issuer: str) -> None:
    """Fail unless Fulcio says in a certificate that an OpenID issuer vouched for its owner.

    Raises:
        RefusedSignatureError: it names another, none, or two.
    """
    named = set()
    for oid in (_ISSUER, _ISSUER_V2):
        with suppress(x509.ExtensionNotFound):
            extension = certificate.extensions.get_extension_for_oid(oid).value
            assert isinstance(extension, x509.UnrecognizedExtension)
            raw = extension.value if oid == _ISSUER else _utf8_string(extension.value)
            named.add(raw.decode(errors="replace"))
    if named != {issuer}:
        shown = " and ".join(sorted(named))[:200] or "nobody"
        raise RefusedSignatureError(f"{shown} vouched for its certificate, not {issuer}")


def key_of(certificate: x509.Certificate) -> PublicKey:
    """Return the key of a certificate.

    Raises:
        RefusedSignatureError: it is of a kind that signs no images.
    """
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RefusedSignatureError("the key of its certificate is of no known kind") from error
    if not isinstance(key, PublicKey):
        raise RefusedSignatureError("the key of its certificate is of a kind that signs no images")
    return key


def certificate_der(certificate: x509.Certificate) -> bytes:
    """Return a certificate in DER."""
    return certificate.public_bytes(Encoding.DER)


def _load(data: bytes, what: str) -> list[x509.Certificate]:
    try:
        loaded = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise RefusedSignatureError(f"{what} is damaged: {error}") from error
    if len(loaded) > MAX_CERTIFICATES:
        raise RefusedSignatureError(f"{what} has more than {MAX_CERTIFICATES} certificates")
    return loaded


def _may_sign_code(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return bool(
        {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage)
    )


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    except ValueError as error:
        raise RefusedSignatureError(f"the names in its certificate are damaged: {error}") from error


def _covers(pattern: str, hostname: str) -> bool:
    pattern, hostname = pattern.lower().rstrip("."), hostname.lower().rstrip(".")
    if pattern.startswith("*."):
        _, dot, parent = hostname.partition(".")
        return bool(dot) and parent == pattern[2:]
    return pattern == hostname and bool(pattern)


def _utf8_string(data: bytes) -> bytes:
    """Return the contents of a UTF8String in DER (X.690, section 8.23)."""
    short = len(data) > 1 and data[0] == _UTF8_STRING and data[1] < _SHORT_LENGTH
    if not short or len(data) != 2 + data[1]:
        raise RefusedSignatureError("the issuer in its certificate is of no known form")
    return data[2:]
