"""The published documents: golden JSON, golden text, and schemas that accept them.

After a wanted change: ``BOOTD_WRITE_GOLDEN=1 pytest tests/unit/test_cli_documents.py``, then read
the diff of ``tests/unit/golden`` as a user of the old output would.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
from support.documents import SAMPLES

from bootd.cli.render.by_kind import RENDERINGS, render
from bootd.cli.schemas import schemas
from bootd.cli.style import Style
from bootd.model.errors import InternalError

GOLDEN = Path(__file__).parent / "golden"
PLAIN = Style()


def golden(name: str, found: str) -> str:
    path = GOLDEN / name
    if os.environ.get("BOOTD_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(found)
    return path.read_text()


def test_every_kind_has_a_sample() -> None:
    assert SAMPLES.keys() == RENDERINGS.keys()


@pytest.mark.parametrize("kind", SAMPLES)
def test_json_is_as_it_was(kind: str) -> None:
    found = json.dumps(SAMPLES[kind].model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    assert found == golden(f"{kind}.json", found)


@pytest.mark.parametrize("kind", SAMPLES)
def test_text_is_as_it_was(kind: str) -> None:
    found = render(SAMPLES[kind].model_dump(mode="json"), PLAIN) + "\n"
    assert found == golden(f"{kind}.txt", found)


@pytest.mark.parametrize("kind", SAMPLES)
def test_schema_accepts_the_sample(kind: str) -> None:
    by_kind = {
        schema["properties"]["kind"]["const"]: schema
        for schema in map(json.loads, schemas().values())
    }
    checker = jsonschema.Draft202012Validator(by_kind[kind])
    document = json.loads((GOLDEN / f"{kind}.json").read_text())
    checker.validate(document)
    with pytest.raises(jsonschema.ValidationError):
        checker.validate({**document, "version": 2})
    del document["kind"]
    with pytest.raises(jsonschema.ValidationError):
        checker.validate(document)


@pytest.mark.parametrize("kind", SAMPLES)
def test_colours_change_nothing_but_colours(kind: str) -> None:
    value = SAMPLES[kind].model_dump(mode="json")
    coloured = render(value, Style(colour=True))
    for code in ("1;31", "0", "1", "2", "32", "33"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == render(value, PLAIN)


def test_a_newer_daemon_may_add_fields() -> None:
    value = SAMPLES["Check"].model_dump(mode="json")
    assert render({**value, "mood": "good"}, PLAIN) == render(value, PLAIN)


@pytest.mark.parametrize("value", [{"kind": "Poem"}, {}, {"kind": "Check"}])
def test_what_is_not_a_document_is_named(value: dict[str, object]) -> None:
    with pytest.raises(InternalError):
        render(value, PLAIN)
