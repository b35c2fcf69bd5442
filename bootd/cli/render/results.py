"""What a finished job did, in a few sentences."""

from __future__ import annotations

from typing import Final

from bootd.cli.render.etc import render_report
from bootd.cli.render.marked import renders
from bootd.cli.render.text import count, printable, short_digest, size, table
from bootd.cli.style import Style
from bootd.model.deployment import DeploymentId
from bootd.model.documents import (
    CheckDocument,
    CollectDocument,
    Damage,
    FinalizeDocument,
    FsckDocument,
    InstallDocument,
    KernelArgumentsChangeDocument,
    RollbackDocument,
    StageCause,
    StageDocument,
)
from bootd.model.registry.source_use import SourceUse

_PUT_BACK: Final = frozenset({"entry", "kernel", "loader"})
"""What fsck puts back itself; other damage it takes away, for an upgrade to bring back."""


@renders
def render_check(document: CheckDocument, style: Style) -> str:
    """Return whether there is an update."""
    what = _image(document.image, document.image_version, document.digest)
    said = f"{style.good('Update:')} {what}, {size(document.download_bytes)} to fetch."
    if document.denied:
        said = style.warning(f"{what} failed here before, or is unfit; 'bootctl-py why' says more.")
    elif not document.update:
        said = f"{what} is what this machine is on, or will be after a restart."
    return "\n".join([said, *_passed_over(document.sources)])


@renders
def render_stage(document: StageDocument, style: Style) -> str:
    """Return what was staged and what it makes of /etc."""
    what = f"{printable(document.image)} ({short_digest(document.digest)})"
    if document.taken_from is not None:
        what += f", taken from {printable(document.taken_from)}"
    not_taken = [
        f"bootd.toml asks for {printable(word)}, which was taken away on this machine or left by a "
        "rollback; 'bootctl-py kargs add' brings it."
        for word in document.kernel_arguments_not_taken
    ]
    not_taken += [
        f"The image asks for {printable(word)}, which is not taken: such a boot might not fall "
        "back; allow_image_arguments in bootd.toml lets it."
        for word in document.kernel_arguments_refused
    ]
    not_taken += _passed_over(document.sources)
    if not document.changed:
        return "\n".join([f"Nothing to do: this machine is, or will be, on {what}.", *not_taken])
    fetched = (
        f"fetched {count(document.fetched_layers, 'layer')}, {size(document.fetched_bytes)}"
        if document.fetched_layers
        else "all of it was in the store"
    )
    lines = [f"{style.good('Staged')} {document.deployment} from {what}; {fetched}."]
    if document.cause is StageCause.KERNEL_ARGUMENTS:
        lines.append("It is the same image with the kernel arguments of bootd.toml.")
    lines += [
        f"At the next shutdown the kernel of {one} makes room for it on the boot partition; a "
        "rollback brings it back."
        for one in document.gives_up
    ]
    lines += not_taken
    if document.etc is not None:
        lines.append(render_report(document.etc, style))
    return "\n".join(lines)


@renders
def render_kernel_arguments_change(document: KernelArgumentsChangeDocument, style: Style) -> str:
    """Return what the next boot does with and without, and what was not there to go away."""
    lines = [style.good(f"  + {printable(word)}") for word in document.added]
    lines += [style.warning(f"  - {printable(word)}") for word in document.removed]
    lines += [f"There is no {printable(word)}." for word in document.absent]
    if document.other_root:
        lines.append(
            style.warning("This is about the root file system: where it is not the deployments', ")
            + style.warning("the next boot fails and the machine falls back.")
        )
    if not document.changed:
        return "\n".join([*lines, "Nothing to change: the next boot is so already."])
    return "\n".join([f"{style.good(document.deployment)} boots next:", *lines])


@renders
def render_finalize(document: FinalizeDocument, style: Style) -> str:
    """Return which deployment boots next."""
    if document.deployment is None:
        if document.held_by is not None:
            return f"What is staged waits: updates are held by {printable(document.held_by)}."
        return "Nothing is staged."
    lines = [f"{document.deployment} boots next ({document.entry})."]
    lines += _given_up(document.given_up)
    if document.etc is not None:
        lines.append(render_report(document.etc, style))
    return "\n".join(lines)


