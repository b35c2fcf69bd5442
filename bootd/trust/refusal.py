"""Why one signature does not count; the sum of these becomes `SignatureRejectedError`."""

from __future__ import annotations


class RefusedSignatureError(Exception):
    """A signature does not meet a requirement; the text begins with what is wrong with it."""


class UnusableTrustError(Exception):
    """Keys or certificates that a policy names cannot be used; the text names them."""
