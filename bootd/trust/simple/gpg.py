"""Simple signatures by OpenPGP keys (containers-signature(5)), checked by GnuPG's ``gpgv``.

``gpgv`` takes every key of a keyring for trusted and knows no other, needs no home folder and no
agent, and Debian installs it everywhere, for apt needs it. A policy's keyring may be in ASCII
armour (RFC 9580, section 6.2), which gpgv does not read, so that it is taken off here.
"""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bootd.model.errors import ProcessFailedError
from bootd.process import run
from bootd.trust.refusal import RefusedSignatureError, UnusableTrustError

_ARMOUR: Final = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n(?:[!-~]+: [^\r\n]*\r?\n)*[ \t]*\r?\n"
    rb"([A-Za-z0-9+/=\s]+?)(?:\r?\n=[A-Za-z0-9+/]{4})?\s*\r?\n-----END PGP PUBLIC KEY BLOCK-----"
)
_STATUS: Final = "[GNUPG:] "
_ANY: Final = (0, 1, 2)
"""gpgv(1): 1 is a signature that does not count; 2 is anything else."""
_SECONDS: Final = 60.0


def signed_content(signature: bytes, keyrings: Sequence[bytes]) -> tuple[bytes, str]:
    """Return what one of the keys signed, and the fingerprint of that key, in hex digits.

    Args:
        signature: a signed OpenPGP message, as simple signing has it.
        keyrings: OpenPGP keys, each in binary or in ASCII armour.

    Raises:
        RefusedSignatureError: it is not a message that exactly one of the keys signed; the key
            may also have expired or been revoked.
        UnusableTrustError: a keyring holds no key, or GnuPG is missing.
    """
    keys = b"".join(_binary(keyring, number) for number, keyring in enumerate(keyrings, 1))
    with tempfile.TemporaryDirectory(prefix="bootd-gpgv-") as folder:
        keyring, message, content = (Path(folder, name) for name in ("keys.gpg", "in", "out"))
        keyring.write_bytes(keys)
        message.write_bytes(signature)
        command = ("gpgv", "--homedir", folder, "--status-fd", "1", "--keyring", keyring)
        try:
            done = run((*command, "--output", content, message), timeout=_SECONDS, expected=_ANY)
        except ProcessFailedError as error:
            raise UnusableTrustError(error.message) from error
        signer = _signer(done.stdout.decode(errors="replace"))
        try:
            return content.read_bytes(), signer
        except FileNotFoundError as error:
            raise RefusedSignatureError("it has nothing in it that was signed") from error


def _signer(status: str) -> str:
    """Return the fingerprint of the primary key, of the one signature that counts.

    The lines are those of GnuPG's doc/DETAILS.
    """
    lines = [
        line.removeprefix(_STATUS).split(" ")
        for line in status.splitlines()
        if line.startswith(_STATUS)
    ]
    said = [line[0] for line in lines]
    signatures = said.count("NEWSIG")
    if signatures != 1:
        raise RefusedSignatureError(f"it has {signatures} signatures where one belongs")
    valid = [line for line in lines if line[0] == "VALIDSIG"]
    if said.count("GOODSIG") != 1 or len(valid) != 1:
        known = {
            "EXPKEYSIG": "the key that made it has expired",
            "EXPSIG": "it has expired",
            "REVKEYSIG": "the key that made it was revoked",
            "BADSIG": "it was altered",
            "NO_PUBKEY": "it is by none of the keys that count",
        }
        why = next((known[word] for word in said if word in known), "gpgv does not accept it")
        raise RefusedSignatureError(why)
    return valid[0][-1]


def _binary(keyring: bytes, number: int) -> bytes:
    """Return a keyring without ASCII armour."""
    if not keyring.lstrip().startswith(b"-----"):
        if not keyring:
            raise UnusableTrustError(f"keyring {number} is empty")
        return keyring
    try:
        packets = [base64.b64decode(block) for block in _ARMOUR.findall(keyring)]
    except binascii.Error as error:
        raise UnusableTrustError(f"keyring {number} is damaged") from error
    if not packets:
        raise UnusableTrustError(f"keyring {number} holds no public key")
    return b"".join(packets)
