"""Judge an image by the machine's policy, and stage nothing."""

from __future__ import annotations

from bootd.model.errors import InvalidTrustPolicyError, NotTrustedError
from bootd.model.trust import TrustDocument
from bootd.operations.host import Host
from bootd.operations.image.resolve import resolve


def trust_check(host: Host, reference: str) -> TrustDocument:
    """Return what the policy says of an image.

    Args:
        host: the machine whose policy it is.
        reference: the image.

    Raises:
        TransportError, ContentError, RequestError: the image cannot be resolved, or its signatures
            cannot be had.
    """
    try:
        accepted = resolve(host, reference)
    except (NotTrustedError, InvalidTrustPolicyError) as error:
        return TrustDocument(
            image=reference, accepted=False, refusal=error.message, hint=error.hint
        )
    return TrustDocument(
        image=reference,
        digest=accepted.digest,
        accepted=True,
        scope=accepted.scope,
        signers=list(accepted.signers),
    )
