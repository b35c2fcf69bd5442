"""The policy for images that is in force, and who signed what runs, in a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootd.cli.render.text import moment, printable

if TYPE_CHECKING:
    from bootd.model.acceptance import Acceptance, TrustStatus


def policy_in_force(trust: TrustStatus | None) -> str:
    """Return what the machine asks of the image it follows; empty: that is not known."""
    if trust is None:
        return ""
    if trust.policy is None:
        return "none, every image is accepted"
    if trust.problem or trust.scope is None:
        told = trust.problem or "nothing is followed"
        return f"{printable(trust.policy)}: {printable(told)}"
    requires = " and ".join(printable(one) for one in trust.requires)
    bundles = ", bundles count" if trust.bundles else ""
    return f"{printable(trust.scope)} asks for {requires or 'what its copier checks'}{bundles}"


def acceptance(accepted: Acceptance | None) -> str:
    """Return who signed an image and when it was accepted; empty: that is not known."""
    if accepted is None:
        return ""
    when = moment(accepted.when)
    if accepted.signers:
        signers = " and ".join(printable(signer) for signer in accepted.signers)
        return f"{when}, signed by {signers}"
    return f"{when}, without a policy" if accepted.scope is None else f"{when}, no signature asked"
