"""Attributes that an image built for ostree keeps beside its files; glib is the oracle."""

from __future__ import annotations

import subprocess

import pytest
from support.boot_tree import small_file, tree_of

from bootd.model.errors import InvalidTreeError
from bootd.model.tree import Directory, Metadata, RegularFile, Symlink, lookup
from bootd.store.tar.ostree_xattrs import apply_split_xattrs

OBJECTS = "/sysroot/ostree/repo/objects"
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
LABEL = b"system_u:object_r:bin_t:s0\0"


def offsets(size: int) -> int:
    return 1 if size <= 0xFF else 2 if size <= 0xFFFF else 4


def framed(body: bytes, ends: list[int]) -> bytes:
    """A body with its framing offsets, as small as they can be."""
    for width in (1, 2, 4):
        if offsets(len(body) + width * len(ends)) == width:
            return body + b"".join(end.to_bytes(width, "little") for end in ends)
    raise AssertionError


def variant(*pairs: tuple[bytes, bytes]) -> bytes:
    """A GVariant of type ``a(ayay)``."""
    elements = [framed(name + b"\0" + value, [len(name) + 1]) for name, value in pairs]
    ends = [sum(map(len, elements[: number + 1])) for number in range(len(elements))]
    return framed(b"".join(elements), ends) if elements else b""


def image(kept: bytes, ping: RegularFile | Symlink | None = None) -> tuple[Directory, Metadata]:
    """A tree in which one file's attributes are kept, and the metadata of that file."""
    ping = ping or small_file(b"ping")
    xattrs = small_file(kept)
    tree = tree_of(
        {
            "/usr/bin/ping": ping,
            f"{OBJECTS}/aa/bb.file": ping,
            f"{OBJECTS}/aa/bb.file-xattrs-link": xattrs,
            f"{OBJECTS}/cc/dd.file-xattrs": xattrs,
        }
    )
    return tree, ping.metadata


def read(file: RegularFile) -> bytes:
    assert file.content is not None
    return file.content


@pytest.mark.parametrize("length", [0, 20, 200, 300, 30_000, 66_000])
def test_a_file_gets_what_is_kept_of_it(length: int) -> None:
    pairs = {b"security.capability": CAPABILITY, b"user.x": b"v" * length}
    tree, metadata = image(variant(*pairs.items(), (b"security.selinux", LABEL)))
    apply_split_xattrs(tree, read)
    assert metadata.xattrs == pairs


def test_the_first_images_of_this_kind_have_another_name_for_it() -> None:
    ping = small_file(b"ping")
    kept = small_file(variant((b"security.capability", CAPABILITY)))
    files = {
        "/usr/bin/ping": ping,
        f"{OBJECTS}/aa/bb.file": ping,
        f"{OBJECTS}/aa/bb.file.xattrs": kept,
        "/sysroot/ostree/repo/xattrs/cc": kept,
    }
    apply_split_xattrs(tree_of(files), read)
    assert ping.metadata.xattrs == {b"security.capability": CAPABILITY}


def test_what_glib_writes_is_read() -> None:
    script = (
        "import sys; from gi.repository import GLib;"
        "one = ([*b'user.a\\0'], [1, 2, 3]); two = ([*b'user.b\\0'], [4] * 300);"
        "found = GLib.Variant('a(ayay)', [one, two]).get_data_as_bytes().get_data();"
        "sys.stdout.buffer.write(found)"
    )
    done = subprocess.run(["/usr/bin/python3", "-c", script], capture_output=True, check=True)
    assert done.stdout == variant((b"user.a", bytes([1, 2, 3])), (b"user.b", bytes([4]) * 300))


def test_what_a_file_has_itself_stays() -> None:
    own = {b"security.capability": b"own", b"user.own": b"x"}
    ping = RegularFile(Metadata(xattrs=dict(own)), 4, content=b"ping")
    tree, metadata = image(variant((b"security.capability", CAPABILITY), (b"user.x", b"y")), ping)
    apply_split_xattrs(tree, read)
    assert metadata.xattrs == {**own, b"user.x": b"y"}


def test_a_file_that_was_replaced_gets_nothing() -> None:
    tree, _ = image(variant((b"security.capability", CAPABILITY)))
    folder = lookup(tree, b"usr/bin")
    assert isinstance(folder, Directory)
    folder.entries[b"ping"] = newer = small_file(b"newer")
    apply_split_xattrs(tree, read)
    assert newer.metadata.xattrs == {}


def test_none_are_kept_of_most_files() -> None:
    tree, metadata = image(b"")
    apply_split_xattrs(tree, read)
    assert metadata.xattrs == {}


@pytest.mark.parametrize(
    "files",
    [
        {"/usr/bin/ping": small_file(b"x")},
        {OBJECTS: small_file(b"x")},
        {f"{OBJECTS}/aa": small_file(b"x")},
        {f"{OBJECTS}/aa/bb.file-xattrs-link": small_file(b"what nobody asks for")},
        {
            f"{OBJECTS}/aa/bb.file": Directory(Metadata()),
            f"{OBJECTS}/aa/bb.file-xattrs-link": small_file(b"what nobody asks for"),
        },
    ],
)
def test_images_that_keep_nothing(files: dict[str, RegularFile | Directory]) -> None:
    apply_split_xattrs(tree_of(files), read)


GOOD = variant((b"user.a", b"value"), (b"user.b", b"other"))


@pytest.mark.parametrize(
    "kept",
    [
        GOOD[:-1],
        GOOD[:-1] + b"\xff",
        GOOD[:-2] + GOOD[-1:] + GOOD[-2:-1],
        GOOD[:-2] + b"\0\0",
        b"\x05",
        b"\0" * 300,
        variant((b"", b"value")),
        variant((b"us\0er", b"value")),
        GOOD[:6] + b"x" + GOOD[7:],
        bytes(97 << 10),
    ],
)
def test_what_is_damaged_is_refused_by_its_name(kept: bytes) -> None:
    tree, metadata = image(kept)
    with pytest.raises(InvalidTreeError, match=r"objects/aa/bb\.file-xattrs-link"):
        apply_split_xattrs(tree, read)
    assert metadata.xattrs == {}


def test_no_damage_is_taken_for_another_error() -> None:
    for at in range(len(GOOD)):
        for value in (0, 1, 7, 0x7F, 0xFF):
            tree, metadata = image(GOOD[:at] + bytes([value]) + GOOD[at + 1 :])
            try:
                apply_split_xattrs(tree, read)
            except InvalidTreeError:
                assert metadata.xattrs == {}
