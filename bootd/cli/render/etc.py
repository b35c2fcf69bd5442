"""``/etc``: local changes, conflicts, what a merge does."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Final

from bootd.cli.render.marked import renders
from bootd.cli.render.text import bounded, count, moment, printable, size, table
from bootd.cli.style import Style
from bootd.model.documents import EtcConflictsDocument
from bootd.model.etc.change import (
    CopyReason,
    EtcChangeDocument,
    EtcCopiesDocument,
    EtcVersionsDocument,
    OpenConflict,
)
from bootd.model.etc.report import (
    ChangeKind,
    ConflictKind,
    EtcConflict,
    EtcDiff,
    EtcNote,
    EtcReport,
    EtcSide,
    NoteKind,
)

_LETTERS: Final[dict[ChangeKind, str]] = {
    ChangeKind.ADDED: "A",
    ChangeKind.REMOVED: "D",
    ChangeKind.TYPE: "T",
    ChangeKind.CONTENT: "M",
    ChangeKind.METADATA: "m",
    ChangeKind.CONTENT_AND_METADATA: "M",
}
_SHOWN_PATHS: Final = 3
_SCREEN: Final = 20
"""Lines of one list that a screen is to hold."""
_PAGE: Final = 30
"""Lines of all lists of one kind."""
_REASONS: Final[dict[CopyReason, str]] = {
    CopyReason.COLLECTED: "its deployment was removed",
    CopyReason.CARRIED: "a rollback carried later edits over",
    CopyReason.RESET: "reset",
    CopyReason.RESOLVED: "a conflict was decided",
    CopyReason.RESTORED: "another copy was restored",
}
_DONE: Final = ("Decided", "Changed", "Removed")
_LEGEND: Final = "A added, D removed, M content, m mode, owner or attributes, T another type"
_CLASHES: Final[dict[ConflictKind, str]] = {
    ConflictKind.CONTENT: "changed on both sides; yours stays",
    ConflictKind.METADATA: "mode, owner or attributes changed on both sides; yours stay",
    ConflictKind.TYPE: "of another type in the image; yours stays",
    ConflictKind.DELETED_HERE: "changed by the image, deleted here; it stays deleted",
    ConflictKind.DELETED_THERE: "removed by the image, changed here; yours stays",
    ConflictKind.ACCOUNT: "accounts clash",
}
_REMARKS: Final[dict[NoteKind, str]] = {
    NoteKind.SPECIAL_SKIPPED: "not a file, folder or link: not carried over",
    NoteKind.FOLDER_REVIVED: "deleted here, but the image has new files in it: it is back",
    NoteKind.FOLDER_KEPT: "removed by the image, but it holds files of yours: it stays",
    NoteKind.METADATA_DROPPED: "your mode, owner or attributes had nothing left to belong to",
    NoteKind.XATTR_DROPPED: "an extended attribute could not be kept",
    NoteKind.CHANGING: "it was being written to: the last state read is carried over",
    NoteKind.ACCOUNT: "a row of it",
    NoteKind.LATE: "edited after staging, carried over as it was at the end",
    NoteKind.POLICY: "changed on both sides",
    NoteKind.DERIVED: "made from other files: it is made anew before services start",
    NoteKind.LEADS_NOWHERE: "it leads to what the new image does not have",
    NoteKind.PRESET: "new, and not enabled although a preset says so",
    NoteKind.RULES: "what the image says about its /etc is ignored",
    NoteKind.IMMUTABLE: "immutable (chattr); it is so again once the deployment has started",
    NoteKind.OWNERS: "files of the image belong to whom it names, by the numbers of here",
    NoteKind.UNLOCKED: "the users and groups were read without this lock",
}


@renders
def render_report(report: EtcReport, style: Style) -> str:
    """Return what a merge does: the counts in a line, what needs eyes, then what changes."""
    lines = [_summary(report)]
    conflicts = [_conflict(conflict, style) for conflict in report.conflicts]
    lines += bounded(conflicts, _SCREEN, "'--json' has all", style)
    lines += bounded([_note(note) for note in report.notes], _SCREEN, "'--json' has all", style)
    if report.truncated:
        lines.append(f"  … and {report.truncated} more")
    if report.changes:
        lines.append("What it changes:")
        steps = [f"  {_LETTERS[step.kind]} {printable(step.path)}" for step in report.changes]
        lines += bounded(steps, _SCREEN, "'--full' lists all", style)
        if report.more_changes:
            lines.append(f"  … and {report.more_changes} more")
        lines.append(style.faint(_LEGEND))
    return "\n".join(lines)


@renders
def render_conflicts(document: EtcConflictsDocument, style: Style) -> str:
    """Return what is undecided: a line a path, or each with what both sides made of the base."""
    if not document.open:
        return "Nothing in /etc is undecided."
    parts = []
    deployments = list(dict.fromkeys(one.deployment for one in document.open))
    most = min(_SCREEN, _PAGE // len(deployments))
    for deployment in deployments:
        there = [one for one in document.open if one.deployment == deployment]
        lines = _conflicts(there, style) if style.full else _conflict_list(there, most, style)
        parts.append("\n".join([style.bold(f"{deployment}:"), *lines]))
    advice = (
        "'bootctl-py etc resolve PATH mine|theirs|edit' decides in the running deployment;\n"
        "below /usr/etc the image's own version of each can be read."
    )
    if not style.full:
        advice = f"'bootctl-py etc conflicts --full [PATH]' shows what differs;\n{advice}"
    return "\n\n".join([*parts, advice])


def _conflicts(undecided: Sequence[OpenConflict], style: Style) -> list[str]:
    lines = []
    for one in undecided:
        lines.append(_conflict(one.conflict, style))
        lines += _diff_lines(one.diff_mine + one.diff_theirs, style)
    return lines


def _conflict_list(undecided: Sequence[OpenConflict], most: int, style: Style) -> list[str]:
    by_path: dict[str, list[EtcConflict]] = {}
    for one in undecided:
        by_path.setdefault(one.conflict.path, []).append(one.conflict)
    lines = []
    for questions in by_path.values():
        first = next((one for one in questions if one.security), questions[0])
        if len(questions) > 1:
            first = first.model_copy(update={"detail": count(len(questions), "question")})
        lines.append(_conflict(first, style))
    return bounded(lines, most, "name a folder or a pattern to see fewer", style)


@renders
def render_copies(document: EtcCopiesDocument, style: Style) -> str:
    """Return one line a copy, the newest first."""
    if not document.copies:
        return "No copies of files in /etc are kept."
    rows = [
        (
            one.name,
            moment(one.created),
            _REASONS[one.reason],
            size(one.size),
            _named(one.paths, one.more_paths),
        )
        for one in document.copies
    ]
    lines = [table(("COPY", "MADE", "WHY", "SIZE", "PATHS"), rows, style)]
    lines.append(style.faint(f"Each is kept for {count(document.keep_days, 'day')}."))
    return "\n".join(lines)


@renders
def render_change(document: EtcChangeDocument, style: Style) -> str:
    """Return what is another now."""
    removed, changed = set(document.removed), set(document.changed)
    would = document.dry_run
    words = ("Would decide", "Would change", "Would remove") if would else _DONE
    lines = [
        f"{words[0]} {style.bold(printable(path))}: what is here stays"
        for path in document.decided
        if path not in changed
    ]
    lines += [
        f"{words[1]} {style.bold(printable(path))}"
        for path in document.changed
        if path not in removed
    ]
    lines += [
        f"{style.warning(words[2])} {style.bold(printable(path))}" for path in document.removed
    ]
    lines = bounded(lines, _SCREEN, "'--json' has all", style)
    if document.more_changed:
        lines.append(f"… and {document.more_changed} more")
    if not lines:
        lines.append(f"Nothing in /etc {'would have' if would else 'had'} to be changed.")
    if document.kept_as is not None:
        lines.append(f"What stood there is kept as {style.bold(document.kept_as)}.")
    lines += [
        style.warning(f"{printable(path)} was too large to be kept.") for path in document.not_kept
    ]
    return "\n".join([*lines, *_skipped(document, style)])


def _skipped(document: EtcChangeDocument, style: Style) -> list[str]:
    back = "would not be" if document.dry_run else "was not"
    lines = [
        style.warning(f"{printable(path)} {back} put back: users of today would be gone.")
        for path in document.skipped
    ]
    lines += [
        style.warning(f"{printable(path)} stays undecided: useradd and its like decide it.")
        for path in document.undecided
    ]
    return lines


@renders
def render_versions(document: EtcVersionsDocument, style: Style) -> str:
    """Return both versions in one text, with marks."""
    text = base64.b64decode(document.marked).decode(errors="backslashreplace")
    return "\n".join(
        [style.bold(f"{printable(document.path)}:"), *map(printable, text.splitlines())]
    )


def _named(paths: list[str], more: int) -> str:
    shown = paths[:_SHOWN_PATHS]
    rest = len(paths) - len(shown) + more
    words = [printable(path) for path in shown]
    return ", ".join(words) + (f" and {rest} more" if rest else "")


def _diff_lines(diff: str, style: Style) -> list[str]:
    colours = {"+": style.good, "-": style.bad, "@": style.faint}
    # Not splitlines(), which takes a carriage return for the end of a line, and so hides it.
    lines = (printable(line) for line in diff.removesuffix("\n").split("\n")) if diff else ()
    return [f"    {colours.get(line[:1], str)(line)}" for line in lines]


@renders
def render_diff(diff: EtcDiff, style: Style) -> str:
    """Return one line a local change."""
    if not diff.changes:
        return "/etc is as the image made it."
    rows = [
        (_LETTERS[change.kind], change.path, _became(change.base, change.mine))
        for change in diff.changes
    ]
    lines = table(("", "PATH", "CHANGE"), rows, style).split("\n")
    lines = [lines[0], *bounded(lines[1:], _SCREEN, "'--full' lists all", style)]
    if diff.truncated:
        lines.append(f"… and {diff.truncated} more")
    lines.append(style.faint(_LEGEND))
    return "\n".join(lines)


def _summary(report: EtcReport) -> str:
    counts = report.counts
    kept = counts.kept + counts.deleted
    return (
        f"/etc: {counts.taken + counts.removed} from the image, {kept} of yours, "
        f"{counts.merged} of both, {count(counts.conflicts, 'conflict')}."
    )


def _conflict(conflict: EtcConflict, style: Style) -> str:
    return f"  {_mark(conflict, style)(printable(conflict.path))}: {_clash(conflict, style)}"


def _clash(conflict: EtcConflict, style: Style) -> str:
    detail = f" ({printable(conflict.detail)})" if conflict.detail else ""
    matters = style.bad("; it matters for security") if conflict.security else ""
    return f"{_CLASHES[conflict.kind]}{detail}{matters}"


def _mark(conflict: EtcConflict, style: Style) -> Callable[[str], str]:
    return style.bad if conflict.security else style.warning


def _note(note: EtcNote) -> str:
    detail = f" ({printable(note.detail)})" if note.detail else ""
    return f"  {printable(note.path)}: {_REMARKS[note.kind]}{detail}"


def _became(base: EtcSide, mine: EtcSide) -> str:
    """Return what differs in words: ``mode 0644 → 0600, owner 0:0 → 33:33``."""
    if "absent" in (base.type, mine.type):
        return (mine if base.type == "absent" else base).type
    if base.type != mine.type:
        return f"{base.type} → {mine.type}"
    pairs = (
        ("mode", base.mode, mine.mode),
        ("owner", _owner(base), _owner(mine)),
        ("target", base.target, mine.target),
        ("size", base.size, mine.size),
    )
    words = [f"{name} {old} → {new}" for name, old, new in pairs if old != new]
    if base.xattrs != mine.xattrs:
        words.append("extended attributes")
    return ", ".join(words) or "content"


def _owner(side: EtcSide) -> str | None:
    return None if side.uid is None else f"{side.uid}:{side.gid}"
