"""The chapters of the demo, in order; each checks what it claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.registry import DockerRegistry
from support.tree_facts import as_deployed, differences, tree_facts, without_mount_points

from bootd.model.deployment import DeploymentId
from bootd.model.errors import KernelTooOldError
from bootd.process import run
from bootd.store.mount import check_kernel, mounted_tree
from demo.machine import DemoMachine
from demo.narration import Narrator

NAME = "os/debian"
_REFUSED = 4
_TRIES = 3
"""Boots that a new deployment gets (docs/decisions/0006-three-tries-and-our-own-blessing.md)."""


@dataclass
class Story:
    """What the chapters share.

    Attributes:
        image: OCI layout with the tags v1 and v2.
        deployments: which deployment each version became.
    """

    narrator: Narrator
    registry: DockerRegistry
    machine: DemoMachine
    image: Path
    folder: Path
    deployments: dict[str, DeploymentId] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        return f"{self.registry.host}/{NAME}:latest"

    def push(self, version: str) -> None:
        source, target = f"oci:{self.image}:{version}", f"docker://{self.reference}"
        self.narrator.run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", source, target)

    def status(self) -> dict[str, Any]:
        """The status, not shown."""
        return self.machine.know("status")


def install(story: Story) -> None:
    """Version 1 from the registry to the first boot."""
    say = story.narrator
    say.chapter("Version 1: from the registry into a deployment")
    story.push("v1")
    story.machine.ask("switch", story.reference)
    story.machine.ask("status")
    first = story.machine.reboot()
    story.deployments["v1"] = first
    story.machine.ask("status")
    status = story.status()
    say.claim("an image pushed by skopeo became the running system", status["booted"] == first)
    blessed = [name for name in story.machine.entries() if first in name and "+" not in name]
    say.claim("its boot entry was counted, and is not since it came up", len(blessed) == 1)


def compare_root(story: Story) -> None:
    """The kernel mounts the deployment; every file is what the image says."""
    say = story.narrator
    say.chapter("The deployed root, mounted by the kernel, file by file")
    try:
        check_kernel()
    except KernelTooOldError as error:
        say.tell(f"Not shown here: {error}. {error.hint}")
        return
    unpacked = story.folder / "unpacked"
    run(["umoci", "unpack", "--image", f"{story.image}:v1", unpacked], timeout=300)
    expected = as_deployed(tree_facts(unpacked / "rootfs"))
    erofs = story.machine.sysroot.deployment(story.deployments["v1"]) / "root.erofs"
    mounts = story.folder / "mounts"
    mounts.mkdir()
    with mounted_tree(erofs, story.machine.sysroot.objects, mounts) as root:
        say.run("findmnt", "--noheadings", "--output", "FSTYPE,OPTIONS", str(root))
        found = without_mount_points(tree_facts(root))
    wrong = differences(expected, found)
    say.claim(
        f"{len(expected)} files have the type, mode, owner, times, xattrs and content that umoci "
        "unpacks from the same image",
        not wrong,
        *wrong,
    )


def edit(story: Story) -> None:
    """The administrator changes things in ``/etc``."""
    say = story.narrator
    say.chapter("The administrator edits /etc")
    etc = story.machine.etc(story.deployments["v1"])
    say.call("/etc", str(etc))
    for script in (
        f"echo 'Authorized use only.' > {etc}/issue",
        f"echo '192.0.2.7 database' >> {etc}/hosts",
        f"chmod 600 {etc}/login.defs",
        f"echo 'umask 027' > {etc}/profile.d/local.sh",
    ):
        say.shell(script)
    story.machine.ask("etc", "diff")


def upgrade(story: Story) -> None:
    """Version 2 under the same tag, merged with the edits."""
    say = story.narrator
    say.chapter("Version 2 under the same tag: check, upgrade, merge report")
    story.push("v2")
    story.machine.ask("check")
    story.machine.ask("upgrade")
    staged = story.status()
    story.machine.ask("etc", "conflicts")
    story.machine.ask("status")
    say.claim("version 2 is staged while version 1 runs", staged["state"] == "staged")
    late = story.machine.etc(story.deployments["v1"]) / "profile.d/late.sh"
    late.write_text("umask 077\n")
    say.tell("(one more edit, after staging: /etc/profile.d/late.sh)")
    second = story.deployments["v2"] = story.machine.reboot()
    story.machine.ask("status")
    _check_merge(story, second)
    say.claim("version 2 boots", second != story.deployments["v1"])


def _check_merge(story: Story, second: DeploymentId) -> None:
    etc = story.machine.etc(second)
    say = story.narrator
    say.call("/etc", str(etc))
    say.claim("an edit that the image did not touch stays", "192.0.2.7" in _text(etc / "hosts"))
    say.claim("a default that nobody edited is the new one", "version 2" in _text(etc / "motd"))
    say.claim(
        "a file changed on both sides keeps the edit, and is reported as a conflict",
        _text(etc / "issue") == "Authorized use only.\n"
        and "issue" in str(story.machine.know("etc", "conflicts")),
    )
    definitions = etc / "login.defs"
    both = definitions.stat().st_mode & 0o777 == 0o600 and "PASS_MIN_LEN 12" in _text(definitions)
    say.claim("mode from here and content from the image come together", both)
    say.claim("a file that was added here is kept", (etc / "profile.d/local.sh").exists())
    say.claim("so is one added after staging", (etc / "profile.d/late.sh").exists())
    say.claim("a default of a removed package is gone", not (etc / "nanorc").exists())


def fall_back(story: Story) -> None:
    """Rollback; the timer does not bring the bad version back."""
    say = story.narrator
    say.chapter("Rollback")
    story.machine.ask("rollback")
    story.machine.ask("status")
    booted = story.machine.reboot()
    say.claim("after a rollback the older deployment boots", booted == story.deployments["v1"])
    story.machine.ask("denied", "list")
    story.machine.ask("upgrade", status=_REFUSED)
    say.claim("the version that was left is not staged again", story.status()["staged"] is None)


def bad_boot(story: Story) -> None:
    """A version that hangs at every boot."""
    say = story.narrator
    say.chapter("A version that does not come up")
    denied = story.machine.know("denied", "list")["denied"]
    story.machine.ask("denied", "allow", denied[0]["digest"])
    story.machine.ask("upgrade")
    booted = story.machine.reboot(hanging_boots=_TRIES)
    story.machine.ask("status")
    say.claim(
        f"after {_TRIES} boots that hang, the one before boots by itself",
        booted == story.deployments["v1"],
    )
    states = [one["state"] for one in story.status()["deployments"]]
    say.claim("and it is known which deployment failed", states.count("failed") == 1)
    story.machine.ask("why")
    story.machine.ask("upgrade", status=_REFUSED)
    say.claim("a version that did not boot is not tried again", story.status()["staged"] is None)


def crash_of_the_daemon(story: Story) -> None:
    """SIGKILL at rest: the disk knows everything."""
    say = story.narrator
    say.chapter("The daemon is killed")
    before = story.status()
    story.machine.kill_daemon()
    story.machine.start_daemon()
    say.claim("after SIGKILL and a new start it knows the same", story.status() == before)


def look_at_the_bus(story: Story) -> None:
    """What D-Bus programs see, and who may do what."""
    say = story.narrator
    say.chapter("On the bus")
    shown = say.run("busctl", "introspect", "org.bootd1", "/org/bootd1", "org.bootd1.Manager")
    say.claim("busctl introspects the Manager", ".Upgrade" in shown and ".Booted" in shown)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    call = ("org.bootd1", "/org/bootd1", "org.bootd1.Manager")
    say.run(*nobody, "busctl", "get-property", *call, "State")
    method = ("--object-path", "/org/bootd1", "--method", "org.bootd1.Manager.Rollback", "{}")
    target = ("--system", "--dest", "org.bootd1")
    refused = say.run(*nobody, "gdbus", "call", *target, *method, status=1)
    is_polkit = "org.bootd1.Error.NotAuthorized" in refused
    say.claim("anybody may look; polkit refuses changes to who may not", is_polkit)


def _text(path: Path) -> str:
    return path.read_text(errors="replace")


CHAPTERS: tuple[Callable[[Story], None], ...] = (
    install,
    compare_root,
    edit,
    upgrade,
    fall_back,
    bad_boot,
    crash_of_the_daemon,
    look_at_the_bus,
)
