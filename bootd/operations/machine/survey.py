"""One look at the machine: which deployments there are and what each of them is.

Nothing here is stored. A deployment's state is read off the boot entries, the loader's settings,
the kernel command line and the intent, so it cannot disagree with what the boot loader will do. No
lock is taken: each record is replaced atomically, and a deployment that vanishes meanwhile is left
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bootd.boot.entry import BootEntry, is_own_name
from bootd.boot.entry_lines import line_problems
from bootd.boot.listing import EntryListing, list_entries
from bootd.boot.loader.choice import Choice
from bootd.boot.loader.next_boot import NextBoot, next_boot
from bootd.boot.loader.order import boot_order, identifier_of
from bootd.model.deployment import DeploymentId, DeploymentRecord, Intent
from bootd.model.digest import Digest
from bootd.model.errors import BootdError, NoSuchDeploymentError
from bootd.model.state import DeploymentState, UpgradeState
from bootd.sysroot import Sysroot


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        booted: the deployment that runs, None on a foreign system.
        intent: what the machine wants to be on.
        entries: this installation's own boot entries, in boot order.
        neighbours: boot entries of other installations of bootd on the same ``$BOOT``.
        loader: what the boot loader starts, whatever stands first in that order.
        records: every deployment whose record can be read.
        unreadable: deployments that entries name which cannot be parsed; they must stay.
        problems: what cannot be read, each named; and `usurper`.
        usurper: that another system's entry boots next, which is told but is no damage.
    """

    booted: DeploymentId | None
    intent: Intent
    entries: tuple[BootEntry, ...]
    neighbours: tuple[BootEntry, ...]
    loader: NextBoot
    records: dict[DeploymentId, DeploymentRecord]
    unreadable: frozenset[DeploymentId]
    problems: tuple[str, ...]
    usurper: str | None = None

    @cached_property
    def next_boot(self) -> DeploymentId | None:
        """The deployment the boot loader starts next; None: it starts something else."""
        return self.named(self.loader.now.name)

    @property
    def first(self) -> DeploymentId | None:
        """The deployment that is first in boot order: the next boot's unless that is overridden."""
        return self.entries[0].deployment if self.entries else None

    @property
    def current(self) -> DeploymentId | None:
        """The deployment whose ``/etc`` and arguments are the machine's: booted, else next."""
        return self.booted or self.next_boot or self.first

    @property
    def staged(self) -> DeploymentId | None:
        """The deployment that the next shutdown makes bootable, unless it already is."""
        staged = self.intent.staged
        return staged if staged in self.records and self.entry(staged) is None else None

    @property
    def queued(self) -> DeploymentId | None:
        """What boots next, and is meant to, although it is not what runs.

        Or after the next boot, if that one was given to another entry.
        """
        meant = self.settled if self.settled != self.booted else None
        return meant if meant == self.named(self.loader.later.name) else None

    @property
    def settled(self) -> DeploymentId | None:
        """What the machine is on, or was told to be on, but for what is staged.

        That is what is first in boot order. Only when a trial is on its last try another one sorts
        first already, although nobody chose it.
        """
        entry = self.entry(self.booted)
        newest = max((one.serial for one in self.entries), default=0)
        if entry is not None and entry.tries_left == 0 and entry.serial == newest:
            return self.booted
        return self.first or self.booted

    @property
    def heading_for(self) -> Digest | None:
        """The manifest digest the machine will be on after the next reboot."""
        staged = self.records.get(self.staged) if self.staged else None
        return self.settled_on if staged is None else staged.digest

    @property
    def settled_on(self) -> Digest | None:
        """The manifest digest the machine would be on if what is staged were dropped."""
        record = self.records.get(self.settled) if self.settled else None
        return None if record is None else record.digest

    def entry(self, deployment: DeploymentId | None) -> BootEntry | None:
        """Return the entry of a deployment that sorts first, or None."""
        return next((entry for entry in self.entries if entry.deployment == deployment), None)

    def named(self, name: str | None) -> DeploymentId | None:
        """Return the deployment that the entry of a name, without counter, boots, or None."""
        return next((one.deployment for one in self.entries if one.plain_name == name), None)

    def kept(self) -> list[DeploymentRecord]:
        """Return the deployments that are staged, booted or bootable, in boot order.

        After them come those that a rollback can make bootable again. A folder that is none of
        these is a crash's leftover.
        """
        order = [self.staged, *(entry.deployment for entry in self.entries), self.booted]
        order += self.given_up
        return [self.records[key] for key in dict.fromkeys(order) if key in self.records]

    @property
    def given_up(self) -> list[DeploymentId]:
        """The good deployments whose boot entry made room for another kernel, the newest first."""
        serials = [
            (record.given_up.serial, key)
            for key, record in self.records.items()
            if record.given_up is not None and self.entry(key) is None
        ]
        return [key for _, key in sorted(serials, reverse=True)]

    def failed_entries(self) -> list[BootEntry]:
        """Return the entries that are out of tries and do not run; their records can be read."""
        return [
            entry
            for entry in self.entries
            if entry.tries_left == 0
            and entry.deployment != self.booted
            and entry.deployment in self.records
        ]

    def state_of(self, deployment: DeploymentId) -> DeploymentState:
        """Return where a kept deployment stands."""
        entry = self.entry(deployment)
        if entry is None:
            is_staged = deployment == self.staged
            return DeploymentState.STAGED if is_staged else DeploymentState.GOOD
        if deployment == self.booted:
            # With no tries left it is on its last one, and may still prove itself.
            return DeploymentState.GOOD if entry.tries_left is None else DeploymentState.TRIAL
        if entry.tries_left == 0:
            return DeploymentState.FAILED
        if deployment in (self.next_boot, self.queued):
            return DeploymentState.QUEUED
        return DeploymentState.GOOD if entry.tries_left is None else DeploymentState.TRIAL

    def rollback_target(self) -> DeploymentId | None:
        """Return where a rollback without a name goes, or None.

        With something queued it is the running deployment, so that a second rollback undoes the
        first; else the next one in boot order that has not failed, or what was last given up.
        """
        candidates = [] if self.queued is None else [self.booted]
        candidates += [*(entry.deployment for entry in self.entries), *self.given_up]
        usable = (
            candidate
            for candidate in candidates
            if candidate in self.records
            and candidate != self.settled
            and self.state_of(candidate) is not DeploymentState.FAILED
        )
        return next(usable, None)

    @property
    def on_trial(self) -> bool:
        """Whether the running deployment is not known to be good yet."""
        entry = self.entry(self.booted)
        return entry is not None and entry.tries_left is not None

    @property
    def predecessor(self) -> DeploymentId | None:
        """What the boot loader starts when the running deployment is out of tries."""
        others = (
            entry.deployment
            for entry in self.entries
            if entry.deployment != self.booted and entry.tries_left != 0
        )
        return next(others, None)

    def upgrade_state(self) -> UpgradeState:
        """Return where the machine stands while no job runs."""
        if self.staged is not None:
            return UpgradeState.STAGED
        if self.queued is not None:
            return UpgradeState.QUEUED
        return UpgradeState.TRIAL if self.on_trial else UpgradeState.IDLE


