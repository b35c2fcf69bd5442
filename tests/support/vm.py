"""A virtual machine in QEMU with UEFI firmware, driven over a virtio-serial port.

Its disks and its EFI variables are overlays, the images below them stay as they are. It begins
switched off, or goes on from where another one was saved. Its serial console goes to a file, which
tells of a boot that never gets as far as answering.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.vm_acceleration import acceleration
from support.vm_port import Agent, Monitor

_FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
_TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "socat": "socat",
}
_BOOT_LINE = "EFI stub: Loaded initrd"
"""A kernel says so on the console that the firmware gives it, once a boot."""
BOOT_SECONDS = 600.0
"""How long a boot may take until the machine answers; one alone takes 40 s on two cores."""
_SAVE_SECONDS = 120.0
REGISTRY = "10.0.2.100:5000"
"""A registry on the host's loopback, as the machine sees it."""


@dataclass(frozen=True)
class Saved:
    """A machine that was saved while it ran; its files are not to be changed.

    Attributes:
        disk: the disk, as an overlay or a raw image.
        variables: the EFI variables.
        memory: memory and devices; None where the machine was switched off.
        more: further disks, which appear behind the first one.
        processors: how many it has. Where the host is busy a firmware may wait for ever for its
            second one to wake up (tianocore/edk2, pull request 13164; seen here once).
    """

    disk: Path
    variables: Path = _VARIABLES
    memory: Path | None = None
    more: tuple[Path, ...] = ()
    processors: int = 1


