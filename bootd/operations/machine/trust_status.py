"""The policy for images that is in force, and what it refused last."""

from __future__ import annotations

from typing import Final

from bootd.model.acceptance import POLICY_FILE, TrustStatus
from bootd.model.attempts import Attempt, Attempts
from bootd.model.errors import (
    BootdError,
    InvalidTrustPolicyError,
    NoImageConfiguredError,
    NotTrustedError,
    OlderReleaseError,
)
from bootd.operations.host import Host
from bootd.startup import later

with later():
    # Only a status asks.
    from bootd.registry import reference as references
    from bootd.trust import in_force, scopes
    from bootd.trust import policy as policies

_REFUSALS: Final = frozenset(
    error.code for error in (NotTrustedError, InvalidTrustPolicyError, OlderReleaseError)
)


def trust_status(host: Host, attempts: Attempts) -> TrustStatus:
    """Return which policy is in force for the followed image, and what was refused.

    Args:
        host: the machine.
        attempts: what became of its last attempts.
    """
    asked = TrustStatus(
        bundles=host.configuration.trust.bundles,
        allow_downgrade=host.configuration.trust.allow_downgrade,
        refused=_refused(attempts),
    )
    path = host.registry.root / POLICY_FILE
    try:
        policy = in_force.load_policy(host.registry.root)
        if policy is None:
            return asked
        return asked.model_copy(update={"policy": str(path), **_deciding(host, policy)})
    except BootdError as error:
        return asked.model_copy(update={"policy": str(path), "problem": error.message})


def _deciding(host: Host, policy: policies.Policy) -> dict[str, object]:
    """Return what decides on the followed image."""
    try:
        reference = references.parse_reference(host.followed_image())
    except NoImageConfiguredError:
        return {}
    if isinstance(reference, references.CopiedReference):
        # The program that copies it obeys the policy, with the scopes of that transport.
        return {"scope": f"{reference.transport}:"}
    scope, requirements = policy.requirements(scopes.scopes_of(in_force.without_links(reference)))
    return {"scope": scope, "requires": [policies.kind_of(one) for one in requirements]}


def _refused(attempts: Attempts) -> Attempt | None:
    last = next(iter(attempts.recent), None)
    return last if last is not None and last.outcome in _REFUSALS else None
