"""Why an image was let onto the machine, and what would be let onto it now."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from bootd.model.attempts import Attempt
from bootd.model.readers import Guarded, Shown

POLICY_FILE: Final = "etc/containers/policy.json"
"""Where the policy is, below the machine's root."""
_MAX_SIGNERS: Final = 1_000


class Acceptance(BaseModel):
    """What the policy for images said of an image that it allowed."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    when: datetime
    """When it was judged, UTC."""
    scope: Shown | None = None
    """Which part of the policy decided; None: the machine had no policy then."""
    signers: list[Shown] = Field(default_factory=list, max_length=_MAX_SIGNERS)
    """Who signed the image, one for each requirement that asks for a signature."""


class TrustStatus(BaseModel):
    """The policy for images that is in force, as it applies to the followed image."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    policy: Shown | None = None
    """Its file; None: there is none, and every image is accepted."""
    scope: Shown | None = None
    """Which part of it decides on the followed image; None: there is no policy that can be used, or
    nothing is followed."""
    requires: list[Shown] = Field(default_factory=list)
    """What that part asks for, each by its type in containers-policy.json(5)."""
    bundles: bool = False
    """Bundles of cosign 3 may meet what it asks for."""
    allow_downgrade: bool = False
    """Older releases than the running one are taken, too."""
    problem: Guarded | None = None
    """Why the policy cannot be used; then no image is accepted."""
    refused: Attempt | None = None
    """The last attempt to find or stage an update, if an image was refused in it: by the policy, or
    as an older release."""
