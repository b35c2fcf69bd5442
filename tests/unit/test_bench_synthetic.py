"""Images that the benchmark makes are what their shape says."""

from __future__ import annotations

import io
import tarfile

from bench.synthetic import Shape, _changed_last, _tar


def test_a_synthetic_layer_is_as_large_as_asked_and_changes_a_twentieth_a_night() -> None:
    old, new = (contents(b"".join(_tar(Shape(4_000_000, 800, 2, night), 0))) for night in (0, 1))
    assert old.keys() == new.keys()
    assert len(old) == 400
    assert abs(sum(map(len, old.values())) - 2_000_000) < 2_000
    assert len(set(old.values())) == 400
    assert sum(old[name] != new[name] for name in old) == 20
    # A layer keeps what it got in an earlier night of its own.
    assert _changed_last(Shape(1, 1, 2, 2), 0, 0) == 1


def contents(stream: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive if member.isreg()]
    return {name: stream.read() for name, stream in files if stream is not None}