def take_survey(sysroot: Sysroot) -> Survey:
    """Look at a machine.

    Raises:
        NotASysrootError, UnknownFormatError, DamagedRecordError: the store or the intent cannot
            be read; a damaged deployment is named in `problems` instead.
    """
    sysroot.check_format(for_writing=False)
    listing = list_entries(sysroot)
    records: dict[DeploymentId, DeploymentRecord] = {}
    loader = next_boot(sysroot)
    usurper = _usurper(listing, loader)
    problems = [
        *listing.problems,
        *line_problems(sysroot, listing.entries),
        *(() if usurper is None else (usurper,)),
        *_unknown_first(listing, loader),
    ]
    for identifier in sysroot.deployment_ids():
        try:
            records[identifier] = sysroot.read_deployment(identifier)
        except NoSuchDeploymentError:
            continue
        except BootdError as error:
            problems.append(error.message)
    return Survey(
        booted=sysroot.booted(),
        intent=sysroot.read_intent(),
        entries=tuple(boot_order(listing.entries)),
        neighbours=listing.neighbours,
        loader=loader,
        records=records,
        unreadable=frozenset(one.deployment for one in listing.damaged if one.deployment),
        problems=tuple(problems),
        usurper=usurper,
    )


def blind_survey(sysroot: Sysroot) -> Survey:
    """Return what is known of a machine whose ``$BOOT`` or store cannot be read: what runs."""
    nothing = Choice(None)
    return Survey(
        booted=sysroot.booted(),
        intent=Intent(),
        entries=(),
        neighbours=(),
        loader=NextBoot(now=nothing, later=nothing, update=nothing, update_name=""),
        records={},
        unreadable=frozenset(),
        problems=(),
    )


def _unknown_first(listing: EntryListing, loader: NextBoot) -> list[str]:
    """Tell of an entry that sorts first and is of the name, and not the kind, that bootd writes."""
    name = _first_of_others(listing, loader)
    if name is None or name in {identifier_of(foreign) for foreign in listing.foreign}:
        return []
    return [f"{name}, an entry that bootd did not write, boots next"]


def _usurper(listing: EntryListing, loader: NextBoot) -> str | None:
    name = _first_of_others(listing, loader)
    if name is None or name not in {identifier_of(foreign) for foreign in listing.foreign}:
        return None
    whose = "another installation of bootd" if is_own_name(name) else "another system"
    return f"{name}, an entry of {whose}, boots next"


def _first_of_others(listing: EntryListing, loader: NextBoot) -> str | None:
    """Return what sorts first, with no setting to blame, although it is no entry of one's own."""
    name = loader.later.name
    known = {entry.plain_name for entry in listing.entries}
    return None if name in known or loader.later.setting is not None else name
