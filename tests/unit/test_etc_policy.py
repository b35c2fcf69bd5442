"""What becomes of files that both sides changed, by policy; and what a policy may not do."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.etc_merge import merge
from support.etc_trees import MemoryContents, folder, lay_out, link, read_back

from bootd import process
from bootd.etc.merge import preview_merge
from bootd.etc.rules.policy import EtcPolicies, parse_rules
from bootd.model.errors import InvalidConfigurationError
from bootd.model.etc.policy import EtcPolicy, EtcRules
from bootd.model.etc.report import ConflictKind, EtcReport, NoteKind
from bootd.model.tree import Directory

CONTENTS = MemoryContents()
text = CONTENTS.file
BASE = "".join(f"line {number}\n" for number in range(30))
MINE = BASE.replace("line 3\n", "my line 3\n")
THEIRS = BASE.replace("line 20\n", "their line 20\n")
BOTH = MINE.replace("line 20\n", "their line 20\n")
CLASH = BASE.replace("line 3\n", "their line 3\n")
NOTHING = EtcRules()


def rules(**patterns: EtcPolicy) -> EtcRules:
    return EtcRules(policy={f"/etc/{name}": policy for name, policy in patterns.items()})


def merged(
    place: Path, sides: tuple[Directory, Directory, Directory], policies: EtcPolicies
) -> tuple[dict[bytes, object], EtcReport]:
    base, mine, theirs = sides
    local = lay_out(mine, place / "mine", CONTENTS)
    preview = preview_merge(base, local, theirs, CONTENTS, policies).report
    report = merge(base, local, theirs, CONTENTS, place / "target", policies=policies)
    assert preview == report
    found = read_back(place / "target")
    again = merge(base, place / "target", theirs, CONTENTS, place / "again", policies=policies)
    assert read_back(place / "again").keys() == found.keys()
    assert again.counts.conflicts == report.counts.conflicts
    return {path: value[1] for path, value in found.items()}, report


def one(base: str | None, mine: str, theirs: str) -> tuple[Directory, Directory, Directory]:
    return (
        folder() if base is None else folder({"f": text(base)}),
        folder({"f": text(mine, 0o600)}),
        folder({"f": text(theirs)}),
    )


def under(policy: EtcPolicy) -> EtcPolicies:
    return EtcPolicies.of(rules(f=policy), NOTHING)


def test_lines_of_both_sides_are_merged(tmp_path: Path) -> None:
    found, report = merged(tmp_path, one(BASE, MINE, THEIRS), under(EtcPolicy.MERGE))
    assert found[b"f"] == BOTH.encode()
    assert [(note.path, note.kind) for note in report.notes] == [("/etc/f", NoteKind.POLICY)]
    assert (report.counts.conflicts, report.counts.merged, report.counts.kept) == (0, 1, 0)
    assert (tmp_path / "target/f").stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize(
    ("base", "mine", "theirs"),
    [
        (BASE, MINE, CLASH),
        (BASE, MINE, BASE.replace("line 4\n", "their line 4\n")),
        (None, MINE, THEIRS),
        (BASE, MINE, THEIRS + "\0"),
        (BASE, MINE + "x" * (1 << 20), THEIRS),
    ],
    ids=["the same line", "the next line", "no base", "no text", "too large"],
)
def test_what_does_not_merge_cleanly_stays_mine_and_is_reported(
    base: str | None, mine: str, theirs: str, tmp_path: Path
) -> None:
    found, report = merged(tmp_path, one(base, mine, theirs), under(EtcPolicy.MERGE))
    assert found[b"f"] == mine.encode()
    [conflict] = [one for one in report.conflicts if one.kind is ConflictKind.CONTENT]
    assert conflict.detail.startswith("not merged by line: ")


def test_the_same_change_among_others_is_no_clash(tmp_path: Path) -> None:
    found, _ = merged(tmp_path, one(BASE, MINE, BOTH), under(EtcPolicy.MERGE))
    assert found[b"f"] == BOTH.encode()


def test_a_missing_last_newline_is_kept(tmp_path: Path) -> None:
    sides = one(BASE, MINE, BASE + "the end")
    found, _ = merged(tmp_path, sides, under(EtcPolicy.MERGE))
    assert found[b"f"] == (MINE + "the end").encode()


def test_without_diff3_mine_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found, report = merged(tmp_path, one(BASE, MINE, THEIRS), under(EtcPolicy.MERGE))
    assert found[b"f"] == MINE.encode()
    assert "diff3 is not installed" in report.conflicts[0].detail


def test_theirs_can_be_taken(tmp_path: Path) -> None:
    found, report = merged(tmp_path, one(BASE, MINE, CLASH), under(EtcPolicy.TAKE_THEIRS))
    assert found[b"f"] == CLASH.encode()
    assert (report.conflicts, report.counts.taken) == ([], 1)
    assert [note.kind for note in report.notes] == [NoteKind.POLICY]


def test_a_link_can_be_taken(tmp_path: Path) -> None:
    sides = tuple(folder({"f": link(target)}) for target in ("base", "mine", "theirs"))
    found, _ = merged(tmp_path, sides, under(EtcPolicy.TAKE_THEIRS))
    assert found[b"f"] == b"theirs"


def test_both_can_be_kept(tmp_path: Path) -> None:
    found, report = merged(tmp_path, one(BASE, MINE, CLASH), under(EtcPolicy.KEEP_BOTH))
    assert (found[b"f"], found[b"f.bootd-new"]) == (MINE.encode(), CLASH.encode())
    [conflict] = report.conflicts
    assert conflict.detail == "the image's is beside it as /etc/f.bootd-new"


def test_a_folder_is_not_replaced_by_the_images(tmp_path: Path) -> None:
    base, mine, theirs = one(BASE, MINE, CLASH)
    mine.entries[b"f.bootd-new"] = folder({"inside": text("inside")})
    found, report = merged(tmp_path, (base, mine, theirs), under(EtcPolicy.KEEP_BOTH))
    assert found[b"f.bootd-new/inside"] == b"inside"
    assert "is a folder" in report.conflicts[0].detail


def test_what_one_side_left_alone_needs_no_policy(tmp_path: Path) -> None:
    policies = under(EtcPolicy.TAKE_THEIRS)
    found, report = merged(tmp_path, one(BASE, MINE, BASE), policies)
    assert (found[b"f"], report.notes) == (MINE.encode(), [])


def test_no_policy_touches_users(tmp_path: Path) -> None:
    sides = tuple(
        folder({"passwd": text(f"root:x:0:0:{side}:/:/bin/sh\n")}) for side in ("b", "m", "t")
    )
    everything = EtcPolicies.of(EtcRules(policy={"/etc/**": EtcPolicy.TAKE_THEIRS}), NOTHING)
    found, report = merged(tmp_path, sides, everything)
    assert found[b"passwd"] == b"root:x:0:0:m:/:/bin/sh\n"
    assert len(report.conflicts) == 1


def test_backups_of_users_are_nothing_to_decide(tmp_path: Path) -> None:
    sides = tuple(folder({"passwd-": text(side)}) for side in ("base", "mine", "theirs"))
    found, report = merged(tmp_path, sides, EtcPolicies.of(NOTHING, NOTHING))
    assert (found[b"passwd-"], report.conflicts, report.notes) == (b"mine", [], [])


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/etc/ssh/sshd_config", b"ssh/sshd_config", True),
        ("/etc/ssh/*", b"ssh/sshd_config", True),
        ("/etc/ssh/*", b"ssh/d/x", False),
        ("/etc/ssh/**", b"ssh/d/x", True),
        ("/etc/**/*.conf", b"a/b/c.conf", True),
        ("/etc/?.conf", b"a.conf", True),
        ("/etc/?.conf", b"/.conf", False),
        ("/etc/[ab].conf", b"b.conf", True),
        ("/etc/[!ab].conf", b"b.conf", False),
        ("/etc/[a-c]", b"b", True),
        ("/etc/[c-a]", b"b", False),
        ("/etc/[c-ab]", b"b", True),
        ("/etc/[!c-a]", b"b", True),
        ("/etc/[!c-a]x", b"/x", False),
        ("/etc/[a-]", b"-", True),
        ("/etc/[[&&~~||--]", b"&", True),
        ("/etc/a.b", b"aXb", False),
        ("/etc/[", b"[", True),
        ("/etc/\\xff", b"\xff", True),
    ],
)
def test_pattern(pattern: str, path: bytes, matches: bool) -> None:
    found = EtcPolicies.of(EtcRules(policy={pattern: EtcPolicy.MERGE}, security=[pattern]), NOTHING)
    assert (found.policy(path) is EtcPolicy.MERGE) == matches
    assert found.matters_for_security(path) == matches


def test_the_machine_beats_the_image_and_the_longest_pattern_the_others() -> None:
    image = EtcRules(policy={"/etc/ssh/sshd_config": EtcPolicy.TAKE_THEIRS}, security=["/etc/a"])
    machine = EtcRules(
        policy={"/etc/**": EtcPolicy.MERGE, "/etc/x": EtcPolicy.KEEP_BOTH}, security=["/etc/b"]
    )
    found = EtcPolicies.of(machine, image)
    assert found.policy(b"ssh/sshd_config") is EtcPolicy.MERGE
    assert found.policy(b"x") is EtcPolicy.KEEP_BOTH
    assert EtcPolicies.of(NOTHING, image).policy(b"ssh/sshd_config") is EtcPolicy.TAKE_THEIRS
    assert found.matters_for_security(b"a")
    assert found.matters_for_security(b"b")


def test_what_matters_for_security_comes_first_and_says_so(tmp_path: Path) -> None:
    sides = tuple(
        folder({"a": text(f"a {side}"), "z": text(f"z {side}")}) for side in ("b", "m", "t")
    )
    _, report = merged(tmp_path, sides, EtcPolicies.of(EtcRules(security=["/etc/z"]), NOTHING))
    assert [(one.path, one.security) for one in report.conflicts] == [
        ("/etc/z", True),
        ("/etc/a", False),
    ]
    assert (report.counts.conflicts, report.counts.security) == (2, 1)


def test_rules_of_an_image() -> None:
    found = parse_rules(b'security = ["/etc/a"]\nlater = 1\n[policy]\n"/etc/b" = "merge"\n')
    assert found == EtcRules(policy={"/etc/b": EtcPolicy.MERGE}, security=["/etc/a"])


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"=", b'policy = "x"', b'[policy]\n"/etc/a" = "x"', b'security = ["/usr/a"]'],
)
def test_rules_that_cannot_be_used(data: bytes) -> None:
    with pytest.raises(InvalidConfigurationError):
        parse_rules(data)


def test_rules_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    _, report = merged(
        tmp_path, one(BASE, MINE, MINE), EtcPolicies.of(NOTHING, NOTHING, "etc.toml: wrong")
    )
    assert [(note.kind, note.detail) for note in report.notes] == [
        (NoteKind.RULES, "etc.toml: wrong")
    ]


def test_a_program_gets_the_files_it_is_given(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w+b") as stream:
        stream.write(b"text")
        stream.flush()
        command = ["cat", f"/proc/self/fd/{stream.fileno()}"]
        assert process.run(command, descriptors=[stream.fileno()]).stdout == b"text"


KINDS = {
    "deleted here": (text(BASE), None, text(THEIRS), ConflictKind.DELETED_HERE),
    "deleted there": (text(BASE), text(MINE), None, ConflictKind.DELETED_THERE),
    "a folder deleted there": (
        folder({"a": text("a")}), folder({"a": text("a"), "m": text("m")}), None,
        ConflictKind.DELETED_THERE,
    ),
    "another type": (text(BASE), link("x"), text(THEIRS), ConflictKind.TYPE),
    "a folder there": (text(BASE), text(MINE), folder({"x": text("x")}), ConflictKind.TYPE),
    "a link there": (
        folder({"a": text("a")}), folder({"a": text("a"), "m": text("m")}), link("x"),
        ConflictKind.TYPE,
    ),
    "modes": (text(BASE), text(BASE, 0o600), text(BASE, 0o640), ConflictKind.METADATA),
}  # fmt: skip


def sides_of(kind: str) -> tuple[Directory, Directory, Directory]:
    base, mine, theirs, _ = KINDS[kind]
    return tuple(folder({} if node is None else {"f": node}) for node in (base, mine, theirs))


@pytest.mark.parametrize("kind", KINDS)
def test_theirs_is_taken_whatever_the_conflict(tmp_path: Path, kind: str) -> None:
    for name in ("without", "with"):
        (tmp_path / name).mkdir()
    sides = sides_of(kind)
    _, without = merged(tmp_path / "without", sides, EtcPolicies())
    assert [one.kind for one in without.conflicts] == [KINDS[kind][3]]
    _, report = merged(tmp_path / "with", sides, under(EtcPolicy.TAKE_THEIRS))
    assert report.conflicts == []
    assert [note.kind for note in report.notes] == [NoteKind.POLICY]
    expected = lay_out(sides[2], tmp_path / "theirs", CONTENTS)
    found = read_back(tmp_path / "with/target", times=False)
    assert found == read_back(expected, times=False)
    counts = report.counts
    assert min(counts.model_dump().values()) >= 0
    assert counts.kept == 0


@pytest.mark.parametrize("kind", ["deleted here", "another type"])
def test_the_image_s_is_put_beside_whatever_the_conflict(tmp_path: Path, kind: str) -> None:
    found, report = merged(tmp_path, sides_of(kind), under(EtcPolicy.KEEP_BOTH))
    assert found[b"f.bootd-new"] == THEIRS.encode()
    assert [one.kind for one in report.conflicts] == [KINDS[kind][3]]


def test_below_a_folder_that_was_deleted_here_a_policy_says_why_not(tmp_path: Path) -> None:
    base, theirs = folder({"d": folder({"f": text("a")})}), folder({"d": folder({"f": text("b")})})
    policies = EtcPolicies.of(EtcRules(policy={"/etc/d/*": EtcPolicy.TAKE_THEIRS}), NOTHING)
    _, report = merged(tmp_path, (base, folder(), theirs), policies)
    [conflict] = report.conflicts
    assert "deleted here" in conflict.detail


@pytest.mark.parametrize("name", ["hostname", "hosts", "machine-id", "resolv.conf", "ld.so.cache"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_each_machine_s_own_is_no_conflict(tmp_path: Path, name: str, kind: str) -> None:
    sides = [
        folder(dict.fromkeys([name] * len(side.entries), side.entries.get(b"f")))
        for side in sides_of(kind)
    ]
    policies = EtcPolicies.of(rules(**{name: EtcPolicy.TAKE_THEIRS}), NOTHING)
    _, report = merged(tmp_path, tuple(sides), policies)
    assert report.conflicts == []
    expected = lay_out(sides[1], tmp_path / "expected", CONTENTS)
    assert read_back(tmp_path / "target", times=False) == read_back(expected, times=False)


def test_machine_and_image_can_say_what_else_is_each_machine_s_own(tmp_path: Path) -> None:
    sides = (folder({"f": text("a")}), folder({"f": text("b")}), folder({"f": text("c")}))
    own = EtcRules(own=["/etc/f"])
    for number, policies in enumerate((EtcPolicies.of(own, NOTHING), EtcPolicies.of(NOTHING, own))):
        (tmp_path / str(number)).mkdir()
        assert merged(tmp_path / str(number), sides, policies)[1].conflicts == []


@pytest.mark.parametrize(
    "name",
    [
        *("machine-id", "hostname", "hosts", "hostid", "mailname", "machine-info", "adjtime"),
        *("resolv.conf", "ld.so.cache", "krb5.keytab", "lvm/backup/vg0", "nvme/hostnqn"),
        *("ssh/ssh_host_ed25519_key", "ssh/ssh_host_rsa_key.pub", "iscsi/initiatorname.iscsi"),
        *("bind/rndc.key", "pki/tls/private/localhost.key", "multipath/wwids"),
    ],
)
def test_what_names_the_machine_is_its_own_everywhere(tmp_path: Path, name: str) -> None:
    def side(content: str) -> Directory:
        *folders, last = name.split("/")
        tree = folder({last: text(content)})
        for outer in reversed(folders):
            tree = folder({outer: tree})
        return tree

    sides = side("base\n"), side("mine\n"), side("theirs\n")
    found, report = merged(tmp_path, sides, EtcPolicies.of(NOTHING, NOTHING))
    assert found[name.encode()] == b"mine\n"
    assert report.counts.conflicts == 0


@pytest.mark.parametrize(
    "name",
    [
        *("ssh/sshd_config", "ssh/sshd_config.d/10-local.conf", "pam.d/common-auth", "sudoers"),
        *("sudoers.d/ops", "selinux/targeted/policy/policy.33", "ssl/certs/ca-certificates.crt"),
        *("pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "polkit-1/rules.d/50-default.rules"),
        *("nftables.conf", "apparmor.d/usr.sbin.named", "crypto-policies/config"),
    ],
)
def test_what_guards_a_machine_is_loud_without_being_listed(name: str) -> None:
    found = EtcPolicies.of(NOTHING, NOTHING)
    assert found.matters_for_security(name.encode())
    assert not found.matters_for_security(b"motd")
