"""Who may do what: the real polkitd with our actions and rules, callers of other users."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bus import LIBRARIES, SYSTEM_PYTHON, Rig, polkit, rig, silent_registry

_SUPPORT = Path(__file__).parents[1] / "support"
_RULES = """
polkit.addRule(function(action, subject) {
    if (action.id == "org.bootd1.switch" && subject.user == "daemon") {
        return action.lookup("image").indexOf("oci:") == 0 ? "yes" : "no";
    }
    if (action.id == "org.bootd1.stage" && subject.user == "daemon") {
        return "yes";
    }
});
"""


@pytest.fixture(scope="module", params=LIBRARIES)
def found(request: pytest.FixtureRequest) -> Iterator[Rig]:
    library = {"BOOTD_DBUS_LIBRARY": request.param}
    with rig() as made, polkit(made, _RULES), made.daemon(**library):
        made.call("Switch", "sa{sv}", made.image("1"), "0")
        yield made


def test_everybody_may_look(found: Rig):
    for user in ("nobody", "daemon"):
        found.run("busctl", "--system", "introspect", "org.bootd1", "/org/bootd1", user=user)
        for member in ("GetStatus", "Explain", "ListDenied"):
            found.call(member, "a{sv}", "0", user=user)


@pytest.mark.parametrize(
    ("call", "action"),
    [
        (("Upgrade", "a{sv}", "0"), "stage"),
        (("Unstage", "a{sv}", "0"), "stage"),
        (("Switch", "sa{sv}", "oci:/x:y", "0"), "switch"),
        (("Stage", "sa{sv}", "oci:/x:y", "0"), "switch"),
        (("Finalize", "a{sv}", "0"), "apply"),
        (("Apply", "a{sv}", "0"), "apply"),
        (("Rollback", "a{sv}", "0"), "rollback"),
        (("Pin", "sa{sv}", "0123456789abcdef.0", "0"), "pin"),
        (("Unpin", "sa{sv}", "0123456789abcdef.0", "0"), "pin"),
        (("Cleanup", "a{sv}", "0"), "cleanup"),
        (("Forget", "sa{sv}", "0123456789abcdef.0", "0"), "forget"),
        (("GetBootUsage", "a{sv}", "0"), "inspect"),
        (("Fsck", "a{sv}", "0"), "fsck"),
        (
            ("ChangeKernelArguments", "sasa{sv}", "add", "1", "nosmt", "0"),
            "change-kernel-arguments",
        ),
        (("PreviewEtc", "a{sv}", "0"), "inspect"),
        (("EtcConflicts", "a{sv}", "0"), "inspect"),
        (("EtcDiff", "a{sv}", "0"), "inspect"),
        (("PreviewEtc", "a{sv}", "1", "digest", "s", "sha256:" + "0" * 64), "stage"),
        (("GetEtcVersions", "sa{sv}", "/etc/x", "0"), "inspect"),
        (("ListEtcCopies", "a{sv}", "0"), "inspect"),
        (("ResolveEtc", "ssa{sv}", "/etc/x", "mine", "0"), "change-etc"),
        (("ResetEtc", "asa{sv}", "1", "/etc/x", "0"), "change-etc"),
        (("RestoreEtc", "sasa{sv}", "x", "0", "0"), "change-etc"),
        (("ResetEtc", "asa{sv}", "1", "/etc/x", "1", "dry_run", "b", "true"), "inspect"),
        (("ResetEtc", "asa{sv}", "1", "/etc/x", "1", "dry_run", "b", "false"), "change-etc"),
        (("EtcDiff", "a{sv}", "1", "paths", "as", "1", "/etc/x"), "inspect"),
        (("Allow", "sa{sv}", "sha256:" + "0" * 64, "0"), "allow"),
        (("Hold", "sa{sv}", "me", "0"), "hold"),
        (("Release", "a{sv}", "0"), "hold"),
        (("Check", "a{sv}", "0"), "check"),
    ],
)
def test_nobody_may_change_anything(found: Rig, call: tuple[str, ...], action: str):
    refused = found.call(*call, user="nobody", status=1)
    assert f"{call[0]} was refused: org.bootd1.{action} is not granted" in refused.stderr


def test_call_that_cannot_ask_is_told_so(found: Rig):
    quiet = ("--allow-interactive-authorization=no", "call", "org.bootd1", "/org/bootd1")
    refused = found.run(
        *("busctl", "--system", *quiet, "org.bootd1.Manager", "Cleanup", "a{sv}", "0"),
        user="nobody",
        status=1,
    )
    assert "Cleanup needs authentication for org.bootd1.cleanup" in refused.stderr


def test_rule_allows_by_user_and_by_image(found: Rig):
    allowed = found.call("Switch", "sa{sv}", found.image("1"), "0", user="daemon")
    assert allowed.stdout.startswith('o "/org/bootd1/job/')
    refused = found.call("Switch", "sa{sv}", "evil.example/os:1", "0", user="daemon", status=1)
    assert "Switch was refused" in refused.stderr


def test_error_reaches_the_client_library_as_its_own():
    script = (
        "import asyncio, os\n"
        "from bootd.daemon.dbus import interfaces\n"
        "from bootd.daemon.dbus.client import BusClient\n"
        "from bootd.model.errors import NotAuthorizedError\n"
        "async def main():\n"
        "    client = await BusClient.connect()\n"
        "    try: await client.call('Cleanup')\n"
        "    except NotAuthorizedError as error: print(error.exit_status, error.message)\n"
        "    await client.close()\n"
        "interfaces.load('org.bootd1.Manager')  # while our files can still be read\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "asyncio.run(main())"
    )
    with rig() as made, polkit(made, ""), made.daemon():
        done = made.run(sys.executable, "-P", "-c", script)
    assert done.stdout == "5 Cleanup was refused: org.bootd1.cleanup is not granted\n"


def test_own_job_may_be_cancelled_but_not_another_s():
    cancel = ("org.bootd1.Job", "Cancel", "a{sv}", "0")
    rules = _RULES.replace('indexOf("oci:") == 0', 'indexOf("127.") == 0')
    with rig() as made, polkit(made, rules), made.daemon(), silent_registry() as reference:
        started = made.call("Switch", "sa{sv}", reference, "0", user="daemon")
        path = started.stdout.split('"')[1]
        words = ("busctl", "--system", "call", "org.bootd1", path, *cancel)
        refused = made.run(*words, user="nobody", status=1)
        assert "org.bootd1.cancel is not granted" in refused.stderr
        made.run(*words, user="daemon")


def test_what_went_wrong_is_for_who_asked_and_for_root():
    secret = "password=S3CRET"
    rules = _RULES.replace('"org.bootd1.switch"', '"org.bootd1.switch.not"') + (
        "polkit.addRule(function(action, subject) {"
        ' if (action.id == "org.bootd1.inspect" && subject.user == "daemon") return "yes"; });'
    )
    with rig() as made, polkit(made, rules):
        with made.daemon():
            bootctl = str(Path(sys.executable).with_name("bootctl-py"))
            made.run(bootctl, "switch", made.image("1"))
            absent = f"oci:{made.folder}/image:{'x' * 20}"
            made.run(bootctl, "switch", absent, status=1)
            words = ("get-property", "org.bootd1", "/org/bootd1/job/2", "org.bootd1.Job", "Error")
            for user, reads in ((None, True), ("nobody", False), ("daemon", False)):
                told = made.run("busctl", "--system", *words, user=user).stdout
                assert ("x" * 20 in told) is reads, told
                assert '"image-not-found"' in told
        denied = {
            "digest": "sha256:" + "a" * 64,
            "cause": "it did not boot",
            "when": "2026-11-01T00:00:00Z",
            "evidence": f"its journal:\n  app[1]: {secret}",
        }
        record = made.sysroot / "bootd/denied.json"
        record.write_text(json.dumps({"format": 1, "denied": [denied]}))
        intent = made.sysroot / "bootd/intent.json"
        noted = {**json.loads(intent.read_text()), "finalize_failure": f"mount: {secret}"}
        intent.write_text(json.dumps(noted))
        with made.daemon():
            for member in ("ListDenied", "Explain", "GetStatus"):
                for user, reads in ((None, True), ("daemon", True), ("nobody", False)):
                    said = made.call(member, "a{sv}", "0", user=user).stdout
                    assert (secret in said) is reads, (member, user, said)
                    assert "did not boot" in said
            [status] = made.sysroot.rglob("status.json")
            assert secret not in status.read_text()


def test_question_is_taken_back_when_the_caller_leaves(found: Rig):
    # The checkout may be in a home folder that nobody else can enter.
    script = shutil.copy(_SUPPORT / "polkit_agent.py", found.folder)
    asked = found.run(SYSTEM_PYTHON, str(script), user="nobody")
    # polkit sees the caller go as well as bootd does, and may tell the agent for both.
    begun, *cancelled = asked.stdout.splitlines()
    assert begun == "BeginAuthentication org.bootd1.cleanup"
    assert {line.split()[0] for line in cancelled} == {"CancelAuthentication"}, asked.stdout


def test_without_polkit_only_root_may():
    with rig() as made, made.daemon():
        refused = made.call("Hold", "sa{sv}", "me", "0", user="nobody", status=1)
        assert "Hold needs root, because polkit is not running" in refused.stderr
        made.call("GetStatus", "a{sv}", "0", user="nobody")
        made.call("Switch", "sa{sv}", made.image("1"), "0")


def test_polkit_lists_our_actions(found: Rig):
    with (found.folder / "polkitd.log").open() as log:
        assert "rror" not in log.read()
    shown = subprocess.run(
        ["pkaction", "--verbose", "--action-id", "org.bootd1.switch"],
        env=found.environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "Change the image of the operating system" in shown.stdout


@pytest.mark.parametrize("name", ["org.bootd1", "org.bootd1.Impostor"])
def test_others_cannot_take_the_name(name: str):
    with rig() as made:
        words = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
        refused = made.run(
            *("busctl", "--system", "call", *words, "RequestName", "su", name, "4"),
            user="nobody",
            status=1,
        )
        assert "denied" in refused.stderr
