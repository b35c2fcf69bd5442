"""Fallback: what the boot loader gave up is never tried again by itself.

Nothing is remembered of it but the deny list: a boot entry that is out of tries, does not run and
whose digest is not on the list is a fallback that was not taken note of. Only a deployment on trial
has a counter, so an old and good one is never blamed. What is on the list stays there after the
entry and the deployment are collected and after ``/etc`` went back
(docs/decisions/0007-deny-list-outside-etc.md).

A loader or a person may start another deployment before the tries are used up. That is no verdict:
a boot that was counted and did not come up is one try, and the rest of the tries stays. Neither is
blamed what came up once and whose entry could not be changed to say so.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootd.boot.entry import BootEntry
from bootd.model.deployment import Denial, DeploymentId, DeploymentRecord
from bootd.model.health import Verdict
from bootd.operations.bless import read_blessing, settle_blessing
from bootd.operations.host import Host
from bootd.operations.machine.message_of_the_day import show_fallbacks
from bootd.operations.machine.survey import take_survey
from bootd.operations.trial.deny import BOOT_FAILED, HEALTH_FAILED, deny_locked
from bootd.operations.trial.evidence import gather
from bootd.operations.trial.health import read_health
from bootd.sysroot import Sysroot


@dataclass(frozen=True, slots=True)
class Fallback:
    """A deployment that the machine went back from by itself, just taken note of.

    Attributes:
        deployment: what failed.
        denial: what is on the deny list because of it, with the evidence.
    """

    deployment: DeploymentId
    denial: Denial


def settle_fallbacks(host: Host) -> list[Fallback]:
    """Put what the loader gave up on the deny list, under the caller's exclusive lock.

    Returns:
        What was not on it before; nothing on a foreign system, a rescue system say, whose running
        is no sign of a fallback.
    """
    blessed = read_blessing(host.sysroot)
    settle_blessing(host)
    survey = take_survey(host.sysroot)
    if survey.booted is None:
        return []
    denied = host.sysroot.read_denied()
    failed = [
        (entry, survey.records[entry.deployment])
        for entry in survey.failed_entries()
        if entry.deployment != blessed
    ]
    news = [
        _deny(host, entry, record) for entry, record in failed if denied.find(record.digest) is None
    ]
    show_fallbacks(host.sysroot, [record for _, record in failed])
    return news


def _deny(host: Host, entry: BootEntry, record: DeploymentRecord) -> Fallback:
    cause = HEALTH_FAILED if _was_ill(host.sysroot, record.id) else BOOT_FAILED
    evidence = gather(host.sysroot, record, tries=entry.tries_done)
    denial = deny_locked(host, record.digest, cause, evidence)
    return Fallback(deployment=record.id, denial=denial)


def _was_ill(sysroot: Sysroot, deployment: DeploymentId) -> bool:
    health = read_health(sysroot, deployment)
    return health is not None and health.verdict is Verdict.UNHEALTHY
