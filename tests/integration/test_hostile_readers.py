"""What code could do that an image brought into a process that reads it: nothing but read on.

The attacks are functions of this file: a reader is a fork, so it has them.
"""

from __future__ import annotations

import ctypes
import errno
import gzip
import json
import mmap
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.images import OCI_LAYER, tar_layer
from support.stored_layer import stored_layer

from bootd.model.digest import Digest
from bootd.model.errors import DiffIdMismatchError, InvalidLayerError, ProcessFailedError
from bootd.model.hash_algorithm import SHA256
from bootd.model.tree import Metadata, RegularFile
from bootd.operations import layer_workers
from bootd.sandbox.confinement import confine_writer, unconfined
from bootd.sandbox.reader_process import ReaderProcess
from bootd.store import layer_reader
from bootd.store.images.dumpfile import DumpEntry, format_entry
from bootd.store.layer_index import layer_objects
from bootd.store.layers import all_layers
from bootd.store.objects.files import all_objects, object_path
from bootd.store.objects.verity import verity_digest
from bootd.store.tar.entry_messages import EntryTeller
from bootd.sysroot import Sysroot

Write = Callable[[bytes], None]

_LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS = {
    "x86_64": {"bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "keyctl": 250},
    "aarch64": {"bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "keyctl": 219},
}[os.uname().machine]
_IO_URING_SETUP = 425
_PTRACE_ATTACH = 16
_REFUSED = {errno.EPERM, errno.EACCES, errno.ENOMEM, errno.ENOSYS}
_CAPABILITY_NAMES = ("CapInh", "CapPrm", "CapEff", "CapAmb")


def called(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def attacks(store: Path, parent: int) -> dict[str, Callable[[], Any]]:
    """What code of an image would try; each is harmless where it succeeds."""
    victim = next(path for path in store.glob("objects/*/*") if path.is_file())
    name = os.fsencode(victim)
    return {
        "open /etc/shadow": lambda: os.open("/etc/shadow", os.O_RDONLY),
        "read /proc/1/environ": lambda: Path("/proc/1/environ").read_bytes(),
        "read its own memory map": lambda: Path("/proc/self/maps").read_bytes(),
        "list the store": lambda: list(store.iterdir()),
        "read another object": lambda: os.open(victim, os.O_RDONLY),
        "write into another object": lambda: os.open(victim, os.O_WRONLY | os.O_APPEND),
        "make an object writable": lambda: victim.chmod(0o600),
        "remove an object": victim.unlink,
        "name an object": lambda: os.link(victim, victim.with_name("f" * 62)),
        "rename an object": lambda: victim.rename(victim.with_name("e" * 62)),
        "make a file": lambda: os.open(store / "objects/mine", os.O_WRONLY | os.O_CREAT),
        "make a folder": (store / "objects/ff").mkdir,
        "make a device": lambda: os.mknod(store / "device", 0o60600, os.makedev(7, 0)),
        "look at a file": lambda: Path("/etc/passwd").stat(),
        "signal its parent": lambda: os.kill(parent, 0),
        "wake its parent": lambda: os.kill(parent, signal.SIGCONT),
        "trace its parent": lambda: called(_LIBC.ptrace(_PTRACE_ATTACH, parent, None, None)),
        "read its parent's memory": lambda: called(
            _LIBC.process_vm_readv(parent, None, 0, None, 0, 0)
        ),
        "open a socket": lambda: socket.socket(socket.AF_INET),
        "open a local socket": lambda: socket.socket(socket.AF_UNIX),
        "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "mount": lambda: called(_LIBC.mount(b"none", b"/mnt", b"tmpfs", 0, None)),
        "unmount": lambda: called(_LIBC.umount2(b"/nowhere", 0)),
        "leave its name spaces": lambda: called(_LIBC.unshare(0x10000000)),
        "change its root": lambda: called(_LIBC.chroot(b"/")),
        "become another": lambda: os.setuid(1),
        "have a capability": lambda: called(_LIBC.capset((ctypes.c_uint32 * 2)(0x20080522), name)),
        "load a program into the kernel": lambda: called(_LIBC.syscall(_NUMBERS["bpf"], 0, 0, 0)),
        "watch the processor": lambda: called(
            _LIBC.syscall(_NUMBERS["perf_event_open"], 0, 0, 0, 0, 0)
        ),
        "handle page faults": lambda: called(_LIBC.syscall(_NUMBERS["userfaultfd"], 0)),
        "use keys": lambda: called(_LIBC.syscall(_NUMBERS["keyctl"], 0, 0, 0)),
        "queue system calls": lambda: called(_LIBC.syscall(_IO_URING_SETUP, 1, 0)),
        "fork": os.fork,
        "start a thread": lambda: threading.Thread(target=print).start(),
        "start a program": lambda: os.execv("/bin/true", ["true"]),
        "have more memory": lambda: resource.setrlimit(
            resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        ),
        "take 2 GB": lambda: bytes(2 << 30),
        "share 2 GB": lambda: mmap.mmap(-1, 2 << 30),
        "share memory": lambda: os.memfd_create("mine"),
        "run what it wrote": lambda: mmap.mmap(
            -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        ),
        "open a pipe": os.pipe,
    }


def outcome(attack: Callable[[], object]) -> str:
    try:
        attack()
    except MemoryError:
        return "refused"
    except (RuntimeError, ValueError) as error:
        told = ("can't start new thread", "not allowed to raise maximum limit")
        return "refused" if str(error) in told else repr(error)
    except OSError as error:
        return "refused" if error.errno in _REFUSED else repr(error)
    return "done"


def answers(work: Callable[[Iterator[bytes], Write], None]) -> Any:
    with ReaderProcess("the hostile one", "", work) as process:
        process.finish()
        return json.loads(b"".join(iter(process.receive, b"")))


@pytest.fixture
def sysroot(tmp_path: Path) -> Sysroot:
    made = Sysroot.at(tmp_path / "root")
    made.initialise()
    stream = tar_layer({"usr/good": b"good" * 99})
    stored_layer(made, [stream], media_type=OCI_LAYER, diff_id=Digest.of(stream))
    return made


def test_this_machine_has_all_measures() -> None:
    assert unconfined() is None


def test_the_daemons_unit_lets_its_children_give_up_power() -> None:
    unit = (Path(__file__).parents[2] / "systemd/bootd.service").read_text()
    allowed = {
        word
        for line in unit.splitlines()
        if line.startswith("SystemCallFilter=")
        for word in line.partition("=")[2].split()
    }
    landlock = {f"landlock_{name}" for name in ("create_ruleset", "add_rule", "restrict_self")}
    # capset is in the group; these are not, in systemd 252, or are taken out of it.
    assert allowed >= {"@system-service", "seccomp", "prlimit64", "setrlimit", *landlock}


def test_hostile_code_in_a_reader_reaches_nothing(sysroot: Sysroot) -> None:
    tried = attacks(sysroot.store, os.getpid())

    def work(_: Iterator[bytes], write: Write) -> None:
        found = {name: outcome(attack) for name, attack in tried.items()}
        write(json.dumps(found).encode())

    before = [path.stat() for path in sorted(sysroot.store.rglob("*"))]
    assert answers(work) == dict.fromkeys(tried, "refused")
    assert [path.stat() for path in sorted(sysroot.store.rglob("*"))] == before
    # They are attacks: elsewhere they succeed.
    for name in ("read another object", "share memory", "open a pipe"):
        opened = tried[name]()
        for descriptor in (opened,) if isinstance(opened, int) else opened:
            os.close(descriptor)


def test_a_reader_has_no_power_and_nothing_open(sysroot: Sysroot) -> None:
    with sysroot.lock(exclusive=True), (sysroot.store / "format.json").open("rb"):
        _check_power()


def _check_power() -> None:
    def work(_pieces: Iterator[bytes], write: Write) -> None:
        write(b"ready")
        next(_pieces, None)

    # Python keeps helpers of its own as children, too.
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = set(children.read_text().split())
    with ReaderProcess("the reader", "", work) as process:
        assert process.receive() == b"ready"
        [pid] = set(children.read_text().split()) - before
        status = Path(f"/proc/{pid}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        limits = Path(f"/proc/{pid}/limits").read_text()
        opened = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    assert all(int(facts[name], 16) == 0 for name in (*_CAPABILITY_NAMES, "CapBnd"))
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    assert len(opened) == 5
    assert all(one.startswith("pipe:") for one in opened)
    assert "Max open files            0" in limits


def a_file(path: bytes, content: bytes, verity: bytes) -> DumpEntry:
    return DumpEntry(path, RegularFile(Metadata(), len(content), verity=verity))


def test_a_reader_cannot_name_what_it_did_not_read(
    sysroot: Sysroot, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"evil" * 99
    stream = tar_layer({"usr/evil": content})
    good = verity_digest(b"good" * 99, SHA256)

    def tell(pieces: Iterator[bytes], write: Write) -> None:
        whole = b"".join(pieces)
        teller = EntryTeller(write)
        teller.add(a_file(b"/evil", content, good), (whole.index(content), len(content)))
        teller.flush(len(whole))

    monkeypatch.setattr(layer_reader, "_tell_entries", tell)
    diff_id = Digest.of(stream)
    stored_layer(sysroot, [stream], media_type=OCI_LAYER, diff_id=diff_id)
    assert layer_objects(sysroot, diff_id) == {verity_digest(content, SHA256)}
    assert object_path(sysroot, good).read_bytes() == b"good" * 99
    for verity in all_objects(sysroot):
        assert verity_digest(object_path(sysroot, verity).read_bytes(), SHA256) == verity


def _raw(lines: bytes, *pairs: int) -> Callable[[Iterator[bytes], Write], None]:
    def tell(pieces: Iterator[bytes], write: Write) -> None:
        size = len(b"".join(pieces))
        numbers = b"".join(one.to_bytes(8, "little") for one in pairs)
        head = size.to_bytes(8, "little") + (len(pairs) // 2).to_bytes(4, "little")
        write(head + len(lines).to_bytes(4, "little") + numbers + lines)

    return tell


_FOLDER = b"/%b 0 40755 1 0 0 0 0.0 - - -\n"
_OTHER = verity_digest(b"good" * 99, SHA256).hex().encode()


@pytest.mark.parametrize(
    "lines",
    [
        _FOLDER % b"..",
        _FOLDER % b"usr/../../etc",
        _FOLDER % (b"/".join([b"d"] * 1_030)),
        b"/ 0 100644 1 0 0 0 0.0 - - -\n",
        b"/a 5 100644 1 0 0 0 0.0 - - " + _OTHER + b"\n",
        b"/a 396 100644 1 0 0 0 0.0 %b/%b - %b\n" % (_OTHER[:2], _OTHER[2:], _OTHER),
        b"not a line\n",
        b"\0" * 100,
    ],
)
def test_what_a_reader_must_not_tell_is_refused(
    sysroot: Sysroot, monkeypatch: pytest.MonkeyPatch, lines: bytes
) -> None:
    stream = tar_layer({"usr/a": b"a"})
    monkeypatch.setattr(layer_reader, "_tell_entries", _raw(lines))
    before = all_layers(sysroot)
    with pytest.raises(ProcessFailedError, match="told of"):
        stored_layer(sysroot, [stream], media_type=OCI_LAYER, diff_id=Digest.of(stream))
    assert all_layers(sysroot) == before


@pytest.mark.parametrize("pair", [(1 << 62, 9), (0, 1 << 40), (0, 9)])
def test_contents_are_within_the_stream(
    sysroot: Sysroot, monkeypatch: pytest.MonkeyPatch, pair: tuple[int, int]
) -> None:
    stream = tar_layer({"usr/a": b"a"})
    line = format_entry(a_file(b"/a", bytes(2_000_000), bytes(32)))
    monkeypatch.setattr(layer_reader, "_tell_entries", _raw(line, *pair))
    with pytest.raises((ProcessFailedError, InvalidLayerError)):
        stored_layer(sysroot, [stream], media_type=OCI_LAYER, diff_id=Digest.of(stream))


def test_an_unpacker_cannot_make_another_layer(
    sysroot: Sysroot, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = tar_layer({"usr/a": b"a" * 99})
    other = tar_layer({"usr/a": b"b" * 99})

    def unpack(pieces: Iterator[bytes], *_: object) -> Iterator[bytes]:
        b"".join(pieces)
        yield other

    monkeypatch.setattr(layer_reader, "unpack", unpack)
    before = all_layers(sysroot)
    blob = gzip.compress(stream)
    with pytest.raises(DiffIdMismatchError):
        stored_layer(sysroot, [blob], media_type=f"{OCI_LAYER}+gzip", diff_id=Digest.of(stream))
    assert all_layers(sysroot) == before


def test_an_unpacker_that_talks_without_end_is_stopped(
    sysroot: Sysroot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(pieces: Iterator[bytes], write: Write) -> None:
        next(pieces)
        while True:
            write(bytes(1 << 20))

    monkeypatch.setattr(layer_reader, "_tell_entries", tell)
    stream = tar_layer({"usr/a": b"a" * 99})
    with pytest.raises((ProcessFailedError, InvalidLayerError)):
        stored_layer(sysroot, [stream], media_type=OCI_LAYER, diff_id=Digest.of(stream))


def test_who_names_layers_writes_nowhere_else(sysroot: Sysroot) -> None:
    places = [
        sysroot.objects / "new",
        sysroot.layers / "new",
        sysroot.store / "intent.json",
        sysroot.deployments / "new",
        sysroot.physical / "etc-of-it",
    ]
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        found = confine_writer([sysroot.objects, sysroot.layers])
        could = [not found]
        for place in places:
            try:
                place.write_bytes(b"mine")
                could.append(True)
            except OSError:
                could.append(False)
        os.write(writing, json.dumps(could).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    assert json.loads(os.read(reading, 1_000)) == [True, True, True, False, False, False]
    os.close(reading)


def test_importers_are_confined(sysroot: Sysroot, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[Path]] = []
    monkeypatch.setattr(layer_workers, "confine_writer", taken.append)
    monkeypatch.setattr(layer_workers, "is_any_installed", lambda: False)
    layer_workers._give_up_power(sysroot)
    [folders] = taken
    assert sysroot.objects in folders
    assert sysroot.store not in folders
    assert sysroot.deployments not in folders
