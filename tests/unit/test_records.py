"""Records on the disk: one layout, one bound, one way to refuse what cannot be used."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

from bootd.durable import Disk
from bootd.model.deployment import DeploymentId
from bootd.model.digest import Digest
from bootd.model.errors import DamagedRecordError, UnknownFormatError, WriteFailedError
from bootd.records import MAX_BYTES, read_cache, read_record, write_record

ROOT = Path(__file__).parents[2]
DIGEST = Digest.of(b"")


class Inner(BaseModel):
    count: int


class Sample(BaseModel):
    """A record in its second format."""

    format: Literal[2] = 2
    digest: Digest = DIGEST
    deployment: DeploymentId | None = None
    inner: Inner | None = None
    text: str = ""


class Unnumbered(BaseModel):
    text: str


def test_what_is_written_is_read_back_and_has_one_layout(tmp_path: Path) -> None:
    path = tmp_path / "sample.json"
    record = Sample(inner=Inner(count=3), text='ä\n"')
    write_record(Disk(), path, record)
    assert read_record(path, Sample) == record
    assert (
        path.read_text()
        == json.dumps(json.loads(path.read_text()), indent=2, ensure_ascii=False) + "\n"
    )
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_not_there_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read_record(tmp_path / "sample.json", Sample) is None
    assert read_record(tmp_path / "file/sample.json", Sample) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"text": "\\ud800"}', "is not JSON"),
        (b"[]", "valid dictionary|an object"),
        (b"null", "valid dictionary|an object"),
        (b'{"inner": {"count": "many"}}', r": inner\.count: "),
        (b'{"digest": "sha256:1"}', r"'sha256:1' is not a digest"),
        (b'{"deployment": "one"}', "'one'"),
        (b'{"format": "new"}', ": format: "),
        (b'{"format": 1}', ": format: "),
    ],
)
def test_damage_is_refused_with_its_path_and_place(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "sample.json"
    path.write_bytes(data)
    with pytest.raises(DamagedRecordError, match=words) as caught:
        read_record(path, Sample)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in caught.value.message
    assert read_cache(path, Sample) is None


@pytest.mark.parametrize("more", [{}, {"digest": 5}, {"digest": "md5:1"}, {"inner": []}])
def test_the_record_of_a_newer_release_is_told_from_damage(
    tmp_path: Path, more: dict[str, object]
) -> None:
    path = tmp_path / "sample.json"
    path.write_text(json.dumps({**more, "format": 3}))
    with pytest.raises(UnknownFormatError, match="has format 3; this bootd knows format 2"):
        read_record(path, Sample)
    assert read_cache(path, Sample) is None


def test_what_is_new_in_a_record_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "sample.json"
    path.write_text('{"text": "known", "later": {"text": 1}, "format": 9}')
    assert read_record(path, Unnumbered) == Unnumbered(text="known")


def test_a_file_beyond_its_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sample.json"
    path.write_text('{"text": "' + "x" * 90 + '"}')
    assert read_record(path, Sample, path.stat().st_size) is not None
    with pytest.raises(DamagedRecordError, match="more than 50 bytes"):
        read_record(path, Sample, 50)
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(DamagedRecordError, match=f"more than {MAX_BYTES} bytes"):
        read_record(path, Sample)


def test_what_the_kernel_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DamagedRecordError, match="cannot be read: Is a directory"):
        read_record(tmp_path / "folder", Sample)
    with pytest.raises(WriteFailedError):
        write_record(Disk(), tmp_path / "missing/sample.json", Sample())


@pytest.mark.checkout
def test_nothing_else_writes_or_reads_records() -> None:
    """A module that calls the disk to write has no JSON of its own."""
    allowed = {
        # The answer of the bus, once more as a file; its reader must load without pydantic.
        "daemon/events/status_file.py",
        # The registry's own documents, kept as they were served, stand beside the record.
        "store/images/image.py",
    }
    guilty = set()
    for path in (ROOT / "bootd").rglob("*.py"):
        name = str(path.relative_to(ROOT / "bootd"))
        used = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(ast.parse(path.read_bytes()))
            if isinstance(node, ast.Attribute | ast.Name)
        }
        makes = used & {"json", "model_dump_json", "model_dump"}
        writes = used & {"replace_file", "replace_file_from", "add_file"}
        if name not in allowed and ((makes and writes) or "model_validate_json" in used):
            guilty.add(name)
    assert guilty == {"records.py", "configuration.py"}
