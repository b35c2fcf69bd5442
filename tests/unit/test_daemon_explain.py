"""Why an update is, or is not, made."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import pytest

from bootd.daemon.machine import Machine
from bootd.model.config import Automatic
from bootd.model.deployment import Denial
from bootd.model.digest import Digest
from bootd.model.documents import StatusDocument
from bootd.operations.explain import explain
from bootd.sysroot import Sysroot

_NOW = datetime(2026, 1, 2, tzinfo=UTC)
_DIGEST = Digest("sha256:" + "ab" * 32)
_AVAILABLE = {
    "image": "registry.example/os:1",
    "digest": _DIGEST,
    "image_version": "1",
    "checked": _NOW,
    "download_bytes": 0,
}
_BOOTED = {
    "id": "abababababababab.0",
    "image": "registry.example/os:1",
    "digest": _DIGEST,
    "image_version": "1",
    "created": _NOW,
    "state": "good",
    "booted": True,
    "next_boot": True,
    "pinned": False,
    "tries_left": None,
    "kernel_version": "6.12",
    "kernel_arguments": [],
    "etc_conflicts": 0,
}


@pytest.fixture
def nothing(tmp_path) -> StatusDocument:
    """The status of a machine of which nothing is known."""
    return Machine(tmp_path).status


@pytest.mark.parametrize(
    ("known", "automatic", "reasons"),
    [
        ({}, "stage", ["no-image"]),
        ({"image": "x"}, "stage", ["never-checked"]),
        (
            {"image": "x", "problems": ["damaged"]},
            "off",
            ["unreadable", "automatic-off", "never-checked"],
        ),
        ({"image": "x", "available": _AVAILABLE}, "check", ["automatic-only-checks"]),
        ({"image": "x", "available": _AVAILABLE, "held_by": "me"}, "stage", ["held"]),
        (
            {"image": "x", "available": _AVAILABLE, "staged": "abababababababab.1"},
            "stage",
            ["staged"],
        ),
        (
            {"image": "x", "available": _AVAILABLE, "queued": "abababababababab.1"},
            "stage",
            ["queued"],
        ),
        (
            {
                "image": _AVAILABLE["image"],
                "available": _AVAILABLE,
                "booted": _BOOTED["id"],
                "deployments": [_BOOTED],
            },
            "stage",
            ["up-to-date"],
        ),
        (
            {
                "image": "x",
                "available": _AVAILABLE,
                "booted": _BOOTED["id"],
                "deployments": [{**_BOOTED, "state": "trial"}],
                "finalize_failure": "no room",
            },
            "stage",
            ["finalize-failed", "on-trial"],
        ),
    ],
)
def test_reasons(
    nothing: StatusDocument, known: dict[str, Any], automatic: str, reasons: list[str]
):
    status = StatusDocument.model_validate({**nothing.model_dump(), **known})
    assert explain(status, None, Automatic(automatic)).reasons == reasons


def test_denied_digest_comes_first(nothing: StatusDocument):
    denial = Denial(digest=_DIGEST, cause="rolled-back", when=_NOW)
    status = StatusDocument.model_validate({**nothing.model_dump(), "image": "x", "held_by": "me"})
    explained = explain(status, denial, Automatic.STAGE)
    assert explained.reasons == ["denied", "held", "never-checked"]
    assert explained.denial == denial


async def test_machine_that_cannot_be_read_is_a_problem_not_a_crash(tmp_path):
    Sysroot.at(tmp_path).initialise()
    (tmp_path / "bootd/intent.json").write_text("{")
    machine = Machine(tmp_path)
    await machine.recover()
    await machine.read()
    assert "intent.json" in machine.status.problems[0]
    # Right after a change the next one may leave the same times behind, so it is read again.
    assert await machine.look()
    for folder in machine.folders():
        if folder.exists():
            os.utime(folder, (1_700_000_000, 1_700_000_000))
    await machine.read()
    assert not await machine.look()
    (tmp_path / "bootd/new").write_text("")
    assert await machine.look()
