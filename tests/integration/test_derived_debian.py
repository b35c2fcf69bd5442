"""A machine of Debian 12 with a CA and a library folder of its own goes to Debian 13."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.debian_machine import within
from support.debian_roots import NEW, OLD, debian_root
from support.etc_trees import MemoryContents, read_tree

from bootd.etc.merge import MergedTrees, merge_trees
from bootd.etc.rules.built_in import BUILT_IN
from bootd.etc.rules.derived import Derived
from bootd.etc.rules.policy import EtcPolicies
from bootd.model.etc.policy import EtcRules
from bootd.model.etc.report import NoteKind
from bootd.process import run

CONTENTS = MemoryContents()
POLICIES = EtcPolicies.of(EtcRules(), EtcRules(), derived=Derived.of(BUILT_IN))
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
LOCAL_AUTHORITIES = "usr/local/share/ca-certificates"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, MergedTrees]]:
    """The root of Debian 13 with the merged /etc, and what the merge did."""
    place = tmp_path_factory.mktemp("debian")
    old, new = place / "old", place / "new"
    for suite, root in ((OLD, old), (NEW, new)):
        run(["cp", "--archive", "--reflink=auto", debian_root(suite), root], timeout=300)
    base, theirs = (read_tree(root / "etc", CONTENTS) for root in (old, new))
    authority = old / LOCAL_AUTHORITIES / "corp.crt"
    authority.parent.mkdir(parents=True, exist_ok=True)
    run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Corp"),
            *("-keyout", "/dev/null", "-out", authority),
        ]
    )
    within(old, "update-ca-certificates")
    (old / "etc/ld.so.conf.d/corp.conf").write_text("/opt/corp/lib\n")
    within(old, "ldconfig")
    # What belongs to the machine is the same folder under each deployment.
    shutil.copytree(old / LOCAL_AUTHORITIES, new / LOCAL_AUTHORITIES, dirs_exist_ok=True)
    (new / "etc").rename(place / "shipped")
    found = merge_trees(base, old / "etc", theirs, CONTENTS, new / "etc", policies=POLICIES)
    yield new, found
    shutil.rmtree(place)


def test_nothing_that_is_made_from_others_is_a_conflict(
    machine: tuple[Path, MergedTrees],
) -> None:
    root, found = machine
    assert found.report.conflicts == []
    assert {one.derived.name for one in found.due} == {"ca-certificates", "linker-cache"}
    told = {one.path for one in found.report.notes if one.kind is NoteKind.DERIVED}
    assert told == {f"/{BUNDLE}", "/etc/ld.so.cache"}
    assert (root / BUNDLE).read_bytes() == (
        root.parent / "shipped/ssl/certs" / Path(BUNDLE).name
    ).read_bytes()


def test_the_new_deployment_makes_it_of_what_the_image_and_the_machine_have(
    machine: tuple[Path, MergedTrees],
) -> None:
    root, found = machine
    shipped = (root.parent / "shipped/ssl/certs" / Path(BUNDLE).name).read_text()
    own = (root / LOCAL_AUTHORITIES / "corp.crt").read_text().strip()
    withdrawn = (root.parent / "old" / BUNDLE).read_text().count("BEGIN") - shipped.count("BEGIN")
    assert withdrawn != 1, "both versions of Debian trust the same"
    for one in found.due:
        within(root, " ".join(one.derived.rule.command))
    made = (root / BUNDLE).read_text()
    assert own in made
    assert made.count("BEGIN") == shipped.count("BEGIN") + 1
    within(root, f"openssl verify /{LOCAL_AUTHORITIES}/corp.crt")
    dangling = [one for one in (root / "etc/ssl/certs").iterdir() if _leads_nowhere(root, one)]
    assert dangling == []


def _leads_nowhere(root: Path, path: Path) -> bool:
    if not path.is_symlink():
        return False
    target = path.readlink()
    where = root / str(target).lstrip("/") if target.is_absolute() else path.parent / target
    return not where.exists() and not where.is_symlink()
