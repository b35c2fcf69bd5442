"""``bootctl-py status``: where the machine is, where the next boot goes, and what to do now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from bootd.cli.render.acceptance import acceptance, policy_in_force
from bootd.cli.render.available import named, seen
from bootd.cli.render.failing import render_failing, render_next_run
from bootd.cli.render.marked import renders
from bootd.cli.render.text import count, fields, moment, printable, short_digest
from bootd.cli.style import Style
from bootd.model.state import DeploymentState, SealedFrom

if TYPE_CHECKING:
    from bootd.model.deployment import DeploymentId
    from bootd.model.documents import DeploymentStatus, StatusDocument

_TIMES: Final = frozenset({"created", "checked", "when", "since", "last_success", "held_until"})
_BOOTED_MARK: Final = "●"
_NEXT_MARK: Final = "→"
_OTHER_MARK: Final = "○"


@renders
def render_status(document: StatusDocument, style: Style) -> str:
    """Return the whole page."""
    parts = [_head(document, style)]
    parts += [_deployment(one, document, style) for one in in_order(document)]
    parts += [style.warning(line) for line in _notes(document)]
    if document.failing is not None:
        parts.append(render_failing(document.failing, style))
    steps = list(next_steps(document))
    if steps:
        parts.append("\n".join([style.bold("Next steps"), fields(steps, "  ")]))
    return "\n\n".join(parts)


def render_plainly(value: Mapping[str, Any], style: Style) -> str:
    """Return the page of a status that came as JSON from a bootd of the same version.

    That needs no model, whose library takes longer to load than all the rest of the command.

    Raises:
        AttributeError, TypeError, ValueError: it is no status.
    """
    return render_status(cast("StatusDocument", _plain(value)), style)


def _plain(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return SimpleNamespace(**{name: _plain(one, name) for name, one in value.items()})
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return datetime.fromisoformat(value) if key in _TIMES and value else value


def in_order(document: StatusDocument) -> list[DeploymentStatus]:
    """Return the deployments as people ask for them: what boots next, what runs, then the rest."""

    def key(one: DeploymentStatus) -> tuple[bool, bool, bool, float]:
        return (
            one.id != document.staged,
            not one.next_boot,
            not one.booted,
            -one.created.timestamp(),
        )

    return sorted(document.deployments, key=key)


def standing(one: DeploymentStatus, rollback: DeploymentId | None) -> str:
    """Return where a deployment stands in a few words: ``booted, good, pinned``."""
    words = []
    if one.booted:
        words.append("booted")
    words.append(str(one.state))
    if one.next_boot and not one.booted and one.state != DeploymentState.QUEUED:
        words.append("boots next")
    if one.id == rollback:
        words.append("rollback")
    if one.tries_left is not None:
        words.append(f"{count(one.tries_left, 'try', 'tries')} left")
    if one.pinned:
        words.append("pinned")
    if one.given_up:
        words.append("its kernel made room")
    return ", ".join(words)


def next_steps(document: StatusDocument) -> Iterator[tuple[str, str]]:
    """Yield the commands that make sense now, each with what it does."""
    yield from _beginning(document)
    if document.staged or document.queued:
        in_spite = " in spite of the hold" if document.held_back else ""
        yield "bootctl-py apply", f"restart into {document.staged or document.queued}{in_spite}"
    if document.staged:
        yield "bootctl-py unstage", "stay on what is booted"
    available = document.available
    if available and available.update:
        yield "bootctl-py upgrade", f"stage {named(available.image_version, available.digest)}"
    if any(one.etc_conflicts for one in document.deployments):
        yield "bootctl-py etc conflicts", "see which changes in /etc clashed"
    if reason := _worth_asking(document):
        yield "bootctl-py why", reason
    if document.no_room:
        yield "bootctl-py cleanup --boot", "see what holds the room for an update"
    if document.misconfigured:
        yield "bootctl-py config", "see what is wrong in bootd.toml"
    explained = {document.did_not_boot, document.overridden, document.no_room, document.unfit}
    explained.add(document.misconfigured)
    if set(document.problems) - explained:
        yield "bootctl-py fsck", "find out what else is damaged"


def _beginning(document: StatusDocument) -> Iterator[tuple[str, str]]:
    if document.image is None:
        yield "bootctl-py switch REFERENCE", "say which image this machine follows"
    elif not document.deployments:
        yield "bootctl-py upgrade", "bring its first image here"


def _worth_asking(document: StatusDocument) -> str | None:
    if document.last_fallback:
        return "see what failed"
    if document.did_not_boot or document.overridden:
        return "see what keeps updates from booting"
    return "see what is wrong with the available image" if document.unfit else None


def _head(document: StatusDocument, style: Style) -> str:
    return fields(
        [
            ("Following", style.bold(printable(document.image or "nothing"))),
            ("State", _state(document, style)),
            seen(document.available),
            ("Next run", render_next_run(document.next_run)),
            ("Loader", _boot_loader(document)),
            ("Policy", policy_in_force(document.trust)),
            ("Held by", style.warning(printable(document.held_by or ""))),
            ("Held until", moment(document.held_until) if document.held_until else ""),
            ("Drift", short_digest(document.etc_drift) if document.etc_drift else ""),
        ]
    )


def _seal(one: DeploymentStatus, document: StatusDocument, style: Style) -> str:
    if not one.sealed or one.seal_digest is None:
        wanted = document.seal_wanted and one.booted
        return (
            style.warning("no, although bootd.toml asks for it of what is staged")
            if wanted
            else "no"
        )
    digest = short_digest(one.seal_digest)
    if one.sealed_from == SealedFrom.NOWHERE:
        return style.warning(f"by {digest}, which nothing enforced at its boot")
    return f"by {digest}, from the boot entry on, which is not signed"


def _boot_loader(document: StatusDocument) -> str:
    there, offered = document.boot_loader, document.image_boot_loader
    if there is None or offered is None or there == offered:
        return printable(there or "")
    return f"{printable(there)} (the image has {printable(offered)})"


def _state(document: StatusDocument, style: Style) -> str:
    word = str(document.state)
    if document.held_back:
        return style.warning(f"{word}, held back")
    if document.reboot_required:
        return style.warning(f"{word}, restart to finish")
    return style.good(word)


def _deployment(one: DeploymentStatus, document: StatusDocument, style: Style) -> str:
    mark = _BOOTED_MARK if one.booted else _NEXT_MARK if _comes_next(one, document) else _OTHER_MARK
    colour = style.bad if one.state == DeploymentState.FAILED else style.good
    title = f"{colour(mark) if one.booted else mark} {style.bold(one.id)}  "
    details = fields(
        [
            ("image", printable(one.image)),
            *([("taken from", printable(one.taken_from))] if one.taken_from else []),
            ("version", printable(one.image_version)),
            ("sealed", _seal(one, document, style)),
            ("accepted", acceptance(one.accepted)),
            ("digest", short_digest(one.digest)),
            ("staged", moment(one.created)),
            ("kernel", printable(one.kernel_version)),
            ("/etc", _clashes(one, style)),
        ],
        "    ",
    )
    return f"{title}{standing(one, document.rollback)}\n{details}"


def _clashes(one: DeploymentStatus, style: Style) -> str:
    if one.etc_security_conflicts:
        matter = f"{one.etc_security_conflicts} at paths that matter for security"
        return style.bad(f"{count(one.etc_conflicts, 'conflict')}, {matter}")
    return style.warning(count(one.etc_conflicts, "conflict")) if one.etc_conflicts else ""


def _comes_next(one: DeploymentStatus, document: StatusDocument) -> bool:
    return one.id == (document.staged or document.queued)


def _notes(document: StatusDocument) -> Iterator[str]:
    fallback = document.last_fallback
    if fallback:
        yield (
            f"{short_digest(fallback.digest)} failed here on {moment(fallback.when)}: "
            f"{printable(fallback.cause)}; it is not tried again."
        )
    if document.replaced:
        yield f"The timer replaced what was staged by hand: {printable(document.replaced)}."
    if document.finalize_failure:
        yield f"The last shutdown could not finish: {printable(document.finalize_failure)}"
    for problem in document.problems:
        yield f"Problem: {printable(problem)}"
    if document.unconfined:
        yield f"Note: {printable(document.unconfined)}."
