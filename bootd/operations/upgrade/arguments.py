"""The kernel arguments a deployment gets: the image's, the old image's and the machine's, merged.

Base is what the current deployment's image and configuration asked for, mine is what its boot entry
really has, theirs is what the new image and today's configuration ask for. What somebody changed
since by ``kargs`` comes on top.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from bootd.boot.entry import BootEntry, sources_of
from bootd.boot.kernels.arguments import (
    key_of,
    may_be_endless,
    merge_arguments,
    with_more,
    with_restart_after_panic,
    without_own,
)
from bootd.model.deployment import ArgumentChange, ArgumentOrigin, DeploymentRecord
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey

_log = logging.getLogger(__name__)

_MACHINES: Final = frozenset(map(str, ArgumentOrigin)) - {ArgumentOrigin.BOOTD}


def with_asked(
    host: Host, record: DeploymentRecord, requested: Mapping[str, Sequence[str]]
) -> DeploymentRecord:
    """Return a record with what an image's files, by path, and today's settings ask for.

    What could keep a boot that goes wrong from ending is not taken from an image: its tries would
    not be used up. The settings may allow it.
    """
    configured = without_own(host.configuration.kernel_arguments)
    allowed = {*host.configuration.allow_image_arguments}
    refused = [
        word
        for words in requested.values()
        for word in words
        if may_be_endless(word) and key_of(word) not in allowed
    ]
    for word in refused:
        _log.warning("not taking %s from the image: such a boot might not fall back", word)
    requested = {
        path: [word for word in words if word not in refused] for path, words in requested.items()
    }
    files = [word for words in requested.values() for word in words]
    asked = with_restart_after_panic(with_more(files, configured))
    origins: dict[str, str] = dict.fromkeys(asked, ArgumentOrigin.BOOTD)
    origins |= dict.fromkeys(configured, ArgumentOrigin.SETTINGS)
    origins |= {word: path for path, words in requested.items() for word in words}
    changes = {
        "image_arguments": asked,
        "configured_arguments": host.configuration.kernel_arguments,
        "argument_origins": origins,
        "refused_arguments": refused,
    }
    return record.model_copy(update=changes)


def with_machines(
    survey: Survey, record: DeploymentRecord, change: ArgumentChange | None
) -> DeploymentRecord:
    """Return a record with the arguments it gets on this machine, for what `with_asked` put in.

    Args:
        survey: a look at the machine.
        record: of what is, or will be, staged.
        change: what somebody changed beyond what is merged.
    """
    current = current_record(survey)
    origins = {} if current is None else origins_of(current, survey.entry(current.id))
    inherited = {word: origin for word, origin in origins.items() if origin in _MACHINES}
    sources = current_sources(survey)
    if change is not None:
        sources = change.sources
        added = [word for word in change.after if word not in change.before]
        inherited |= dict.fromkeys(added, ArgumentOrigin.VERB)
    changes = {
        "kernel_arguments": machine_arguments(survey, record.image_arguments, change),
        "argument_change": change,
        "argument_sources": sources,
        "argument_origins": inherited | record.argument_origins,
    }
    return record.model_copy(update=changes)


def current_record(survey: Survey) -> DeploymentRecord | None:
    """Return the record of the deployment whose arguments are the machine's, or None."""
    return survey.records.get(survey.current) if survey.current else None


def current_arguments(survey: Survey) -> list[str]:
    """Return the arguments of the current deployment, as its boot entry has them."""
    current = current_record(survey)
    if current is None:
        return []
    return arguments_of(current, survey.entry(current.id))


def arguments_of(record: DeploymentRecord, entry: BootEntry | None) -> list[str]:
    """Return the arguments of a deployment: its boot entry's, if it has one."""
    return record.kernel_arguments if entry is None else without_own(entry.arguments)


def current_sources(survey: Survey) -> dict[str, list[str]]:
    """Return which arguments of the current deployment programs own, by their names."""
    entry = survey.entry(survey.current)
    if entry is not None:
        return sources_of(entry)
    current = current_record(survey)
    sources = {} if current is None else current.argument_sources
    return {name: words for name, words in sources.items() if words}


def machine_arguments(
    survey: Survey, theirs: list[str], change: ArgumentChange | None = None
) -> list[str]:
    """Return the merged arguments, without ``bootd=``, for an image that asks for `theirs`."""
    current = current_record(survey)
    merged = theirs
    if current is not None:
        mine = current_arguments(survey)
        merged = merge_arguments(base=current.image_arguments, mine=mine, theirs=theirs)
    if change is None:
        return merged
    return merge_arguments(base=change.before, mine=merged, theirs=change.after)


def coming_arguments(survey: Survey) -> list[str]:
    """Return what the machine will be started with: the staged arguments, else the current ones."""
    staged = survey.records.get(survey.staged) if survey.staged else None
    if staged is None:
        return current_arguments(survey)
    return machine_arguments(survey, staged.image_arguments, staged.argument_change)


def may_change(survey: Survey) -> bool:
    """Return whether the arguments of the next boot can be changed under its image.

    Not where somebody went back to another deployment that does not run yet: that one boots as it
    was, with the ``/etc`` it had.
    """
    return survey.current in survey.records and (
        survey.staged is not None or survey.settled == survey.current
    )


def settings_differ(host: Host, survey: Survey) -> bool:
    """Return whether the settings ask for other arguments than when the next boot's were made."""
    target = survey.staged or survey.current
    if target not in survey.records or not may_change(survey):
        return False
    configured = survey.records[target].configured_arguments
    return configured != host.configuration.kernel_arguments


def not_taken(survey: Survey, configured: Sequence[str]) -> list[str]:
    """Return what the settings ask for and the next boot is without, because somebody wants it so.

    It was taken away on this machine, or left by a rollback under the same image.
    """
    if not may_change(survey):
        return []
    missing = Counter(without_own(configured)) - Counter(coming_arguments(survey))
    return list(missing.elements())


def origins_of(record: DeploymentRecord, entry: BootEntry | None) -> dict[str, str]:
    """Return where each argument of a deployment comes from: a file of the image's, or a word.

    Args:
        record: the deployment's.
        entry: its boot entry, if it has one.
    """
    sources = record.argument_sources if entry is None else sources_of(entry)
    owners = {word: f"source {name}" for name, words in sources.items() for word in words}
    arguments = arguments_of(record, entry)
    return {word: owners.get(word) or _origin(record, word) for word in arguments}


def _origin(record: DeploymentRecord, word: str) -> str:
    if word in record.argument_origins:
        return record.argument_origins[word]
    known = word in record.kernel_arguments and not record.argument_origins
    return ArgumentOrigin.UNKNOWN if known else ArgumentOrigin.ENTRY


def merge_machine_arguments(
    host: Host, survey: Survey, record: DeploymentRecord
) -> DeploymentRecord:
    """Merge once more at finalize, for arguments that changed since staging; keep what changed.

    What the installer said stays: there is nothing it could be merged with.
    """
    if survey.current not in survey.records:
        return record
    merged = machine_arguments(survey, record.image_arguments, record.argument_change)
    if merged == record.kernel_arguments:
        return record
    changed = record.model_copy(update={"kernel_arguments": merged})
    host.sysroot.write_deployment(host.sysroot.deployment(record.id), changed)
    return changed
