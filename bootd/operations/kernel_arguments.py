"""Kargs: somebody changes what this machine's kernel is started with.

What is staged gets the change; else the running image is staged once more with it, so that the
next restart has it and a rollback undoes it. From then on it is merged into every new image, as any
other difference between the machine and its image is. Nothing is fetched.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bootd.boot.kernels.argument_edit import (
    ArgumentVerb,
    check_words,
    edit_arguments,
    replace_owned,
)
from bootd.boot.kernels.arguments import key_of
from bootd.boot.proof import require_boot
from bootd.model.deployment import MAX_SOURCES, ArgumentChange, DeploymentRecord
from bootd.model.documents import KernelArgumentsChangeDocument
from bootd.model.errors import (
    DeniedDigestError,
    FixedKernelArgumentsError,
    InvalidArgumentError,
)
from bootd.model.registry.image import ImageName
from bootd.operations.boot.repair import mend_boot
from bootd.operations.host import Host
from bootd.operations.machine.staged import forget_staged
from bootd.operations.machine.survey import Survey, take_survey
from bootd.operations.progress import Phase, Progress
from bootd.operations.trial.fallback import settle_fallbacks
from bootd.operations.upgrade.arguments import (
    coming_arguments,
    current_arguments,
    current_record,
    current_sources,
    may_change,
    with_machines,
)
from bootd.operations.upgrade.restage import replace_staged, stage_again
from bootd.store.images.image import open_image

_log = logging.getLogger(__name__)

_SOURCE: Final = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)
_ROOT: Final = "root"

_Sources = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What somebody asks for, and what that makes of the arguments."""

    arguments: list[str]
    sources: dict[str, list[str]]
    absent: list[str]


def change_arguments(
    host: Host,
    progress: Progress,
    *,
    verb: str,
    words: Sequence[str],
    source: str | None = None,
) -> KernelArgumentsChangeDocument:
    """Change the kernel arguments from the next boot on.

    Args:
        host: the machine.
        progress: told what is done.
        verb: an `ArgumentVerb`.
        words: arguments, or keys for ``unset`` and ``remove``.
        source: the program whose arguments are meant; ``set`` then replaces all it has, ``unset``
            without a word takes all away. None: the machine's, whoever brought them.

    Returns:
        What was changed; `changed` is False where the next boot is as wanted already.

    Raises:
        InvalidArgumentError: the verb, a word or the name cannot be meant; or a program asks for
            another root file system, which is not for it to say.
        InvalidKernelArgumentsError: the line would be longer than a kernel takes.
        FixedKernelArgumentsError: no deployment runs, or another one boots next.
        NoBootPartitionError: no partition is proven to be ``$BOOT``; what boots is not known.
        DeniedDigestError: a program asks, and the image failed here, maybe for such arguments.
        StorageError: the image is damaged, or the disk is in the way; nothing was changed.
        BusyError: another process changes the store.
    """
    chosen = _checked_verb(verb, words, source)
    require_boot(host.sysroot)
    with host.sysroot.lock(exclusive=True):
        settle_fallbacks(host)
        progress.report(Phase.STAGING)
        found, mended = mend_boot(host, take_survey(host.sysroot))
        for message in mended:
            _log.warning("%s", message)
        record = _coming_record(found)
        _refuse_denied(host, record, source)
        before = coming_arguments(found)
        owned = record.argument_sources if found.staged else current_sources(found)
        wanted = _wanted(before, owned, chosen, words, source)
        if (wanted.arguments, wanted.sources) == (before, dict(owned)):
            return _document(record, before, wanted, changed=False)
        return _carry_out(host, found, record, before, wanted)


def _checked_verb(verb: str, words: Sequence[str], source: str | None) -> ArgumentVerb:
    try:
        chosen = ArgumentVerb(verb)
    except ValueError as error:
        raise InvalidArgumentError(
            f"{verb[:100]!r} is no way to change arguments",
            hint=f"The ways are {', '.join(ArgumentVerb)}.",
        ) from error
    check_words(chosen, words)
    if source is None and not words:
        raise InvalidArgumentError(f"nothing is named to {chosen}")
    if source is not None and _SOURCE.fullmatch(source) is None:
        raise InvalidArgumentError(
            f"{source[:100]!r} is no name of a program that owns arguments",
            hint="It has up to 40 letters, digits, hyphens and underscores.",
        )
    if source is not None and any(key_of(word) == _ROOT for word in words):
        raise InvalidArgumentError(f"{_ROOT}= is not for a program to say, but for the machine")
    return chosen


