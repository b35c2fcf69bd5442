"""Readers of what an image brings for the machine, and of what other programs wrote on it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bootd.boot.devices.block_devices import BlockDevices
from bootd.boot.entries import with_default
from bootd.boot.entry import parse_entry
from bootd.boot.kernels.arguments import join_arguments, parse_argument_files, split_arguments
from bootd.boot.listing import default_pattern
from bootd.boot.loader.choice import LoaderSettings, Setting, choose
from bootd.boot.loader.file import is_program, look_at
from bootd.boot.loader.order import loader_entry
from bootd.daemon.dbus.framing import Framer
from bootd.etc.accounts.merge import merge_accounts
from bootd.etc.accounts.records import DATABASES, read_ranges
from bootd.etc.rules.policy import EtcPolicies, parse_rules
from bootd.model.etc.policy import EtcRules
from bootd.registry.reference import RegistryReference
from bootd.registry.registries_conf import load_registries
from bootd.store.selinux.policy import SPECIFICATIONS, SUBSTITUTIONS, read_policy
from bootd.store.selinux.specifications import SpecificationError
from fuzz.target import Target

_SEPARATOR = b"\n--\n"
_ROOT = tempfile.TemporaryDirectory(prefix="bootd-fuzz-")
_REFERENCE = RegistryReference("registry.example", "team/os", "stable", None)


def _entry(data: bytes) -> None:
    name, _, content = data.partition(b"\n")
    parse_entry(name.decode(errors="replace"), content)


def _entries(data: bytes) -> None:
    files = [part.partition(b"\n") for part in data.split(_SEPARATOR)[:64]]
    entries = [loader_entry(name.decode(errors="replace"), rest) for name, _, rest in files]
    pattern = default_pattern(data)
    choose(entries, LoaderSettings({Setting.DEFAULT: pattern or "*"}))
    after = with_default(data)
    assert with_default(after) == after


def _loader(data: bytes) -> None:
    look_at(data)
    is_program(data)


def _arguments(data: bytes) -> None:
    for arguments in parse_argument_files([("10-fuzz.toml", data)], "x86_64").values():
        assert split_arguments(join_arguments(arguments)) == arguments


def _command_line(data: bytes) -> None:
    words = split_arguments(data.decode("latin-1"))
    assert split_arguments(join_arguments(words)) == words


def _lsblk(data: bytes) -> None:
    devices = BlockDevices(data)
    for device in list(devices)[:64]:
        devices.disks(device)
        devices.composed_of(device)


def _bus(data: bytes) -> None:
    size = 1 << data[0] % 13 if data else 1
    framer = Framer(lambda header: header.serial % 2 == 0 and header.path + header.member != "/x")
    for at in range(1, len(data), size):
        for header, message in framer.feed(data[at : at + size]):
            assert len(message) >= header.size


def _registries(data: bytes) -> None:
    root = Path(_ROOT.name)
    path = root / "etc/containers/registries.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    load_registries(root).locations(_REFERENCE)


def _accounts(data: bytes) -> None:
    """Three states of all databases, one part each."""
    parts = data.split(_SEPARATOR)[: 3 * len(DATABASES)]
    parts += [b""] * (3 * len(DATABASES) - len(parts))
    states = [dict(zip(DATABASES, parts[at::3], strict=True)) for at in range(3)]
    merged = merge_accounts(*states)
    again = merge_accounts(states[2], merged.contents, states[2])
    assert set(again.contents) == set(merged.contents)
    for database in DATABASES[4:]:
        read_ranges(database, parts[-1])


def _rules(data: bytes) -> None:
    policies = EtcPolicies.of(EtcRules(), parse_rules(data))
    for path in (b"ssh/sshd_config.d/" + b"a" * 200, b"passwd", b"a/b/c"):
        policies.policy(path)
        policies.matters_for_security(path)


def _contexts(data: bytes) -> None:
    names = (*SPECIFICATIONS, *SUBSTITUTIONS)
    files = dict(zip(names, data.split(_SEPARATOR, len(names) - 1), strict=False))
    policy = read_policy(lambda name: files.get(Path(name).name), "targeted")
    for path in (b"/", b"/usr/lib/systemd/systemd", b"/etc/" + b"a" * 200, b"/var/lib/x/y/z"):
        policy.label(path, 0)


TARGETS = (
    Target("entry", _entry),
    Target("entries", _entries),
    Target("loader", _loader),
    Target("arguments", _arguments),
    Target("command-line", _command_line),
    Target("lsblk", _lsblk),
    Target("bus", _bus),
    Target("registries", _registries),
    Target("accounts", _accounts),
    Target("rules", _rules),
    Target("contexts", _contexts, (SpecificationError,)),
)
