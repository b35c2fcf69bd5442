"""No text ends the daemon: every text of the interfaces and the models, over a real bus."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.bus import LIBRARIES, environment_of, permissive_bus, rig
from support.images import build_oci_layout, tar_layer
from support.machine import image_files

from bootd.daemon.dbus import interfaces, names
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.server import Handler, ObjectServer
from bootd.daemon.dbus.wire import IncomingCall, RemoteError, Variant
from bootd.model.errors import InternalError, registered_errors

HOSTILE = "a\0b\ud800\ufdd0\u202e\n\x1b]0;x\x07\U0010ffff"
CARRIED = "a\\x00b\\ud800\ufdd0\u202e\n\x1b]0;x\x07\U0010ffff"
VERSION = "org.opencontainers.image.version"


def values(signature: str) -> Any:
    """A value of a type, with the text in each place that has any."""
    samples: dict[str, Any] = {
        "s": HOSTILE,
        "as": [HOSTILE],
        "b": True,
        "d": 0.5,
        "o": "/",
        "a{sv}": {HOSTILE: Variant("s", HOSTILE)},
        "(sss)": [HOSTILE] * 3,
        "a{st}": {HOSTILE: 1},
    }
    return samples.get(signature, 1)


class Hostile:
    """An object of an interface with the text in all that it says."""

    def __init__(self, interface: str) -> None:
        self._interface = interfaces.load(interface)

    def properties(self, _reader: int | None = None) -> Mapping[str, Any]:
        return {name: values(one.signature) for name, one in self._interface.properties.items()}

    def methods(self) -> Mapping[str, Handler]:
        return dict.fromkeys(self._interface.methods, self._answer)

    async def _answer(self, call: IncomingCall, *_arguments: Any) -> Any:
        if call.member == "Unstage":
            raise registered_errors()["busy"](HOSTILE, hint=HOSTILE)
        if call.member == "GetStatus":
            return "x" * (31 << 20)
        return HOSTILE


async def _everything_said(address: str) -> None:
    """Say the text in each place there is, and hear that nothing of it ended the connection."""
    serving, asking = await Connection.open(address), await Connection.open(address)
    server = ObjectServer(serving)
    paths = {
        names.MANAGER: names.ROOT,
        names.DEPLOYMENT: f"{names.DEPLOYMENTS}1",
        names.JOB: f"{names.JOBS}1",
    }
    for interface, path in paths.items():
        server.export(path, interface, Hostile(interface))
    await serving.own(names.BUS_NAME)
    for interface, path in paths.items():
        [told] = await asking.call(
            names.BUS_NAME, path, f"{names.PROPERTIES}.GetAll", "s", interface
        )
        texts = [value for value in told.values() if isinstance(value, str) and value != "/"]
        assert set(texts) <= {CARRIED}
        server.publish(path)
    serving.emit(names.ROOT, f"{names.MANAGER}.JobNew", "uo", -1, "/")
    manager = f"{names.MANAGER}."
    [said] = await asking.call(names.BUS_NAME, names.ROOT, manager + "Explain", "a{sv}", {})
    assert said == CARRIED
    with pytest.raises(RemoteError) as busy:
        await asking.call(names.BUS_NAME, names.ROOT, manager + "Unstage", "a{sv}", {})
    assert busy.value.name == "org.bootd1.Error.Busy"
    assert "\n" not in busy.value.message
    with pytest.raises(RemoteError, match="more than the bus carries") as large:
        await asking.call(names.BUS_NAME, names.ROOT, manager + "GetStatus", "a{sv}", {})
    assert large.value.name == InternalError.bus_name()
    [objects] = await asking.call(
        names.BUS_NAME, names.ROOT, f"{names.OBJECT_MANAGER}.GetManagedObjects"
    )
    assert len(objects) == 2
    await asking.close()
    await serving.close()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with permissive_bus(tmp_path) as (address, _):
        yield address


async def test_no_text_and_no_size_ends_the_connection(address: str):
    await _everything_said(address)


def test_nor_with_the_other_library(address: str):
    script = "import asyncio, sys; from test_dbus_text import _everything_said\n"
    script += "asyncio.run(_everything_said(sys.argv[1]))"
    folders = f"{Path(__file__).parent}:{Path(__file__).parents[1]}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, address],
        env={**environment_of(address, LIBRARIES[1]), "PYTHONPATH": folders},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_an_image_whose_version_is_none():
    with rig() as made, made.daemon() as process:
        layers = [tar_layer(image_files("1"))]
        for version in ("1\0\u202ex", "v" * 5_000):
            build_oci_layout(made.folder / "image", layers, labels={VERSION: version})
            bootctl = str(Path(sys.executable).with_name("bootctl-py"))
            made.run(bootctl, "switch", f"oci:{made.folder}/image:latest")
            layers = [tar_layer(image_files("2"))]
        shown = json.loads(json.loads(made.call("GetStatus", "a{sv}", "0").stdout[2:]))
        made.run(
            "busctl",
            "--system",
            "get-property",
            "org.bootd1",
            "/org/bootd1",
            "org.bootd1.Manager",
            "LastCheck",
        )
        assert process.poll() is None
    [staged] = [one for one in shown["deployments"] if one["state"] == "staged"]
    assert len(staged["image_version"]) == 256
    assert staged["image_version"].endswith("v...")


def test_a_record_of_an_older_bootd_with_a_nul():
    with rig() as made:
        with made.daemon():
            bootctl = str(Path(sys.executable).with_name("bootctl-py"))
            made.run(bootctl, "switch", made.image("1"))
        [record] = made.sysroot.rglob("deployment.json")
        value = json.loads(record.read_text())
        record.write_text(json.dumps({**value, "version": HOSTILE[:3] + "\n", "image": "a\0b"}))
        with made.daemon() as process:
            shown = json.loads(json.loads(made.call("GetStatus", "a{sv}", "0").stdout[2:]))
            [staged] = shown["deployments"]
            assert staged["image_version"] == "a\\x00b\\n"
            assert staged["image"] == "a\\x00b"
            made.call("Unstage", "a{sv}", "0")
            assert process.poll() is None
