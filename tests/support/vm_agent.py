#!/usr/bin/python3 -P
"""Runs in the test's virtual machine: does what it is told over a virtio-serial port.

It begins by saying which boot this is, and of which version. A request is one line, the number of
the request and a shell command in base64. The answer is one line, too: the number, the exit status,
and output and errors in base64. What is no request is left alone, so that rubbish from a cut-off
conversation does no harm.
"""

import base64
import subprocess
import time
from pathlib import Path

PORT = Path("/dev/virtio-ports/test")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

RELEASE = dict(
    line.split("=", 1) for line in Path("/usr/lib/os-release").read_text().splitlines() if line
)
VERSION = RELEASE["IMAGE_VERSION"].encode()

with PORT.open("r+b", buffering=0) as port:
    port.write(b"\nready %s %s\n" % (BOOT_ID.read_bytes().strip(), VERSION))
    while True:
        line = b""
        while not line.endswith(b"\n"):
            letter = port.read(1)
            if not letter:
                # Nobody listens at the other end.
                time.sleep(0.1)
            line += letter or b""
        words = line.split()
        if len(words) != 3 or words[0] != b"run":
            continue
        command = base64.b64decode(words[2]).decode()
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        answer = b"done %s %d %s\n" % (
            words[1],
            done.returncode,
            base64.b64encode(done.stdout) or b"=",
        )
        while answer:
            answer = answer[port.write(answer) :]
