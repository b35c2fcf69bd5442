"""``bootctl-py why``: the reasons an update is, or is not, made, as sentences."""

from __future__ import annotations

from typing import Final

from bootd.cli.render.acceptance import acceptance, policy_in_force
from bootd.cli.render.available import seen
from bootd.cli.render.failing import render_failing, render_next_run
from bootd.cli.render.listing import render_denial
from bootd.cli.render.marked import renders
from bootd.cli.render.text import fields, moment, printable
from bootd.cli.style import Style
from bootd.model.config import Automatic
from bootd.model.documents import ExplanationDocument, Reason

_SENTENCES: Final[dict[Reason, str]] = {
    Reason.NO_IMAGE: "It follows no image: 'bootctl-py switch REFERENCE' sets one.",
    Reason.UNREADABLE: "Something is not as it should be: 'bootctl-py status' names it.",
    Reason.DENIED: "The available image failed here before: 'bootctl-py denied allow' lifts that.",
    Reason.UNFIT: "No host can use the available image; it is not fetched again.",
    Reason.NO_ROOM: "The kernel of the available image has no room on the boot partition.",
    Reason.HELD: "Updates are held: 'bootctl-py release' lets them go on.",
    Reason.FINALIZE_FAILED: "The last shutdown could not make the staged deployment bootable.",
    Reason.DID_NOT_BOOT: "What was to boot when the machine started last was not started.",
    Reason.OVERRIDDEN: "Something overrides the boot order, so that updates do not boot.",
    Reason.REFUSED: "What the registry serves is refused: 'bootctl-py trust check' judges it anew.",
    Reason.AUTOMATIC_OFF: "Automatic upgrades are switched off in bootd.toml.",
    Reason.AUTOMATIC_ONLY_CHECKS: "The timer only checks, as bootd.toml says.",
    Reason.MISCONFIGURED: "bootd.toml cannot be used: 'bootctl-py config' says why.",
    Reason.FAILING: "Looking for an update fails, so that nobody knows what is newest.",
    Reason.NEVER_CHECKED: "The registry has not been asked yet: 'bootctl-py check' does.",
    Reason.STAGED: "An update is staged and takes effect at the next shutdown.",
    Reason.QUEUED: "Another deployment boots next.",
    Reason.ON_TRIAL: "The running deployment has not proved itself yet.",
    Reason.UP_TO_DATE: "It runs the newest image.",
}


@renders
def render_explanation(document: ExplanationDocument, style: Style) -> str:
    """Return where the machine stands, the reasons, and the evidence of failures."""
    parts = [_head(document)]
    parts.append("\n".join(f"- {_sentence(reason, document)}" for reason in document.reasons))
    if document.replaced:
        parts.append(f"The timer replaced what was staged by hand: {printable(document.replaced)}.")
    if document.gates and document.automatic is Automatic.APPLY:
        parts.append(_gates(document, style))
    if document.put_off:
        reason = printable(document.put_off)
        parts.append(style.warning(f"The restart into the update was put off: {reason}."))
    if document.finalize_failure:
        parts.append(style.warning(f"At shutdown: {printable(document.finalize_failure)}"))
    if document.failing is not None:
        parts.append(render_failing(document.failing, style))
    notes = (document.did_not_boot, document.overridden)
    parts += [style.warning(f"{printable(note)}.") for note in notes if note]
    if document.no_room:
        parts.append(style.warning(printable(document.no_room)))
    found = (document.denial, document.last_fallback)
    denials = {denial.digest: denial for denial in found if denial is not None}
    parts += [render_denial(denial, style) for denial in denials.values()]
    return "\n\n".join(part for part in parts if part)


def _gates(document: ExplanationDocument, style: Style) -> str:
    """Return what each gate says to a restart that nobody asks for."""
    lines = []
    for one in document.gates:
        until = f", until {moment(one.until)}" if one.until else ""
        reason = f": {printable(one.reason)}" if one.reason else ""
        lines.append((one.gate, f"{one.answer}{reason}{until}"))
    return "\n".join([style.bold("Gates of an automatic restart"), fields(lines, "  ")])


def _sentence(reason: Reason, document: ExplanationDocument) -> str:
    if reason is Reason.STAGED and document.held_back:
        return "An update is staged and waits for the hold: 'bootctl-py apply' does not."
    if reason is Reason.STAGED and document.staged_by_hand:
        return "An update that was staged by hand takes effect at the next shutdown."
    return _SENTENCES[reason]


def _head(document: ExplanationDocument) -> str:
    return fields(
        [
            ("Following", printable(document.image or "nothing")),
            ("State", str(document.state)),
            seen(document.available),
            ("Timer", str(document.automatic)),
            ("Next run", render_next_run(document.next_run)),
            ("Policy", policy_in_force(document.trust)),
            ("Accepted", acceptance(document.accepted)),
            ("Held by", printable(document.held_by or "")),
            ("Held until", moment(document.held_until) if document.held_until else ""),
        ]
    )
