"""What becomes of files of ``/etc`` that are made from others, when both sides have made them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.etc_trees import MemoryContents, folder, lay_out, link, read_back

from bootd import process
from bootd.etc.merge import MergedTrees, merge_trees, preview_merge
from bootd.etc.rules.built_in import BUILT_IN
from bootd.etc.rules.derived import Derived
from bootd.etc.rules.policy import EtcPolicies, parse_rules
from bootd.model.errors import InvalidConfigurationError
from bootd.model.etc.derived import DerivedRule
from bootd.model.etc.policy import EtcPolicy, EtcRules
from bootd.model.etc.report import ConflictKind, NoteKind
from bootd.model.tree import Directory, Node

CONTENTS = MemoryContents()
text = CONTENTS.file
STORE = DerivedRule(
    paths=["/etc/store/*", "/etc/made/**"], inputs=["/etc/source/**"], command=["make-store", "-v"]
)
RULES = Derived.of({"store": STORE})
POLICIES = EtcPolicies.of(EtcRules(), EtcRules(), derived=RULES)


def tree(source: str, out: str | None, **more: Node) -> Directory:
    """An ``/etc`` with an input and, if it is given, what is made of it."""
    store = folder() if out is None else folder({"out": text(out)})
    return folder({"source": folder({"in": text(source)}), "store": store, **more})


def merged(
    place: Path,
    sides: tuple[Directory, Directory, Directory],
    policies: EtcPolicies = POLICIES,
) -> tuple[dict[bytes, object], MergedTrees]:
    base, mine, theirs = sides
    place.mkdir(exist_ok=True)
    local = lay_out(mine, place / "mine", CONTENTS)
    preview = preview_merge(base, local, theirs, CONTENTS, policies).report
    found = merge_trees(base, local, theirs, CONTENTS, place / "target", policies=policies)
    assert preview == found.report
    return {path: value[1] for path, value in read_back(place / "target").items()}, found


def due(found: MergedTrees) -> dict[str, list[bytes]]:
    return {one.derived.name: one.paths for one in found.due}


def test_a_derived_file_is_no_conflict_and_is_made_anew(tmp_path: Path) -> None:
    mine = tree("s1", "made of s1 and mine")
    source = mine.entries[b"source"]
    assert isinstance(source, Directory)
    source.entries[b"local"] = text("mine")
    files, found = merged(tmp_path, (tree("s1", "made of s1"), mine, tree("s2", "made of s2")))
    assert files[b"store/out"] == b"made of s2"
    assert files[b"source/in"] == b"s2"
    assert files[b"source/local"] == b"mine"
    assert due(found) == {"store": [b"store/out"]}
    assert found.report.conflicts == []
    [note] = found.report.notes
    assert (note.path, note.kind) == ("/etc/store/out", NoteKind.DERIVED)
    assert "make-store" in note.detail
    assert found.report.counts.kept == 1
    assert found.report.counts.taken >= 2


def test_without_a_rule_it_is_the_conflict_it_was(tmp_path: Path) -> None:
    sides = tree("s", "1"), tree("s", "mine"), tree("s", "2")
    files, found = merged(tmp_path, sides, EtcPolicies.of(EtcRules(), EtcRules()))
    assert files[b"store/out"] == b"mine"
    assert [one.kind for one in found.report.conflicts] == [ConflictKind.CONTENT]
    assert found.due == []


@pytest.mark.parametrize(
    ("sides", "stands", "is_due"),
    [
        ((tree("s", "1"), tree("s", "1"), tree("s", "2")), b"2", False),
        ((tree("s", "1"), tree("s", "1"), tree("s", "1")), b"1", False),
        ((tree("s", "1"), tree("mine", "mine"), tree("s", "1")), b"mine", True),
        ((tree("s", "1"), tree("mine", "1"), tree("s", "2")), b"2", True),
        ((tree("s", "1"), tree("s", None), tree("s", "2")), b"2", True),
        ((tree("s", "1"), tree("s", "mine"), tree("s", None)), None, True),
        ((tree("s", None), tree("s", "mine"), tree("s", "2")), b"2", True),
        ((tree("s", None), tree("s", "mine"), tree("s", None)), b"mine", True),
        ((tree("s", None), tree("mine", None), tree("s", None)), None, False),
    ],
    ids=[
        "the image's was never touched",
        "nothing changed",
        "only here",
        "an input changed here",
        "deleted here",
        "not shipped any more",
        "made on both sides",
        "made here only",
        "nobody ever made it",
    ],
)
def test_what_stands_and_when_it_is_made_anew(
    tmp_path: Path,
    sides: tuple[Directory, Directory, Directory],
    stands: bytes | None,
    is_due: bool,
) -> None:
    files, found = merged(tmp_path, sides)
    assert files.get(b"store/out") == stands
    assert bool(found.due) is is_due
    assert found.report.counts.conflicts == 0
    counts = found.report.counts
    assert min(counts.kept, counts.taken, counts.removed, counts.deleted) >= 0


def test_a_mode_and_a_link_are_derived_like_a_content(tmp_path: Path) -> None:
    base = tree("s", None, store=folder({"out": text("1", 0o644), "name": link("a")}))
    mine = tree("s", None, store=folder({"out": text("1", 0o600), "name": link("b")}))
    theirs = tree("s", None, store=folder({"out": text("1", 0o640), "name": text("file")}))
    files, found = merged(tmp_path, (base, mine, theirs))
    assert files[b"store/name"] == b"file"
    assert read_back(tmp_path / "target")[b"store/out"][2] == 0o640
    assert found.report.conflicts == []
    assert due(found) == {"store": [b"store/name", b"store/out"]}


def test_a_folder_with_an_edit_in_it_is_not_given_up_for_a_derived_file(tmp_path: Path) -> None:
    """A file of the image where the machine has a folder of its own is a question as before."""
    base = tree("s", None, store=folder({"d": folder({"key": text("1")})}))
    mine = tree("s", None, store=folder({"d": folder({"key": text("mine")})}))
    theirs = tree("s", None, store=folder({"d": text("file")}))
    files, found = merged(tmp_path, (base, mine, theirs))
    assert files[b"store/d/key"] == b"mine"
    assert found.report.counts.conflicts == 1


def test_a_folder_of_nothing_but_derived_files_goes_with_them(tmp_path: Path) -> None:
    base = tree("s", None, made=folder({"d": folder({"x": text("1")})}))
    mine = tree("s", None, made=folder({"d": folder({"x": text("mine")})}))
    theirs = tree("s", None, made=folder({"d": link("elsewhere"), "y": text("2")}))
    files, found = merged(tmp_path, (base, mine, theirs))
    assert files[b"made/d"] == b"elsewhere"
    assert b"made/d/x" not in files
    assert found.report.conflicts == []
    assert list(due(found)) == ["store"]


def test_a_folder_that_was_deleted_here_stays_deleted(tmp_path: Path) -> None:
    base, theirs = (
        tree("s", None, made=folder({"x": text(version), "y": text("y")})) for version in "12"
    )
    files, found = merged(tmp_path, (base, tree("s", None), theirs))
    assert b"made" not in files
    assert found.report.counts.conflicts == 0
    assert list(due(found)) == ["store"]


def test_a_rule_without_any_input_here_is_not_used(tmp_path: Path) -> None:
    def side(version: str) -> Directory:
        return folder({"store": folder({"out": text(version)})})

    _, found = merged(tmp_path, (side("1"), side("mine"), side("2")))
    assert found.report.counts.conflicts == 1
    assert found.due == []


def test_no_policy_keeps_a_derived_file_stale(tmp_path: Path) -> None:
    keep = EtcRules(policy={"/etc/**": EtcPolicy.KEEP_BOTH}, own=["/etc/store/*"])
    policies = EtcPolicies.of(keep, EtcRules(), derived=RULES)
    files, _ = merged(tmp_path, (tree("s", "1"), tree("s", "mine"), tree("s", "2")), policies)
    assert files[b"store/out"] == b"2"
    assert b"store/out.bootd-new" not in files


@pytest.mark.parametrize(("coming", "expected"), [("1", {}), ("2", {"store": [b"store/out"]})])
def test_what_a_rule_follows_is_enough_for_it_if_the_image_alone_changed_it(
    tmp_path: Path, coming: str, expected: dict[str, list[bytes]]
) -> None:
    sides = tree("s", "1"), tree("s", "1"), tree("s", coming)
    following = STORE.model_copy(update={"follows": ["/etc/store/o*"]})
    policies = EtcPolicies.of(EtcRules(), EtcRules(), derived=Derived.of({"store": following}))
    files, found = merged(tmp_path, sides, policies)
    assert files[b"store/out"] == coming.encode()
    assert due(found) == expected
    assert merged(tmp_path / "plain", sides)[1].due == []


def test_an_empty_command_switches_a_rule_off() -> None:
    assert Derived.of({"store": DerivedRule(paths=STORE.paths)}) == ()


def test_each_built_in_rule_can_be_used() -> None:
    assert [one.name for one in Derived.of(BUILT_IN)] == sorted(BUILT_IN)


@pytest.mark.parametrize(
    ("name", "made", "not_made"),
    [
        ("ca-certificates", "ssl/certs/ca-certificates.crt", "ssl/certs/web.pem"),
        ("ca-certificates", "ssl/certs/1a2b3c4d.0", "ssl/certs/1a2b3c4g.0"),
        ("ca-trust", "pki/ca-trust/extracted/pem/x.pem", "pki/ca-trust/source/anchors/corp.pem"),
        ("selinux-policy", "selinux/targeted/policy/policy.33", "selinux/config"),
        ("selinux-policy", "selinux/mls/active/policy.kern", "selinux/mls/active/booleans.local"),
        ("selinux-policy", "selinux/mls/seusers", "selinux/mls/active/modules/400/local/cil"),
        ("selinux-policy", "selinux/default/policy/policy.34", "selinux/default/setrans.conf"),
        ("linker-cache", "ld.so.cache", "ld.so.conf"),
        ("dconf", "dconf/db/local", "dconf/db/local.d/00-lock"),
        ("postfix-tables", "postfix/transport.db", "postfix/transport"),
        ("mail-aliases", "aliases.db", "aliases"),
        ("hardware-database", "udev/hwdb.bin", "udev/hwdb.d/90-local.hwdb"),
        ("crypto-policies", "crypto-policies/back-ends/gnutls.config", "crypto-policies/config"),
    ],
)
def test_built_in_rules_make_files_and_none_that_people_write(
    name: str, made: str, not_made: str
) -> None:
    [rule] = Derived.of({name: BUILT_IN[name]})
    assert rule.makes(made.encode(), text("x"))
    assert not rule.makes(not_made.encode(), text("x"))


def test_rules_of_an_image_are_read() -> None:
    found = parse_rules(
        b"[derived.fonts]\npaths = ['/etc/fonts/cache']\ncommand = ['fc-cache']\n"
        b"timeout_seconds = 30\nseverity = 'wanted'\nnew = 1\n"
    )
    rule = DerivedRule(
        paths=["/etc/fonts/cache"], command=["fc-cache"], timeout_seconds=30, severity="wanted"
    )
    assert found.derived == {"fonts": rule}


@pytest.mark.parametrize(
    "line",
    [
        "paths = ['/usr/x']",
        "paths = ['etc/x']",
        "paths = '/etc/x'",
        "command = 'make x'",
        'command = ["a\\u0000b"]',
        "command = ['']",
        "timeout_seconds = 0",
        "timeout_seconds = 100000",
        "severity = 'fatal'",
        f"command = {['x'] * 65}",
        f"paths = {['/etc/x'] * 101}",
        f"command = ['{'x' * 4_097}']",
    ],
)
def test_what_a_rule_may_not_say(line: str) -> None:
    with pytest.raises(InvalidConfigurationError):
        parse_rules(f"[derived.x]\n{line}\n".encode())


def test_names_and_numbers_of_rules_are_bounded() -> None:
    with pytest.raises(InvalidConfigurationError):
        parse_rules(b"[derived.'../x']\ncommand = []\n")
    many = "".join(f"[derived.r{number}]\ncommand = []\n" for number in range(101))
    with pytest.raises(InvalidConfigurationError):
        parse_rules(many.encode())


def test_tables_of_postfix_are_made_of_the_kind_that_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, programs = tmp_path / "postfix", tmp_path / "bin"
    for place in (tables, programs):
        place.mkdir()
    for name in (
        "access.db",
        "access",
        "tree.db",
        "tree",
        "fast.lmdb",
        "fast",
        "orphan.db",
        "text",
    ):
        (tables / name).touch()
    for name, does in (
        ("postmap", f'echo "$1" >>{tmp_path}/made; [ "$1" != "lmdb:{tables}/fast" ]'),
        ("postconf", f"echo 'virtual_alias_maps = btree:{tables}/tree'"),
    ):
        program = programs / name
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    shell, option, script = BUILT_IN["postfix-tables"].command
    process.run([shell, option, script.replace("/etc/postfix", str(tables))], expected=[1])
    assert (tmp_path / "made").read_text().split() == [
        f"hash:{tables}/access",
        f"btree:{tables}/tree",
        f"lmdb:{tables}/fast",
    ]
