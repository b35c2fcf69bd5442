"""Where a Location leads, and what is asked for there: pure rules on URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootd.registry.wire.exact_target import target_of
from bootd.registry.wire.urls import exact, origin, redirected

HERE = "https://reg.example:5000/v2/os/blobs/x?from=here"
VISIBLE = st.text(alphabet=[chr(code) for code in range(0x21, 0x7F) if chr(code) != "#"])


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://cdn.example/a%7Eb?s=%2f|&e=#x", "https://cdn.example/a%7Eb?s=%2f|&e="),
        ("HTTPS://cdn.example?x", "HTTPS://cdn.example?x"),
        ("//cdn.example/a?", "https://cdn.example/a?"),
        ("/a/../b?|", "https://reg.example:5000/a/../b?|"),
        ("y?z=1", "https://reg.example:5000/v2/os/blobs/y?z=1"),
        ("../../y", "https://reg.example:5000/v2/y"),
        ("?z", "https://reg.example:5000/v2/os/blobs/x?z"),
        ("ftp://cdn.example/", "ftp://cdn.example/"),
    ],
)
def test_where_a_location_leads(location: str, target: str) -> None:
    assert redirected(HERE, location) == target


@given(VISIBLE)
def test_nothing_of_a_url_is_spelt_anew(rest: str) -> None:
    url = f"https://cdn.example/{rest}"
    made = exact("https://cdn.example/whatever?else", url)
    assert made == url
    assert target_of(made, "/whatever") == f"/{rest}"
    assert target_of(made, "https://cdn.example/whatever") == url


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("https://h", "https://h/"),
        ("https://h?a=1", "https://h/?a=1"),
        ("https://h/a b\t\x7f", "https://h/a%20b%09%7F"),
        ("https://h/x\u00e9", "https://h/x%E9"),
        ("https://\u00e9.example/x", "https://xn--9ca.example/x"),
    ],
)
def test_what_cannot_stand_in_a_request_line_is_escaped(url: str, made: str) -> None:
    prepared = "https://xn--9ca.example/" if "example" in url else "https://h/"
    assert exact(prepared, url) == made


def test_origins() -> None:
    assert origin("https://h/x") == origin("https://h:443/y?z") != origin("http://h/x")
    assert origin("https://h/x") != origin("https://h:444/x") != origin("https://i:444/x")
    assert origin("https://H/") == origin("HTTPS://user@h/")
