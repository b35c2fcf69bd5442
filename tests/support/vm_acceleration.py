"""What QEMU runs a machine's processors with: KVM where it really works, else emulation.

A ``/dev/kvm`` that opens says little: some sandboxes have one whose machines fail at the firmware's
first instructions. So a firmware is started on it once, and has to get as far as its boot menu.
"""

from __future__ import annotations

import subprocess
import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

_PROBE_SECONDS = 20.0
_FIRMWARE_SPEAKS = b"BdsDxe"
_KVM = ("-accel", "kvm", "-cpu", "host")
# Newer instructions would only have to be emulated.
_EMULATED = ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem")


@cache
def acceleration() -> tuple[str, ...]:
    """Options of QEMU that choose the accelerator and the processor."""
    return _KVM if _kvm_works() else _EMULATED


def _kvm_works() -> bool:
    if not Path("/dev/kvm").exists():
        return False
    with TemporaryDirectory(prefix="bootd-kvm-") as work:
        serial = Path(work, "serial")
        serial.touch()
        process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-machine", "q35", *_KVM, "-m", "256", "-nodefaults"),
                *(
                    "-drive",
                    "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
                ),
                *("-display", "none", "-serial", f"file:{serial}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + _PROBE_SECONDS
            while time.monotonic() < deadline and process.poll() is None:
                if _FIRMWARE_SPEAKS in serial.read_bytes():
                    return True
                time.sleep(0.2)
            return False
        finally:
            process.kill()
            process.wait()