class VirtualMachine:
    """One machine; `start` and `shut_down` are its power switch.

    Attributes:
        folder: what it leaves behind: its disks, its EFI variables and ``serial.log``.
        log: what the first disk was told, where that is recorded.
    """

    def __init__(
        self, saved: Saved, folder: Path, registry: str = "", *, recorded: bool = False
    ) -> None:
        """Begin with overlays on what was saved.

        Args:
            saved: what to begin with.
            folder: an empty one.
            registry: ``HOST:PORT`` of what the machine sees as `REGISTRY`; empty for none.
            recorded: write down what the first disk is told (`support.vm_power`).
        """
        check_tools()
        self.folder = folder
        self.log = folder / "writes.log"
        self._recorded = recorded
        self.disk = folder / "disk.qcow2"
        self._more = [folder / f"disk-{number}.qcow2" for number in range(2, len(saved.more) + 2)]
        self.variables = folder / "variables.qcow2"
        self._memory = saved.memory
        self._processors = saved.processors
        self._registry = registry
        self._process: subprocess.Popen[bytes] | None = None
        self._agent = Agent(folder / "agent", self._fail_if_gone)
        self._monitor = Monitor(folder / "monitor", self._fail_if_gone)
        images = (saved.disk, saved.variables, *saved.more)
        overlays = (self.disk, self.variables, *self._more)
        for below, overlay in zip(images, overlays, strict=True):
            kind = "qcow2" if below.suffix == ".qcow2" else "raw"
            command = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(below))
            subprocess.run([*command, str(overlay)], check=True)

    @property
    def serial(self) -> str:
        """What all boots so far printed."""
        path = self.folder / "serial.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def boots(self) -> int:
        """How many kernels were started so far."""
        return self.serial.count(_BOOT_LINE)

    @property
    def is_on(self) -> bool:
        """Whether it runs."""
        return self._process is not None

    def start(self) -> None:
        """Switch on, or go on where it was saved, and wait until the machine answers."""
        self.switch_on()
        if self._memory is None:
            self.await_boot()
            return
        self._memory = None
        # What the agent is told before its device is there again would be lost.
        self._await_status("paused")
        self._monitor.execute("cont")
        # Its clock stood still while it was saved.
        self.run(f"date --set=@{time.time():.0f}", seconds=BOOT_SECONDS)

    def switch_on(self) -> None:
        """Switch on."""
        assert self._process is None
        with (self.folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._agent.connect()
        self._monitor.connect()

    def await_boot(self, seconds: float = BOOT_SECONDS) -> str:
        """Wait until the machine, once (re)booted, answers; return the version that runs."""
        return self._agent.await_boot(seconds)

    def run(self, command: str, *, check: bool = True, seconds: float = 300.0) -> str:
        """Run a shell command in the machine; return what it printed, errors included."""
        status, output = self.ask(command, seconds)
        if check and status != 0:
            pytest.fail(f"{command!r} ended with {status}:\n{output}")
        return output

    def ask(self, command: str, seconds: float = 300.0) -> tuple[int, str]:
        """Run a shell command in the machine; return its exit status and what it printed."""
        return self._agent.ask(command, seconds)

    def reboot(self) -> str:
        """Restart as people do, and wait until it answers; return the version that runs."""
        self.run("systemctl --no-block reboot")
        return self.await_boot()

    def shut_down(self) -> None:
        """Power off as people do."""
        assert self._process is not None
        self.run("systemctl --no-block poweroff")
        self._process.wait(BOOT_SECONDS)
        self._forget()

    def kill(self) -> None:
        """Cut the power, if it is on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._forget()

    def await_console(self, text: str, since: int, seconds: float = BOOT_SECONDS) -> None:
        """Wait until the serial console has shown a text after that many characters."""
        deadline = time.monotonic() + seconds
        while text not in self.serial[since:]:
            if time.monotonic() > deadline:
                pytest.fail(f"no {text!r} on the console\n{self.describe()}")
            self._fail_if_gone()
            time.sleep(0.5)

    def press(self, *keys: str) -> None:
        """Press keys one after the other, by QEMU's names for them (``QKeyCode``)."""
        for key in keys:
            self._monitor.execute("send-key", keys=[{"type": "qcode", "data": key}])
            # An emulated firmware looks at its keyboard only now and then.
            time.sleep(1.0)

    def plug_network(self, *, plugged: bool) -> None:
        """Put the network cable in, or pull it."""
        self._monitor.execute("set_link", name="network", up=plugged)

    def save(self, memory: Path) -> Saved:
        """Write down what the machine is, and end; a copy of its disk has to be kept with it."""
        self._monitor.execute("stop")
        self._monitor.execute("migrate", uri=f"exec:cat >{memory}")
        self._await_status("postmigrate")
        self.kill()
        return Saved(
            self.disk, self.variables, memory, tuple(self._more), processors=self._processors
        )

    def take_picture(self, path: Path) -> None:
        """Save what the screen shows, as PNG."""
        self._monitor.execute("screendump", filename=str(path), format="png")

    def describe(self) -> str:
        """Return the end of the serial console, for a failure's message."""
        return f"the end of {self.folder}/serial.log:\n{self.serial[-3000:]}"

    def _await_status(self, wanted: str) -> None:
        deadline = time.monotonic() + _SAVE_SECONDS
        while (found := self._monitor.execute("query-status")["status"]) != wanted:
            if time.monotonic() > deadline:
                pytest.fail(f"the machine is {found} and not {wanted}")
            time.sleep(0.1)

    def _command(self) -> list[str]:
        network = "user,id=network,restrict=on"
        if self._registry:
            network += f",guestfwd=tcp:{REGISTRY}-cmd:socat STDIO TCP:{self._registry}"
        return [
            *("qemu-system-x86_64", "-machine", "q35,sata=off", *acceleration()),
            *("-smp", str(self._processors), "-m", "1280"),
            *("-drive", f"if=pflash,format=raw,readonly=on,file={_FIRMWARE}"),
            *("-drive", f"if=pflash,format=qcow2,file={self.variables}"),
            *self._drives(),
            *("-netdev", network, "-device", "virtio-net-pci,netdev=network,romfile="),
            *("-device", "virtio-rng-pci", "-device", "virtio-serial"),
            *("-chardev", f"socket,id=agent,server=on,wait=off,path={self._agent.path}"),
            *("-device", "virtserialport,chardev=agent,name=test"),
            *("-qmp", f"unix:{self._monitor.path},server=on,wait=off"),
            *("-chardev", f"file,id=serial,append=on,path={self.folder}/serial.log"),
            *("-serial", "chardev:serial", "-display", "none", "-device", "bochs-display"),
            *("-nodefaults",),
            *(("-S", "-incoming", f"exec:cat {self._memory}") if self._memory else ()),
        ]

    def _drives(self) -> list[str]:
        blocks = _image("image", self.disk)
        if self._recorded:
            self.log.touch()
            log = f"log.driver=file,log.filename={self.log},log-sector-size=512"
            blocks += ["-blockdev", f"driver=blklogwrites,node-name=log,file=image,{log}"]
        node = "log" if self._recorded else "image"
        # blklogwrites adds two pieces to a request, and one that was merged may have IOV_MAX.
        device = f"virtio-blk-pci,drive={node},write-cache=on"
        blocks += ["-device", device + (",request-merging=off" if self._recorded else "")]
        for number, disk in enumerate(self._more, 2):
            blocks += _image(f"image-{number}", disk)
            blocks += ["-device", f"virtio-blk-pci,drive=image-{number},write-cache=on"]
        return blocks

    def _forget(self) -> None:
        self._process = None
        self._agent.close()
        self._monitor.close()

    def _fail_if_gone(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            log = (self.folder / "qemu.log").read_text(errors="replace")
            pytest.fail(f"QEMU ended with {self._process.returncode}: {log[-2000:]}")


def _image(node: str, disk: Path) -> list[str]:
    # Where QEMU alone is killed the host keeps what it was told, flushed or not.
    image = f"driver=qcow2,node-name={node},cache.no-flush=on,file.filename={disk}"
    return ["-blockdev", f"{image},file.driver=file"]


def check_tools() -> None:
    """Fail, and say what to install, where QEMU or its firmware is missing."""
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            pytest.fail(f"{tool} is missing: apt-get install {package}")
    if not _FIRMWARE.exists():
        pytest.fail(f"{_FIRMWARE} is missing: apt-get install ovmf")