def _coming_record(survey: Survey) -> DeploymentRecord:
    """Return the record of what boots next, if its arguments can be changed."""
    coming = survey.staged or survey.current
    if coming is None or coming not in survey.records:
        raise FixedKernelArgumentsError(
            "no deployment of bootd's runs here whose arguments to change"
        )
    if not may_change(survey):
        raise FixedKernelArgumentsError(
            f"{survey.settled} boots next, and does not run yet",
            hint="Restart into it first, or go back to the running one with "
            f"'bootctl-py rollback {survey.booted}'.",
        )
    return survey.records[coming]


def _refuse_denied(host: Host, record: DeploymentRecord, source: str | None) -> None:
    """Refuse a program that may not know that what it asks for did not boot; a person does."""
    denial = host.sysroot.read_denied().find(record.digest)
    if source is not None and denial is not None:
        raise DeniedDigestError(
            f"arguments of {source} are not taken up: {record.digest} is on the deny list since "
            f"{denial.when:%Y-%m-%d}: {denial.cause}"
        )


def _wanted(
    before: list[str],
    owned: _Sources,
    verb: ArgumentVerb,
    words: Sequence[str],
    source: str | None,
) -> _Wanted:
    sources = {name: list(own) for name, own in owned.items()}
    if source is None:
        edited = edit_arguments(before, verb, words)
        sources = {
            name: [word for word in own if word in edited.arguments]
            for name, own in sources.items()
        }
        return _Wanted(edited.arguments, sources, edited.absent)
    old = sources.get(source, [])
    absent: list[str] = []
    if verb is ArgumentVerb.SET or not words:
        new = list(words)
    else:
        edited = edit_arguments(old, verb, words)
        new, absent = edited.arguments, edited.absent
    if new or source in sources:
        sources[source] = new
    if len(sources) > MAX_SOURCES:
        raise InvalidArgumentError(f"{MAX_SOURCES} programs own arguments already")
    return _Wanted(replace_owned(before, old, new), sources, absent)


def _carry_out(
    host: Host, survey: Survey, record: DeploymentRecord, before: list[str], wanted: _Wanted
) -> KernelArgumentsChangeDocument:
    earlier = record.argument_change if survey.staged else None
    change = ArgumentChange(
        before=before if earlier is None else earlier.before,
        after=wanted.arguments,
        sources=wanted.sources,
    )
    if survey.staged is None:
        image = open_image(host.sysroot, record.digest)
        name = ImageName(
            record.image,
            record.digest,
            record.version,
            record.taken_from,
            record.released,
            record.accepted,
            record.expires,
        )
        staged, _ = stage_again(host, survey, name, image, change)
        record = host.sysroot.read_deployment(staged)
    elif _is_as_it_runs(survey, record, wanted):
        forget_staged(host.sysroot)
        host.sysroot.disk.remove_tree(host.sysroot.deployment(record.id))
        assert survey.current is not None
        record = survey.records[survey.current]
    else:
        replace_staged(host, with_machines(survey, record, change))
    return _document(record, before, wanted, changed=True)


def _is_as_it_runs(survey: Survey, record: DeploymentRecord, wanted: _Wanted) -> bool:
    """Return whether what is staged would be what runs once more."""
    current = current_record(survey)
    if current is None or survey.settled != current.id or record.digest != current.digest:
        return False
    sources = {name: words for name, words in wanted.sources.items() if words}
    return (
        wanted.arguments == current_arguments(survey)
        and sources == current_sources(survey)
        # The settings would have it staged again.
        and record.configured_arguments == current.configured_arguments
    )


def _document(
    record: DeploymentRecord, before: list[str], wanted: _Wanted, *, changed: bool
) -> KernelArgumentsChangeDocument:
    added = _more(wanted.arguments, before)
    removed = _more(before, wanted.arguments)
    return KernelArgumentsChangeDocument(
        changed=changed,
        deployment=record.id,
        arguments=wanted.arguments,
        added=added,
        removed=removed,
        absent=wanted.absent,
        sources={name: words for name, words in wanted.sources.items() if words},
        other_root=any(key_of(word) == _ROOT for word in (*added, *removed)),
    )


def _more(arguments: list[str], others: list[str]) -> list[str]:
    """Return what is there more often than among the others."""
    count = Counter(arguments) - Counter(others)
    return list(count.elements())
