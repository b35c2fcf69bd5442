"""Files of an image that belong to users and groups whose numbers the next build may draw anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootd.model.lint import LintSeverity
from bootd.operations.lint import lint

LINES = {
    "u foo -": (True, True),
    "u! foo - Foo /var/lib/foo": (True, True),
    "u foo /usr/bin/foo": (True, True),
    "u foo -:101\ng foo 101": (True, False),
    "u foo 101:101\ng foo -": (False, True),
    "u foo 101": (False, False),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("etc/foo", "usr/bin", "usr/lib/sysusers.d"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nfoo:x:101:101::/:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nfoo:x:101:\n")
    (tmp_path / "usr/bin/foo").touch()
    return tmp_path


@pytest.mark.parametrize("lines", LINES)
@pytest.mark.parametrize("owns", [True, False])
def test_a_drawn_number_that_has_files_is_a_warning(root: Path, lines: str, *, owns: bool) -> None:
    (root / "usr/lib/sysusers.d/foo.conf").write_text(f"# Foo\n{lines}\n")
    if owns:
        os.chown(root / "etc/foo", 101, 0)
        os.chown(root / "usr/bin/foo", 0, 101)
    found = {one.path: one for one in lint(root).findings if one.lint == "accounts"}
    user, group = LINES[lines]
    expected = {path for path, drawn in (("/etc/passwd", user), ("/etc/group", group)) if drawn}
    assert found.keys() == expected
    severity = LintSeverity.WARNING if owns else LintSeverity.INFO
    assert {one.severity for one in found.values()} <= {severity}
    if owns and user:
        assert found["/etc/passwd"].problem.endswith("it has /etc/foo")
    if owns and group:
        assert found["/etc/group"].problem.endswith("it has /usr/bin/foo")
