"""What the policy for images says of one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bootd.model.digest import Digest
from bootd.model.documents import Document


class TrustDocument(Document):
    """``bootctl-py trust check``."""

    kind: Literal["Trust"] = "Trust"
    image: str
    """The reference that was judged."""
    digest: Digest | None = None
    """The manifest's; None: the image was refused."""
    accepted: bool
    scope: str | None = None
    """Which part of the policy decided; None: the machine has no policy, or the image was refused,
    and then the refusal names it."""
    signers: list[str] = Field(default_factory=list)
    """Who signed it, one for each requirement that asks for a signature."""
    refusal: str = ""
    """Why it is not accepted."""
    hint: str = ""
    """What to do then."""
