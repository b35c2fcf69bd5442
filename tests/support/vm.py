"""A virtual machine in QEMU with UEFI firmware, driven over a virtio-serial port.

There is no /dev/kvm to count on, so the processor is emulated. The machine's disk is an overlay,
the image below it stays as it is. Its serial console goes to a file, which tells of a boot that
never gets as far as answering.
"""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

_FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
_TOOLS = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils"}
BOOT_SECONDS = 300.0
"""How long a boot may take until the machine answers; one alone takes 40 s on two cores."""
HOST = "10.0.2.2"
"""The host's loopback, as the machine sees it."""


class VirtualMachine:
    """One machine; `start` and `stop` are its power switch.

    Attributes:
        folder: what it leaves behind: its disk, its EFI variables and ``serial.log``.
    """

    def __init__(self, disk: Path, folder: Path) -> None:
        """Begin with an overlay on the disk image `disk`, in the empty folder `folder`."""
        check_tools()
        self.folder = folder
        self._disk = folder / "disk.qcow2"
        self._variables = folder / "variables.fd"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = _Port(folder / "port")
        shutil.copy(_VARIABLES, self._variables)
        create = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(disk))
        subprocess.run([*create, str(self._disk)], check=True)

    @property
    def serial(self) -> str:
        """What all boots so far printed."""
        return (self.folder / "serial.log").read_text(errors="replace")

    def start(self) -> None:
        """Switch on and wait until the machine answers."""
        self.switch_on()
        self.await_boot()

    def switch_on(self) -> None:
        """Switch on."""
        assert self._process is None
        with (self.folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._port.connect(self._fail_if_gone)

    def await_boot(self, seconds: float = BOOT_SECONDS) -> str:
        """Wait until the machine, once (re)booted, answers; return the boot's ID."""
        line = self._port.await_line(b"ready ", seconds, self._fail_if_gone)
        return line.split()[1].decode()

    def run(self, command: str, *, check: bool = True, seconds: float = 120.0) -> str:
        """Run a shell command in the machine; return what it printed, errors included."""
        status, output = self.ask(command, seconds)
        if check and status != 0:
            pytest.fail(f"{command!r} ended with {status}:\n{output}")
        return output

    def ask(self, command: str, seconds: float = 120.0) -> tuple[int, str]:
        """Run a shell command in the machine; return its exit status and what it printed."""
        return self._port.ask(command, seconds, self._fail_if_gone)

    def reboot(self) -> str:
        """Restart as people do, and wait until the machine answers; return the boot's ID."""
        self.run("systemctl --no-block reboot")
        return self.await_boot()

    def shut_down(self) -> None:
        """Power off as people do."""
        assert self._process is not None
        self.run("systemctl --no-block poweroff")
        self._process.wait(BOOT_SECONDS)
        self._process = None
        self._port.close()

    def kill(self) -> None:
        """Cut the power, if it is on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None
            self._port.close()

    def _command(self) -> list[str]:
        return [
            *("nice", "-n", "5", "qemu-system-x86_64", "-machine", "q35"),
            *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536"),
            *("-drive", f"if=pflash,format=raw,readonly=on,file={_FIRMWARE}"),
            *("-drive", f"if=pflash,format=raw,file={self._variables}"),
            *("-drive", f"if=virtio,format=qcow2,cache=writeback,file={self._disk}"),
            *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-device", "virtio-rng-pci", "-device", "virtio-serial"),
            *("-chardev", f"socket,id=port,server=on,wait=off,path={self._port.path}"),
            *("-device", "virtserialport,chardev=port,name=test"),
            *("-chardev", f"file,id=serial,append=on,path={self.folder}/serial.log"),
            *("-serial", "chardev:serial", "-display", "none", "-vga", "none"),
            *("-monitor", "none", "-nodefaults"),
        ]

    def _fail_if_gone(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            log = (self.folder / "qemu.log").read_text(errors="replace")
            pytest.fail(f"QEMU ended with {self._process.returncode}: {log[-2000:]}")

    def describe(self) -> str:
        """Return the end of the serial console, for a failure's message."""
        return f"the end of {self.folder}/serial.log:\n{self.serial[-3000:]}"


class _Port:
    """The host's side of what ``vm_agent.py`` speaks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket: socket.socket | None = None
        self._received = b""
        self._number = 0

    def connect(self, still_there: Callable[[], None]) -> None:
        self._received = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(1.0)
        for _ in range(100):
            with suppress(FileNotFoundError, ConnectionRefusedError):
                self._socket.connect(str(self.path))
                return
            still_there()
            time.sleep(0.1)
        pytest.fail("QEMU does not open the machine's port")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.path.unlink(missing_ok=True)

    def ask(self, command: str, seconds: float, still_there: Callable[[], None]) -> tuple[int, str]:
        assert self._socket is not None
        self._number += 1
        encoded = base64.b64encode(command.encode())
        self._socket.sendall(b"run %d %s\n" % (self._number, encoded))
        line = self.await_line(b"done %d " % self._number, seconds, still_there)
        _, _, status, output = line.split()
        return int(status), base64.b64decode(output).decode(errors="replace")

    def await_line(self, start: bytes, seconds: float, still_there: Callable[[], None]) -> bytes:
        assert self._socket is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            line, newline, rest = self._received.partition(b"\n")
            if newline:
                self._received = rest
                if line.startswith(start):
                    return line
                continue
            with suppress(TimeoutError):
                self._received += self._socket.recv(65536)
            still_there()
        pytest.fail(f"the machine did not say {start.decode()!r} within {seconds:.0f} s")


def check_tools() -> None:
    """Fail, and say what to install, where QEMU or its firmware is missing."""
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            pytest.fail(f"{tool} is missing: apt-get install {package}")
    if not _FIRMWARE.exists():
        pytest.fail(f"{_FIRMWARE} is missing: apt-get install ovmf")
