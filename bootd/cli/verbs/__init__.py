"""The verbs of ``bootctl-py``, as one table: words, what they do, where they live.

A verb's module is imported when the verb is used and not before, so that ``--help`` stays as quick
as argparse and no verb pays for another's imports. Such a module offers `VerbModule`.
"""

from __future__ import annotations

import importlib
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from bootd.cli.output import Output


class VerbModule(Protocol):
    """What each module of this folder offers."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the verb's own options."""

    def run(self, arguments: Namespace, output: Output) -> int:
        """Do it and return the exit status.

        Raises:
            BootdError: it could not be done.
        """


class Verb(NamedTuple):
    """One thing ``bootctl-py`` can do.

    Attributes:
        words: what is typed: one word, or a group and a word; a group may be a verb, too.
        module: the module in this folder.
        summary: one line for the help and the manual.
        offline: whether it can work on a folder (``--sysroot``), without a daemon.
        anywhere: whether it is of use on a machine that does not run from a deployment.
        looks: whether it changes nothing, so that all of its output is the result and may be paged.
    """

    words: str
    module: str
    summary: str
    offline: bool = False
    looks: bool = False
    anywhere: bool = False

    def load(self) -> VerbModule:
        """Import the verb's module."""
        module = importlib.import_module(f"{__name__}.{self.module}")
        return cast("VerbModule", module)


GROUPS: Final[dict[str, str]] = {
    "etc": "See what this machine changed in /etc and what an upgrade makes of it",
    "kargs": "Show the kernel arguments, booted and next, and where each comes from",
    "denied": "See and change the list of images that failed here",
    "install": "Install a machine from an image",
    "trust": "See which images the policy accepts",
}

VERBS: Final[tuple[Verb, ...]] = (
    Verb(
        "status",
        "status",
        "Show what is booted, what boots next and what to do",
        offline=True,
        looks=True,
    ),
    Verb("check", "check", "Ask the registry whether there is a newer image"),
    Verb("upgrade", "upgrade", "Fetch the newest image and stage it for the next boot"),
    Verb("switch", "switch", "Follow another image from now on, and stage it"),
    Verb("rollback", "rollback", "Make an older deployment boot next", offline=True),
    Verb("apply", "apply", "Restart into what is staged or queued"),
    Verb("unstage", "unstage", "Forget the staged deployment"),
    Verb(
        "deployments", "deployments", "List the deployments that are kept", offline=True, looks=True
    ),
    Verb("pin", "pin", "Keep a deployment whatever cleanup does"),
    Verb("unpin", "pin", "Let cleanup remove a deployment again"),
    Verb("forget", "forget", "Drop a deployment wholly, with its kernel", offline=True),
    Verb("cleanup", "cleanup", "Remove what no deployment needs", offline=True),
    Verb(
        "etc diff", "etc_diff", "List what this machine changed in /etc", offline=True, looks=True
    ),
    Verb(
        "etc preview",
        "etc_preview",
        "Show what the next upgrade would do to /etc",
        offline=True,
        looks=True,
    ),
    Verb(
        "etc conflicts",
        "etc_conflicts",
        "Show what clashed and is undecided",
        offline=True,
        looks=True,
    ),
    Verb("etc resolve", "etc_resolve", "Decide what stands where changes clashed", offline=True),
    Verb("etc reset", "etc_reset", "Put files in /etc back to what the image ships", offline=True),
    Verb(
        "etc copies",
        "etc_copies",
        "List the copies of files that were replaced",
        offline=True,
        looks=True,
    ),
    Verb("etc restore", "etc_restore", "Put a copy of files back into /etc", offline=True),
    Verb(
        "etc derive",
        "etc_derive",
        "Make files in /etc anew that are made from others (runs at boot)",
    ),
    Verb("kargs", "kargs", GROUPS["kargs"], offline=True, looks=True),
    Verb("kargs add", "kargs_change", "Add kernel arguments from the next boot on", offline=True),
    Verb("kargs remove", "kargs_change", "Take kernel arguments away", offline=True),
    Verb(
        "kargs set", "kargs_change", "Replace all arguments that have the same keys", offline=True
    ),
    Verb("kargs unset", "kargs_change", "Take all arguments away that have a key", offline=True),
    Verb(
        "denied list",
        "denied_list",
        "List the images that failed here, or are unfit, and why",
        offline=True,
        looks=True,
    ),
    Verb(
        "denied allow", "denied_allow", "Let an image that failed here, or is unfit, be tried again"
    ),
    Verb("why", "why", "Explain why the machine is where it is", offline=True, looks=True),
    Verb(
        "history",
        "history",
        "List what became of looking for an update",
        offline=True,
        looks=True,
    ),
    Verb(
        "doctor",
        "doctor",
        "Look whether this machine suits bootd, and what is done next",
        looks=True,
        anywhere=True,
    ),
    Verb("hold", "hold", "Keep updates from being staged and from booting until released"),
    Verb("release", "hold", "Take a hold off"),
    Verb("jobs", "jobs", "List running and recently finished jobs", looks=True),
    Verb("cancel", "cancel", "Cancel a running job"),
    Verb(
        "lint",
        "lint",
        "Find out what would keep an image from working on a host",
        looks=True,
        anywhere=True,
    ),
    Verb(
        "trust check",
        "trust_check",
        "Say whether the policy for images accepts one, and why",
        offline=True,
        looks=True,
        anywhere=True,
    ),
    Verb("health", "health", "Show or run the health checks", offline=True),
    Verb(
        "install to-disk",
        "install_to_disk",
        "Install a machine on a disk or into a disk image",
        anywhere=True,
    ),
    Verb(
        "install to-filesystem",
        "install_to_filesystem",
        "Install a machine into file systems that are mounted",
        anywhere=True,
    ),
    Verb("fsck", "fsck", "Measure all that is stored and name what is damaged", offline=True),
    Verb(
        "finalize",
        "finalize",
        "Make the staged deployment boot next (runs at shutdown)",
        offline=True,
    ),
    Verb("bless", "bless", "Keep the booted deployment for good (runs after boot)", offline=True),
    Verb(
        "config",
        "config",
        "Print each setting and the file it came from",
        offline=True,
        looks=True,
        anywhere=True,
    ),
    Verb(
        "completion",
        "completion",
        "Print what a shell reads to complete command lines",
        looks=True,
        anywhere=True,
    ),
)
"""In the order the help lists them."""


def find(words: str) -> Verb:
    """Return the verb that is written so; it must exist."""
    return next(verb for verb in VERBS if verb.words == words)
