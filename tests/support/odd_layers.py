"""Layers as nobody should write them, and as somebody does: generated, the same for each number.

Each is put over `BASE` and has one or two oddities of those that `ODDITIES` names, among entries
that are plain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from support.tar_blocks import END, base_256, extended, header, long_name, member, octal

DIRECTORY, LINK, HARD, FIFO = b"5", b"2", b"1", b"6"


@dataclass(frozen=True)
class OddLayer:
    """A layer, and which oddities are in it."""

    number: int
    tar: bytes
    oddities: tuple[str, ...]


def folder(name: bytes, mode: int = 0o755) -> bytes:
    return header(name, DIRECTORY, mode=octal(mode, 8))


def symlink(name: bytes, target: bytes) -> bytes:
    return header(name, LINK, mode=octal(0o777, 8), link=target)


def hard(name: bytes, target: bytes) -> bytes:
    return header(name, HARD, link=target)


def file(name: bytes, content: bytes = b"content") -> bytes:
    return member(name, content)


BASE = (
    folder(b"usr/")
    + folder(b"usr/lib/")
    + file(b"usr/lib/one", b"one")
    + file(b"usr/lib/two", b"two")
    + folder(b"usr/share/", 0o750)
    + folder(b"usr/group/", 0o2755)
    + extended((b"SCHILY.xattr.user.base", b"yes"))
    + file(b"usr/share/doc", b"doc")
    + symlink(b"lib", b"usr/lib")
    + symlink(b"abs", b"/usr/share")
    + symlink(b"dangling", b"usr/nowhere")
    + file(b"file", b"file")
    + folder(b"dir/")
    + file(b"dir/x", b"x")
    + folder(b"dir/sub/")
    + file(b"dir/sub/y", b"y")
    + hard(b"hard", b"usr/lib/one")
    + END
)

PLACES = (b"usr/lib/", b"usr/share/", b"dir/", b"dir/sub/", b"", b"new/", b"new/deep/")
THERE = (b"usr/lib/one", b"usr/lib/two", b"usr/share/doc", b"file", b"dir/x", b"dir/sub/y", b"hard")
KEYS = (
    b"path",
    b"linkpath",
    b"mtime",
    b"uid",
    b"gid",
    b"size",
    b"GNU.sparse.name",
    b"GNU.sparse.map",
    b"GNU.sparse.size",
    b"GNU.sparse.realsize",
    b"GNU.sparse.major",
)


def _in_a_setgid_folder(random: Random) -> bytes:
    return file(b"usr/group/" + random.choice((b"a/x", b"a/b/x")))


def _name(random: Random) -> bytes:
    return random.choice(PLACES) + b"n%d" % random.randrange(6)


def _plain(random: Random) -> bytes:
    name = _name(random)
    return random.choice(
        (
            file(name, b"%d" % random.randrange(100)),
            folder(name + b"/", random.choice((0o700, 0o755, 0o1777))),
            symlink(name, random.choice((b"one", b"/usr/lib", b"../dir", b"nothing"))),
            hard(name, random.choice(THERE)),
            header(name, FIFO, mode=octal(0o640, 8)),
            member(name, b"owned", uid=octal(random.randrange(9), 8), mode=octal(0o4711, 8)),
        )
    )


def _absolute(random: Random) -> bytes:
    name = b"/" + _name(random)
    return random.choice(
        (
            file(name),
            folder(name + b"/"),
            hard(name, b"/usr/lib/two"),
            file(b"//" + name),
            hard(name, b"//file"),
        )
    )


def _inside(random: Random) -> bytes:
    way = random.choice(
        (b"usr/../", b"./dir/sub/../../", b"no/such/../..//", b"lib/../", b"usr/lib/../lib/./")
    )
    name = way + b"climbed%d" % random.randrange(3)
    return random.choice(
        (file(name), folder(name), hard(name, b"usr/share/../lib/one"), symlink(name, b"../x"))
    )


def _outside(random: Random) -> bytes:
    way = random.choice((b"../", b"usr/../../", b"/../", b"./.././../dir/"))
    return random.choice(
        (file(way + b"out"), hard(b"out", way + b"usr/lib/one"), folder(way + b"out"))
    )


def _deep(random: Random) -> bytes:
    name = b"deep/" + b"d/" * random.choice((257, 300)) + b"file"
    return random.choice((extended((b"path", name)), long_name(name))) + file(b"short")


def _long(random: Random) -> bytes:
    name = random.choice(PLACES) + b"n" * random.choice((100, 101, 255, 256, 300))
    return random.choice((extended((b"path", name)), long_name(name))) + file(b"short")


def _own_link(random: Random) -> bytes:
    target = random.choice(
        (b"usr/lib", b"/usr/lib", b"./dir/../usr/share", b"/../usr/lib", b"lib", b"dir/sub/..")
    )
    behind = random.choice((b"x", b"one", b"made/x", b"../x"))
    link = symlink(b"own", target)
    return link + random.choice(
        (
            file(b"own/" + behind),
            hard(b"through", b"own/one"),
            folder(b"own/" + behind),
            symlink(b"own2", b"own") + file(b"own2/y"),
            file(b"own/x") + folder(b"own") + file(b"own/z"),
        )
    )


def _own_link_to_nothing(random: Random) -> bytes:
    target = random.choice((b"usr/none", b"/none", b"own", b"none/none", b"file"))
    return symlink(b"own", target) + random.choice(
        (file(b"own/x"), file(b"own/a/b"), hard(b"h", b"own/x"))
    )


def _lower_link(random: Random) -> bytes:
    name = random.choice((b"lib/", b"abs/", b"./lib//", b"/abs/")) + random.choice(
        (b"x", b"one", b"a/b")
    )
    return random.choice((file(name), folder(name), hard(b"h", b"lib/two"), symlink(name, b"/x")))


def _lower_link_to_nothing(random: Random) -> bytes:
    return random.choice((file(b"dangling/x"), file(b"dangling/a/b"), folder(b"dangling/f")))


def _over(random: Random) -> bytes:
    return random.choice(
        (
            folder(b"lib/") + file(b"lib/x"),
            file(b"dir"),
            symlink(b"dir", b"usr"),
            folder(b"file/"),
            folder(b"file") + file(b"file/x"),
            file(b"lib"),
            symlink(b"lib", b"usr/share"),
            file(b"hard", b"new"),
            symlink(b"usr/lib/one", b"two"),
            folder(b"dangling/") + file(b"dangling/x"),
        )
    )


def _below_a_file(random: Random) -> bytes:
    return random.choice(
        (
            file(b"file/x"),
            folder(b"file/x/"),
            file(b"file/a/b"),
            hard(b"h", b"file/x"),
            symlink(b"f", b"file") + file(b"f/x"),
        )
    )


def _twice(random: Random) -> bytes:
    name = _name(random)
    return file(name, b"first") + random.choice(
        (file(name, b"second"), folder(name), symlink(name, b"x"), hard(name, b"usr/lib/one"))
    )


def _hard_link(random: Random) -> bytes:
    return random.choice(
        (
            hard(b"h", b"lib"),
            hard(b"h", b"usr/lib/one") + hard(b"h2", b"h"),
            file(b"f") + hard(b"h", b"f") + file(b"f", b"2"),
            hard(b"h", b"./usr//lib/one"),
            hard(b"h/x/y", b"file"),
            member(b"h", b"", kind=b"1", link=b"file"),
            hard(b"file", b"usr/lib/one"),
            hard(b"usr/lib/two", b"file"),
        )
    )


def _hard_link_to_nothing(random: Random) -> bytes:
    return random.choice(
        (
            hard(b"h", b"none"),
            hard(b"h", b"no/thing"),
            hard(b"h", b"later") + file(b"later"),
            hard(b"h", b"dir"),
            hard(b"h", b"h"),
            hard(b"h", b""),
        )
    )


def _link_then_whiteout(random: Random) -> bytes:
    return random.choice(
        (
            hard(b"h", b"usr/lib/one") + file(b"usr/lib/.wh.one"),
            hard(b"h", b"dir/sub/y") + file(b".wh.dir"),
            hard(b"h", b"lib/two") + file(b"usr/lib/.wh.two"),
            hard(b"dir/h", b"dir/x") + file(b"dir/.wh.x"),
            hard(b"h", b"file") + file(b".wh.file") + file(b"file", b"anew"),
        )
    )


def _whiteout_then_link(random: Random) -> bytes:
    return random.choice(
        (
            file(b"usr/lib/.wh.one") + hard(b"h", b"usr/lib/one"),
            file(b".wh.dir") + hard(b"h", b"dir/x"),
            file(b"dir/.wh..wh..opq") + hard(b"h", b"dir/x"),
        )
    )


def _whiteout(random: Random) -> bytes:
    return random.choice(
        (
            file(b"usr/lib/.wh.one", b""),
            file(b".wh.dir", b""),
            file(b"lib/.wh.two"),
            file(b".wh.lib"),
            folder(b"dir/.wh.sub"),
            file(b".wh.dir") + folder(b"dir") + file(b"dir/n"),
            file(b".wh.file") + file(b"file", b"anew"),
            file(b".wh.none"),
            symlink(b"dir/.wh.x", b"y"),
        )
    )


def _whiteout_in_no_folder(random: Random) -> bytes:
    return random.choice((file(b"none/.wh.x"), file(b"none/a/.wh.x"), file(b"none/.wh..wh..opq")))


def _opaque(random: Random) -> bytes:
    mark = file(b"dir/.wh..wh..opq", b"")
    return random.choice(
        (
            mark,
            mark + file(b"dir/n"),
            folder(b"dir") + mark + file(b"dir/n"),
            mark + folder(b"dir/sub") + file(b"dir/sub/n"),
        )
    )


def _whiteout_after_its_own(random: Random) -> bytes:
    return random.choice(
        (
            file(b"file", b"own") + file(b".wh.file"),
            folder(b"dir") + file(b"dir/n") + file(b".wh.dir"),
            file(b"dir/sub/n") + file(b"dir/.wh..wh..opq"),
            folder(b"dir/sub") + file(b"dir/.wh..wh..opq"),
            file(b"dir/n") + file(b"dir/.wh..wh..opq"),
        )
    )


def _whiteout_through_own_link(random: Random) -> bytes:
    return symlink(b"own", random.choice((b"usr/lib", b"/usr/lib"))) + file(b"own/.wh.one")


def _whiteout_of_nothing(random: Random) -> bytes:
    return random.choice((file(b".wh."), file(b"dir/.wh.."), file(b"dir/.wh...")))


def _in_a_whiteout(random: Random) -> bytes:
    return folder(b".wh.dir/") + file(random.choice((b".wh.dir/x", b"usr/.wh.lib/a/x")))


def _aufs(random: Random) -> bytes:
    return random.choice(
        (file(b".wh..wh.aufs"), folder(b".wh..wh.orph/"), folder(b".wh..wh.plnk/"))
    )


def _aufs_links(_: Random) -> bytes:
    return (
        folder(b".wh..wh.plnk/")
        + file(b".wh..wh.plnk/7.8", b"pseudo")
        + hard(b"h", b".wh..wh.plnk/7.8")
    )


def _empty_record(random: Random) -> bytes:
    keys = random.sample(KEYS, random.randrange(1, 4))
    return extended(*((key, b"") for key in keys)) + random.choice(
        (file(_name(random)), symlink(b"s", b"target"), folder(b"usr/lib"), hard(b"h", b"file"))
    )


def _records(random: Random) -> bytes:
    return random.choice(
        (
            extended((b"path", b"one"), (b"path", b"two")),
            extended((b"path", b"one"), (b"path", b"")),
            extended((b"uid", b"70000"), (b"gid", b"4000000000")),
            extended((b"mtime", b"1.5"), (b"atime", b"3")),
            extended((b"mtime", b"-1.25")),
            extended((b"size", b"7"), (b"comment", b"x=y\nz")),
            extended((b"uid", b"7"), kind=b"g"),
            extended((b"hdrcharset", b"BINARY"), (b"path", b"\xff\xfe")),
            extended((b"SCHILY.xattr.user.a", b"\x00=\n")),
            extended((b"path", b"x")) + extended((b"uid", b"5")),
        )
    ) + file(b"records")


def _negative_owner(random: Random) -> bytes:
    return extended((random.choice((b"uid", b"gid")), b"-1")) + file(b"negative")


def _bad_records(random: Random) -> bytes:
    return random.choice(
        (
            extended((b"mtime", b"1e9")),
            extended((b"size", b"x")),
            extended((b"path", b"a\0b")),
            header(b"p", b"x", size=6) + b"9 a=b\n".ljust(512, b"\0"),
        )
    ) + file(b"bad")


def _no_namespace(random: Random) -> bytes:
    return extended((b"SCHILY.xattr.plain", b"1"), (b"SCHILY.xattr.user.kept", b"2")) + file(
        _name(random)
    )


def _empty_attribute(random: Random) -> bytes:
    return extended((b"SCHILY.xattr.user.empty", b"")) + file(_name(random))


def _number_with_rest(random: Random) -> bytes:
    rest = random.choice((b"0600\0xyz", b"0640\0\0 9", b"\0000644\0", b" 644 \0\0\0"))
    return random.choice(
        (
            member(b"rest", b"r", mode=rest),
            member(b"rest", b"r", uid=rest),
            member(b"rest", b"r" * 420, size=b"0000644\0rest"),
        )
    )


def _number_with_rest_after_a_space(random: Random) -> bytes:
    return member(b"rest", b"r", mode=random.choice((b"0600 xyz", b"644 \0xyz", b"640 9 \0 ")))


def _bad_number(random: Random) -> bytes:
    return random.choice(
        (
            member(b"bad", mode=b"09999999"),
            member(b"bad", uid=b"rootroot"),
            member(b"bad", mode=b"-000644\0"),
        )
    )


def _large_number(random: Random) -> bytes:
    return random.choice(
        (
            member(b"large", uid=base_256(3_000_000, 8)),
            member(b"large", mtime=base_256(-5, 12)),
            member(b"large", b"x", size=base_256(1, 12)),
        )
    )


def _sparse(random: Random) -> bytes:
    fields = random.choice(
        (
            (
                (b"GNU.sparse.map", b"2,3"),
                (b"GNU.sparse.numblocks", b"1"),
                (b"GNU.sparse.size", b"9"),
            ),
            (
                (b"GNU.sparse.size", b"9"),
                (b"GNU.sparse.numblocks", b"1"),
                (b"GNU.sparse.offset", b"2"),
                (b"GNU.sparse.numbytes", b"3"),
            ),
        )
    )
    return random.choice(
        (
            extended((b"GNU.sparse.name", b"sparse"), *fields) + file(b"x", b"abc"),
            extended(
                (b"GNU.sparse.major", b"1"),
                (b"GNU.sparse.minor", b"0"),
                (b"GNU.sparse.name", b"sparse"),
                (b"GNU.sparse.realsize", b"9"),
            )
            + file(b"x", b"1\n2\n3\n".ljust(512, b"\0") + b"abc"),
        )
    )


def _old_sparse(random: Random) -> bytes:
    rest = (bytes(41) + octal(2, 12) + octal(3, 12)).ljust(137, b"\0") + b"\0" + octal(9, 12)
    return header(_name(random), b"S", magic=b"ustar  \0", size=3, rest=rest) + b"abc".ljust(
        512, b"\0"
    )


def _contiguous(random: Random) -> bytes:
    return member(_name(random), b"contiguous", kind=b"7")


def _device(random: Random) -> bytes:
    kind, major, minor = random.choice(((b"3", 1, 3), (b"4", 259, 70_000), (b"3", 0, 0)))
    return header(_name(random), kind, major=octal(major, 8), minor=octal(minor, 8))


def _large_owner(random: Random) -> bytes:
    owner = random.choice((2**32, 2**32 + 5))
    return random.choice(
        (
            member(b"owned", uid=base_256(owner, 8)),
            extended((b"gid", b"%d" % owner)) + file(b"owned"),
        )
    )


def _foreign_attribute(random: Random) -> bytes:
    return extended((b"SCHILY.xattr.com.apple.quarantine", b"1")) + file(_name(random))


def _attribute(random: Random) -> bytes:
    name = random.choice((b"user.\xff", b"trusted.a", b"security.other", b"user.overlay.origin"))
    kind = random.choice((file(b"a"), folder(b"a/"), member(b"a", mode=octal(0o4755, 8))))
    return extended((b"SCHILY.xattr." + name, b"\0=\n\xff")) + kind


def _old_folder(random: Random) -> bytes:
    return header(_name(random) + b"/", b"\0", mode=octal(0o755, 8), magic=b"")


def _type(random: Random) -> bytes:
    return header(b"odd", random.choice((b"V", b"M", b"A", b"8")))


def _root(random: Random) -> bytes:
    return random.choice((folder(b"./"), folder(b"/"), folder(b".", 0o700), folder(b"usr/..")))


def _root_of_another_kind(random: Random) -> bytes:
    return random.choice((file(b"."), symlink(b"./", b"usr"), file(b"/")))


ODDITIES: dict[str, Callable[[Random], bytes]] = {
    "absolute name": _absolute,
    "name that climbs inside": _inside,
    "name that climbs out": _outside,
    "deep name": _deep,
    "long name": _long,
    "through a link of the layer": _own_link,
    "through a link of the layer to nothing": _own_link_to_nothing,
    "through a lower link": _lower_link,
    "through a lower link to nothing": _lower_link_to_nothing,
    "another kind of file in its place": _over,
    "name below a file": _below_a_file,
    "name twice": _twice,
    "hard link": _hard_link,
    "hard link to nothing": _hard_link_to_nothing,
    "hard link before a whiteout": _link_then_whiteout,
    "hard link after a whiteout": _whiteout_then_link,
    "whiteout": _whiteout,
    "whiteout in no folder": _whiteout_in_no_folder,
    "opaque folder": _opaque,
    "whiteout after what its layer brings": _whiteout_after_its_own,
    "whiteout through a link of the layer": _whiteout_through_own_link,
    "whiteout of nothing": _whiteout_of_nothing,
    "record of AUFS": _aufs,
    "hard link to a record of AUFS": _aufs_links,
    "record without a value": _empty_record,
    "record": _records,
    "record that is wrong": _bad_records,
    "negative owner": _negative_owner,
    "attribute without a namespace": _no_namespace,
    "attribute without a value": _empty_attribute,
    "number with something behind a NUL": _number_with_rest,
    "number with something behind a space": _number_with_rest_after_a_space,
    "number that is none": _bad_number,
    "large number": _large_number,
    "sparse file": _sparse,
    "old sparse file": _old_sparse,
    "contiguous file": _contiguous,
    "device": _device,
    "owner beyond 32 bits": _large_owner,
    "attribute": _attribute,
    "attribute of another system": _foreign_attribute,
    "file in a folder named like a whiteout": _in_a_whiteout,
    "folder without a type": _old_folder,
    "unknown type": _type,
    "entry for the root": _root,
    "missing folder in a setgid folder": _in_a_setgid_folder,
    "root of another kind": _root_of_another_kind,
}
ENDS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda tar: tar + END,
    "no end": lambda tar: tar,
    "half an end": lambda tar: tar + bytes(512),
    "zeros at the end that are half a block": lambda tar: tar + bytes(700),
    "no padding at the end": lambda tar: (tar + file(b"last", b"last"))[:-508],
    "zero block in the middle": lambda tar: tar + bytes(512) + file(b"lost") + END,
    "something behind the end": lambda tar: tar + END + file(b"behind"),
    "cut off": lambda tar: (tar + file(b"last", b"last" * 200))[:-400],
}


BELOW_HIDDEN = "name below a file that a whiteout hides after it"


def _is_below_hidden(tar: bytes) -> bool:
    """Whether two oddities made this one together."""
    blocks = [tar[at : at + 9] for at in range(0, len(tar), 512)]
    below = [place for place, begin in enumerate(blocks) if begin.startswith(b"file/")]
    return b".wh.file\0" in blocks[below[0] :] if below else False


def odd_layer(number: int, oddity: str | None = None) -> OddLayer:
    """The layer of a number; with an oddity only that one is in it."""
    random = Random(number)
    if oddity is not None:
        tar = ODDITIES[oddity](random) if oddity in ODDITIES else file(b"plain")
        if oddity == BELOW_HIDDEN:
            tar = file(b"file/x") + file(b".wh.file")
        return OddLayer(number, ENDS.get(oddity, ENDS[""])(tar), (oddity,))
    oddities = [random.choice(list(ODDITIES)) for _ in range(random.choice((1, 1, 2)))]
    pieces = [ODDITIES[one](random) for one in oddities]
    pieces += [_plain(random) for _ in range(random.randrange(4))]
    random.shuffle(pieces)
    end = random.choice(list(ENDS)) if random.randrange(4) == 0 else ""
    tar = ENDS[end](b"".join(pieces))
    together = BELOW_HIDDEN if _is_below_hidden(tar) else ""
    return OddLayer(number, tar, tuple(filter(None, (*oddities, end, together))))
