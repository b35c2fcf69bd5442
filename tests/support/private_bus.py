"""A message bus of its own with polkitd and bootd on it, set up as the shipped files say.

The bus has the rules of a system bus and bootd's own policy file; polkitd sees bootd's actions
beside the installed ones, through a mount that only it has. All ends with its context manager.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
BUS_NAME = "org.bootd1"
ACTIONS = Path("/usr/share/polkit-1/actions")
_POLKITD = ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd")
_READY_SECONDS = 30
_END_SECONDS = 10.0
_CONFIGURATION = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={folder}/bus</listen>
  <auth>EXTERNAL</auth>
  <!-- Four times a system bus's: tests of fairness are to meet bootd. -->
  <limit name="max_connections_per_user">1024</limit>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus"
           send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus"
           send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
  <include>{policy}</include>
  <include ignore_missing="yes">/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf</include>
</busconfig>
"""


@contextmanager
def run_bus(folder: Path) -> Iterator[dict[str, str]]:
    """Run dbus-daemon with its socket in an existing folder; yields its clients' environment."""
    configuration = folder / "bus.conf"
    policy = CHECKOUT / "dbus/org.bootd1.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, policy=policy))
    folder.chmod(0o755)
    command = ["dbus-daemon", f"--config-file={configuration}", "--nofork", "--print-address"]
    with (
        (folder / "dbus-daemon.log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            yield {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": address}
        finally:
            process.terminate()


@contextmanager
def run_polkit(environment: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Run polkitd on a bus; its view of the actions and its log are kept in a folder."""
    actions = folder / "actions"
    actions.mkdir()
    for path in (*ACTIONS.glob("*.policy"), *(CHECKOUT / "dbus").glob("*.policy")):
        shutil.copy(path, actions)
    daemon = next(path for path in _POLKITD if Path(path).exists())
    script = f'mount --bind "$0" {ACTIONS} && exec {daemon} --no-debug'
    command = ["unshare", "--mount", "sh", "-c", script, str(actions)]
    log = folder / "polkitd.log"
    with _running(command, environment, log):
        wait_for_name("org.freedesktop.PolicyKit1", environment, log)
        yield


@contextmanager
def run_daemon(
    environment: Mapping[str, str], sysroot: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``bootd --sysroot``; it is told to end, unless it has ended already."""
    command = [str(Path(sys.executable).with_name("bootd")), "--sysroot", str(sysroot)]
    with _running(command, environment, log) as process:
        wait_for_name(BUS_NAME, environment, log)
        yield process


def wait_for_name(name: str, environment: Mapping[str, str], log: Path | None = None) -> None:
    """Wait until somebody owns a name on the bus; `log` is what its owner says meanwhile."""
    command = ["gdbus", "wait", "--system", f"--timeout={_READY_SECONDS}", name]
    done = subprocess.run(command, env=environment, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        said = log.read_text(errors="replace")[-2_000:] if log is not None else ""
        raise AssertionError(f"{name} did not appear on the bus within {_READY_SECONDS} s: {said}")


@contextmanager
def _running(
    command: list[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
