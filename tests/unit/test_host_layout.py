"""What becomes of the two folders of defaults, and of what build engines leave."""

from __future__ import annotations

import pytest
from support.boot_tree import large_file, small_file, tree_of

from bootd.model.errors import InvalidTreeError
from bootd.model.tree import Directory, Metadata, RegularFile, Symlink, lookup, walk
from bootd.store.images.host_layout import (
    SEPARATE_DEFAULTS,
    engine_leftovers,
    os_release_file,
    to_host_layout,
)

TUMBLEWEED = b'NAME="openSUSE Tumbleweed"\nID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n'
SLES = b"ID=sles\nID_LIKE=suse\n"


def empty() -> RegularFile:
    return small_file(b"")


def names(root: Directory, path: bytes) -> set[bytes]:
    found = lookup(root, path)
    assert isinstance(found, Directory)
    return {name for name, _ in walk(found)}


@pytest.mark.parametrize("path", ["etc/hosts", "etc/hostname", "etc/resolv.conf", "usr/etc/hosts"])
def test_what_an_engine_leaves_is_left_out(path: str) -> None:
    other = path.rpartition("/")[0] + "/motd"
    root = tree_of({f"/{path}": empty(), f"/{other}": large_file("a"), "/.dockerenv": empty()})
    assert {shown for _, _, shown in engine_leftovers(root)} == {f"/{path}", "/.dockerenv"}
    laid = to_host_layout(root).root
    assert names(laid, b"usr/etc") == {b"motd"}
    assert b".dockerenv" not in laid.entries


def test_what_was_meant_stays() -> None:
    link = Symlink(Metadata(), b"../run/systemd/resolve/stub-resolv.conf")
    files = {
        "/etc/resolv.conf": link,
        "/etc/hosts": small_file(b"127.0.0.1 localhost\n"),
        "/etc/machine-id": empty(),
        "/etc/mtab": Symlink(Metadata(), b"/proc/mounts"),
        "/.dockerenv": small_file(b"x"),
    }
    root = tree_of(files)
    assert not list(engine_leftovers(root))
    laid = to_host_layout(root).root
    assert names(laid, b"usr/etc") == {b"resolv.conf", b"hosts", b"machine-id", b"mtab"}
    assert b".dockerenv" in laid.entries


@pytest.mark.parametrize("name", ["hosts", "hostname", "resolv.conf", "mtab"])
def test_an_image_with_defaults_in_usr_etc_may_be_built_upon(name: str) -> None:
    node = Symlink(Metadata(), b"/proc/mounts") if name == "mtab" else empty()
    laid = to_host_layout(tree_of({f"/etc/{name}": node, "/usr/etc/motd": large_file("a")})).root
    assert names(laid, b"usr/etc") == {b"motd"}
    assert names(laid, b"etc") == set()


@pytest.mark.parametrize(
    "node", [small_file(b"nameserver 192.0.2.1\n"), Symlink(Metadata(), b"../run/x")]
)
def test_a_resolv_conf_that_says_something_is_a_default(node: RegularFile | Symlink) -> None:
    root = tree_of({"/etc/resolv.conf": node, "/usr/etc/motd": large_file("a")})
    with pytest.raises(InvalidTreeError, match="1 entries in /etc and 1 in /usr/etc"):
        to_host_layout(root)


@pytest.mark.parametrize("os_release", [TUMBLEWEED, SLES, b"ID='suse'\n"])
def test_where_usr_etc_is_the_packages_both_stay(os_release: bytes) -> None:
    files = {
        "/etc/passwd": small_file(b"root"),
        "/etc/resolv.conf": empty(),
        "/usr/etc/login.defs": large_file("a"),
        "/usr/etc/pam.d/sshd": large_file("b"),
    }
    laid = to_host_layout(tree_of(files), os_release).root
    assert names(laid, b"usr/etc") == {b"login.defs", b"pam.d", b"pam.d/sshd"}
    assert names(laid, SEPARATE_DEFAULTS) == {b"passwd"}
    assert names(laid, b"etc") == set()


@pytest.mark.parametrize("os_release", [b"", b"ID=fedora\n", b"NAME=suse\n", b"ID=susely\n", b"ID"])
def test_elsewhere_nobody_knows_which_are_the_defaults(os_release: bytes) -> None:
    root = tree_of({"/etc/passwd": empty(), "/usr/etc/motd": large_file("a")})
    with pytest.raises(InvalidTreeError, match="which are the defaults"):
        to_host_layout(root, os_release)


@pytest.mark.parametrize("only", ["/etc/motd", "/usr/etc/motd"])
def test_one_folder_is_the_defaults_there_too(only: str) -> None:
    laid = to_host_layout(tree_of({only: large_file("a")}), TUMBLEWEED).root
    assert names(laid, b"usr/etc") == {b"motd"}
    assert lookup(laid, SEPARATE_DEFAULTS) is None


def test_no_image_brings_separate_defaults_itself() -> None:
    place = f"/{SEPARATE_DEFAULTS.decode()}/shadow"
    laid = to_host_layout(tree_of({"/etc/motd": large_file("a"), place: large_file("b")})).root
    assert names(laid, b"usr/etc") == {b"motd"}
    assert lookup(laid, SEPARATE_DEFAULTS) is None


def test_a_file_where_the_separate_defaults_go_is_refused() -> None:
    files = {
        "/etc/a": small_file(b"a"),
        "/usr/etc/b": small_file(b"b"),
        "/usr/lib": small_file(b""),
    }
    with pytest.raises(InvalidTreeError, match="/usr/lib in the image is"):
        to_host_layout(tree_of(files), SLES)


def test_which_file_says_what_an_image_is() -> None:
    found = small_file(SLES)
    link = Symlink(Metadata(), b"../usr/lib/os-release")
    both = tree_of({"/usr/lib/os-release": found, "/etc/os-release": link})
    assert os_release_file(both) == ("usr/lib/os-release", found)
    assert os_release_file(tree_of({"/etc/os-release": found})) == ("etc/os-release", found)
    assert os_release_file(tree_of({"/etc/os-release": link})) is None
    assert os_release_file(tree_of({"/usr/lib/os-release": large_file("a", 70_000)})) is None
