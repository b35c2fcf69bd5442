"""Text from outside is harmless after one rule: no controls, nothing that turns it, bounded."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootd.journal import _LineFormatter, _PriorityFormatter, journal_fields
from bootd.model.digest import Digest
from bootd.model.errors import InvalidManifestError, NoSpaceError
from bootd.model.registry.image import MAX_VERSION, CachedCheck, ResolvedImage
from bootd.model.text import lines, one_line, printable
from bootd.registry.manifest import parse_config, parse_manifest

DIGEST = Digest("sha256:" + "0" * 64)
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT, st.integers(3, 300))
def test_a_line_is_one_line_with_a_bound(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert line.isprintable()
    assert len(line) <= limit
    line.encode()
    if text.isprintable() and len(text) <= limit:
        assert line == text


@given(ANY_TEXT, st.integers(3, 300))
def test_lines_keep_their_breaks(text: str, limit: int) -> None:
    kept = lines(text, limit)
    assert len(kept) <= limit
    kept.encode()
    assert all(letter in "\n\t" or letter.isprintable() for letter in kept)
    assert lines(kept, limit) == kept


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("12.5 (bookworm)", "12.5 (bookworm)"),
        ("ÄÖ 日本", "ÄÖ 日本"),
        ("a\0b", "a\\x00b"),
        ("a\nb\r", "a\\nb\\r"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202egnp", "\\u202egnp"),
        ("\u200b\u2066", "\\u200b\\u2066"),
        ("\ud800", "\\ud800"),
        ("\u2028", "\\u2028"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown == one_line(text)


def test_an_error_is_one_line_whatever_it_names() -> None:
    error = NoSpaceError("a\0b\nhint: rm -rf /", hint="c\n<0>d")
    assert error.message == "a\\x00b\\nhint: rm -rf /"
    assert error.hint == "c\\n<0>d"
    assert str(error) == error.message
    assert len(NoSpaceError("x" * 100_000).message) < 5_000


@pytest.mark.parametrize("formatter", [_LineFormatter(), _PriorityFormatter()])
def test_no_text_forges_a_line_in_the_journal(formatter: logging.Formatter) -> None:
    record = logging.LogRecord("x", logging.INFO, "f.py", 1, "%s", ("a\n<0>b\0\x1b",), None)
    record.__dict__.update(message_id="0" * 32, fields={"IMAGE": "a\nMESSAGE=b"})
    text = formatter.format(record)
    assert text.endswith("a\\n<0>b\\x00\\x1b")
    assert "\n" not in text
    assert journal_fields(record)["BOOTD_IMAGE"] == "a\\nMESSAGE=b"
    try:
        raise ValueError("c\0\x1b")  # noqa: TRY301
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "\0" not in formatter.format(record)


def test_a_name_of_an_annotation_is_told_harmlessly() -> None:
    manifest = (
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        b'"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:'
        + b"0" * 64
        + b'","size":1},"layers":[],"annotations":{"a\\u0000\\u202e\\nb":5}}'
    )
    with pytest.raises(InvalidManifestError) as raised:
        parse_manifest(manifest)
    assert "annotations.a\\x00\\u202e\\nb" in raised.value.message


def test_a_version_is_a_short_line() -> None:
    manifest: Any = parse_manifest(
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        b'"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:'
        + b"0" * 64
        + b'","size":1},"layers":[]}'
    )
    for label, shown in (("1\\u0000", "1\\x00"), ("v" * 5_000, "v" * (MAX_VERSION - 3) + "...")):
        config = parse_config(
            b'{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]},"config":{"Labels":'
            b'{"org.opencontainers.image.version":"' + label.encode() + b'"}}}',
            manifest,
        )
        seen = CachedCheck(reference="x", platform="x", top=DIGEST, digest=DIGEST)
        image = ResolvedImage("x", DIGEST, manifest, b"", config, b"", seen)
        assert image.version == image.name.version == shown
