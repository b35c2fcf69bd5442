"""bootd's labels against those of libselinux, for Debian's policy."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.composefs import composefs_tools
from support.selinux import LibSelinux, debian_policy

from bootd.store.selinux.policy import Policy, read_policy

KINDS = {
    stat.S_IFREG: 0, stat.S_IFDIR: 1, stat.S_IFLNK: 2, stat.S_IFCHR: 3, stat.S_IFBLK: 4,
    stat.S_IFIFO: 5, stat.S_IFSOCK: 6,
}  # fmt: skip


def policy_in(folder: Path) -> Policy:
    def read(name: str) -> bytes | None:
        path = folder / name.rpartition("/")[2]
        return path.read_bytes() if path.exists() else None

    return read_policy(read, "default")


@pytest.fixture(scope="module")
def policy() -> Path:
    return debian_policy()


@pytest.fixture
def oracle(policy: Path) -> Iterator[LibSelinux]:
    made = LibSelinux(policy / "file_contexts")
    yield made
    made.close()


def assert_alike(ours: Policy, oracle: LibSelinux, paths: set[tuple[bytes, int]]) -> None:
    differing = [
        (path, kind, label, expected)
        for path, kind in sorted(paths)
        if (label := ours.label(path, KINDS[kind])) != (expected := oracle.label(path, kind))
    ]
    assert differing == []


def test_all_paths_of_a_real_tree(policy: Path, oracle: LibSelinux) -> None:
    root = os.fsencode(composefs_tools().debian)
    paths = {(b"/", stat.S_IFDIR)}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = folder + b"/" + name
            paths.add((path[len(root) :], stat.S_IFMT(os.lstat(path).st_mode)))
    assert len(paths) > 3000
    assert_alike(policy_in(policy), oracle, paths)


ELSEWHERE = [b"/", b"/usr/local/lib64/", b"/var/run/", b"/lib/systemd/", b"/etc/init.d/"]
SAMPLES = {
    rb"\(/\.\*\)\?": b"/x", rb"\[\^/\]\+?\*?": b"ab", rb"\[0-9\]\+?\*?": b"7", rb"\.\*": b"x/y",
    rb"\.\+": b"z", rb"\(([^()|]*)(\|[^()]*)?\)\??": rb"\1", rb"(.)\?": rb"\1", rb"\\(.)": rb"\1",
    rb"\[(.)[^]]*\]\*?\+?": rb"\1",
}  # fmt: skip


def test_a_path_for_each_expression_and_paths_beside_it(policy: Path, oracle: LibSelinux) -> None:
    """Most of what a policy knows is on no single machine, so paths are made of its expressions."""
    names = ("file_contexts", "file_contexts.homedirs")
    lines = [line for name in names for line in (policy / name).read_bytes().splitlines()]
    assert len(lines) > 4000
    paths: set[tuple[bytes, int]] = set()
    for number, line in enumerate(lines):
        path = line.split()[0]
        for pattern, text in SAMPLES.items():
            path = re.sub(pattern, text, path)
        path = re.sub(rb"/+", b"/", path).rstrip(b"/") or b"/"
        kinds = list(KINDS)
        beside = path.rpartition(b"/")[0] or b"/"
        elsewhere = ELSEWHERE[number % len(ELSEWHERE)] + path.rpartition(b"/")[2]
        for one in (path, path + b"x", path + b"/deep/er", beside, elsewhere):
            paths |= {(one, kinds[number % 7]), (one, stat.S_IFREG), (one, stat.S_IFDIR)}
    assert_alike(policy_in(policy), oracle, paths)


RULES = r"""
/.*                    a:b:any_t
/usr(/.*)?             a:b:usr_t
/usr/bin/exact     --  a:b:exact_t
/usr/bin/exact     -d  a:b:exact_folder_t
/usr/bin/.*            a:b:bin_t
/usr/(.*/)?lib/[^/]+\.so(\.[0-9]+){0,2}  --  a:b:lib_t
/usr/bin/escaped\.x    a:b:escaped_t
/opt/(?!own).*         a:b:opt_t
/srv/[[:alpha:]]{2,}\d?  a:b:srv_t
/srv/none.*            <<none>>
"""


def test_rules_that_a_distribution_has_no_use_for(tmp_path: Path) -> None:
    (tmp_path / "file_contexts").write_text(RULES)
    (tmp_path / "file_contexts.homedirs").write_text("/usr/bin/h.*  a:b:home_t\n")
    (tmp_path / "file_contexts.local").write_text(
        "/usr/bin(/.*)?  -l a:b:local_t\n/usr/bin/hh  a:b:local_t\n/usr/bin/ho.*  a:b:local_t\n"
    )
    (tmp_path / "file_contexts.subs").write_text("/alias /usr/bin\n/alias/deep /srv\n/root2 /\n")
    (tmp_path / "file_contexts.subs_dist").write_text("/usr/lib64 /usr/lib\n/usr/bin/in /srv\n")
    names = (
        "/", "/usr", "/usr/bin", "/usr/bin/exact", "/usr/bin/exactly", "/usr/bin/h", "/usr/bin/hh",
        "/usr/bin/home", "/usr/lib/a.so", "/usr/x/lib/a.so.1.2", "/usr/lib/a.so.1.2.3",
        "/usr/lib64/b.so.9", "/usr/bin/escaped.x", "/usr/bin/escapedyx", "/opt/own", "/opt/x/own",
        "/srv/ab", "/srv/ab1", "/srv/a", "/srv/a\n", "/srv/none1", "/alias/exact", "/alias",
        "/alias/deep/ab", "/alias/deeper", "/alias/in/ab", "/root2/usr", "/usr/bin/\udcff",
    )  # fmt: skip
    oracle = LibSelinux(tmp_path / "file_contexts")
    paths = {(os.fsencode(name), kind) for name in names for kind in KINDS}
    assert_alike(policy_in(tmp_path), oracle, paths)
    oracle.close()
