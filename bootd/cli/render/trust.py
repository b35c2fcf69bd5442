"""What the policy for images says of one."""

from __future__ import annotations

from bootd.cli.render.marked import renders
from bootd.cli.render.text import printable
from bootd.cli.style import Style
from bootd.model.trust import TrustDocument


@renders
def render_trust(document: TrustDocument, style: Style) -> str:
    """Return whether an image is accepted, by which scope, and who signed it; or why not."""
    if not document.accepted:
        refused = style.bad(f"{printable(document.image)} is refused")
        return "\n".join(
            [refused, printable(document.refusal), f"hint: {printable(document.hint)}"]
        )
    lines = [f"{printable(document.image)} is accepted ({document.digest})"]
    if document.scope is None:
        lines.append(style.warning("The machine has no policy, so every image is."))
        return "\n".join(lines)
    lines.append(f"Scope      {printable(document.scope)}")
    lines += [f"Signed by  {printable(signer)}" for signer in document.signers]
    return "\n".join(lines)
