"""The policy for images that is in force, and what it refused last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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

if TYPE_CHECKING:
    from bootd.trust.policy import Policy

_REFUSALS: Final = frozenset(
    error.code for error in (NotTrustedError, InvalidTrustPolicyError, OlderReleaseError)
)


def trust_status(host: Host, attempts: Attempts) -> TrustStatus:
    """Return which policy is in force for the followed image, and what was refused.

    Args:
        host: the machine.
        attempts: what became of its last attempts.
    """
    from bootd.trust.in_force import load_policy  # noqa: PLC0415 - only a status asks

    asked = TrustStatus(
        bundles=host.configuration.trust.bundles,
        allow_downgrade=host.configuration.trust.allow_downgrade,
        refused=_refused(attempts),
    )
    path = host.registry.root / POLICY_FILE
    try:
        policy = load_policy(host.registry.root)
        if policy is None:
            return asked
        return asked.model_copy(update={"policy": str(path), **_deciding(host, policy)})
    except BootdError as error:
        return asked.model_copy(update={"policy": str(path), "problem": error.message})


def _deciding(host: Host, policy: Policy) -> dict[str, object]:
    """Return what decides on the followed image."""
    from bootd.registry.reference import CopiedReference, parse_reference  # noqa: PLC0415 - as above
    from bootd.trust.in_force import without_links  # noqa: PLC0415 - as above
    from bootd.trust.policy import kind_of  # noqa: PLC0415 - as above
    from bootd.trust.scopes import scopes_of  # noqa: PLC0415 - as above

    try:
        reference = parse_reference(host.followed_image())
    except NoImageConfiguredError:
        return {}
    if isinstance(reference, CopiedReference):
        # The program that copies it obeys the policy, with the scopes of that transport.
        return {"scope": f"{reference.transport}:"}
    scope, requirements = policy.requirements(scopes_of(without_links(reference)))
    return {"scope": scope, "requires": [kind_of(requirement) for requirement in requirements]}


def _refused(attempts: Attempts) -> Attempt | None:
    last = next(iter(attempts.recent), None)
    return last if last is not None and last.outcome in _REFUSALS else None