def _passed_over(sources: list[SourceUse]) -> list[str]:
    served = [printable(one.location) for one in sources if one.answers]
    instead = f"; {' and '.join(served)} served" if served else ""
    return [
        f"{printable(one.location)} was passed over: {printable(one.passed_over)}{instead}."
        for one in sources
        if one.passed_over is not None
    ]


def _given_up(deployments: list[DeploymentId]) -> list[str]:
    return [f"The kernel of {one} made room for it on the boot partition." for one in deployments]


@renders
def render_install(document: InstallDocument, style: Style) -> str:
    """Return what was installed where, and what the machine will follow."""
    what = f"{printable(document.image)} ({short_digest(document.digest)})"
    where = f"on {printable(document.device)}" if document.device else "into the file system"
    lines = [f"{style.good('Installed')} {what} {where} as {document.deployment}."]
    lines.append(f"The machine follows {printable(document.follows)}.")
    for entry in document.firmware_entries:
        if entry.problem is None:
            lines.append(f"This machine's firmware starts it first (Boot{entry.number}).")
        else:
            lines.append(
                f"{style.warning('No firmware entry was made:')} {printable(entry.problem)}. This "
                f"makes it: {printable(entry.command)}"
            )
    lines += [f"{style.warning('Note:')} {printable(one)}" for one in document.warnings]
    return "\n".join(lines)


@renders
def render_rollback(document: RollbackDocument, style: Style) -> str:
    """Return where the next boot goes, and what was given up."""
    lines = [f"{style.good(document.deployment)} boots next ({document.entry})."]
    if document.unstaged:
        lines.append(f"{document.unstaged} is no longer staged.")
    lines += _given_up(document.given_up)
    if document.denied:
        lines.append(f"{short_digest(document.denied)} is not tried again on this machine.")
    if document.etc_left_behind:
        lines.append("Not in its /etc, because it was made since that deployment was left:")
        lines += [f"  {printable(path)}" for path in document.etc_left_behind]
    if document.more_left_behind:
        lines.append(f"  … and {document.more_left_behind} more")
    if document.etc is not None:
        lines.append(render_report(document.etc, style))
    if document.etc_copy is not None:
        lines.append(f"What that replaced is kept as {style.bold(document.etc_copy)}.")
    return "\n".join(lines)


@renders
def render_collect(document: CollectDocument, style: Style) -> str:
    """Return what was removed."""
    removed = [
        count(number, one)
        for number, one in (
            (len(document.deployments), "deployment"),
            (document.images, "image"),
            (document.layers, "layer"),
            (document.objects, "object"),
            (document.kernels, "kernel"),
            (document.partial_downloads, "partial download"),
        )
        if number
    ]
    if not removed:
        return "Nothing to remove."
    freed = style.good(f"{size(document.freed_bytes)} freed")
    of_boot = document.freed_boot_bytes
    on_boot = f", and {size(of_boot)} on the boot partition" if of_boot else ""
    lines = [f"Removed {', '.join(removed)}: {freed}{on_boot}."]
    lines += [
        f"Edits of /etc that nothing else has are kept as {style.bold(copy)}."
        for copy in document.etc_copies
    ]
    return "\n".join(lines)


@renders
def render_fsck(document: FsckDocument, style: Style) -> str:
    """Return what was measured and what is damaged."""
    measured = (
        f"Measured {count(document.objects, 'object')} ({size(document.bytes)}) "
        f"and {count(document.images, 'image')}"
    )
    if not document.damages:
        return f"{measured}: {style.good('no damage')}."
    rows = [(one.what, one.path, one.problem, _now(one)) for one in document.damages]
    found = style.bad(count(len(document.damages), "damage"))
    return f"{measured}: {found}.\n{table(('WHAT', 'WHERE', 'PROBLEM', 'NOW'), rows, style)}"


def _now(damage: Damage) -> str:
    if not damage.repaired:
        return "still there"
    return "put back" if damage.what in _PUT_BACK else "removed"


def _image(reference: str, version: str, digest: str) -> str:
    parts = [printable(reference), printable(version), f"({short_digest(digest)})"]
    return " ".join(part for part in parts if part)
