"""Importing layers: what is stored, in which order, and all that is refused."""

import gzip
import hashlib
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.effort import heavy
from support.images import OCI_LAYER, digest, entry, tar_layer
from support.power import CutDisk, PowerCut
from support.stored_layer import stored_layer
from support.tar_blocks import END, extended, header, member
from support.verity import verity_digest

from bootd.durable import Disk
from bootd.model.digest import Digest
from bootd.model.errors import (
    DamagedRecordError,
    DiffIdMismatchError,
    DigestMismatchError,
    InvalidLayerError,
    NoSpaceError,
    UnknownFormatError,
    UnknownMediaTypeError,
    WriteFailedError,
)
from bootd.model.tree import Directory, Metadata, RegularFile, SpecialFile, Symlink, lookup
from bootd.store import layer
from bootd.store.compose import apply_layer
from bootd.store.images.dumpfile import format_entry
from bootd.store.layer_entry import tree_path
from bootd.store.layer_index import layer_objects, read_layer
from bootd.store.layers import all_layers, has_layer, layer_path
from bootd.store.objects import files as objects
from bootd.store.objects.files import all_objects, object_path
from bootd.sysroot import Sysroot


@pytest.fixture
def sysroot(tmp_path):
    made = Sysroot.at(tmp_path / "root")
    made.initialise()
    return made


def bring(sysroot, stream, **more):
    diff_id = Digest(digest(stream))
    return stored_layer(sysroot, [stream], **{"media_type": OCI_LAYER, "diff_id": diff_id} | more)


def entries(sysroot, stream):
    index = bring(sysroot, stream)
    found = list(read_layer(sysroot, index.diff_id))
    assert len(found) == index.entries
    assert index.unpacked_size == len(stream)
    return {one.path: one for one in found}


def in_small_pieces(sysroot, blob, **more):
    """As `bring`, with a gzip blob."""
    chunks = [blob[at : at + 100] for at in range(0, len(blob), 100)]
    return stored_layer(sysroot, chunks, **{"media_type": f"{OCI_LAYER}+gzip"} | more)


def test_pieces_make_no_difference(sysroot, tmp_path):
    stream = tar_layer({f"usr/{number}": b"%d" % number * 99 for number in range(300)})
    bring(sysroot, stream)
    other = Sysroot.at(tmp_path / "other")
    other.initialise()
    in_small_pieces(other, gzip.compress(stream), diff_id=Digest(digest(stream)))
    assert set(all_objects(other)) == set(all_objects(sysroot))
    [index] = all_layers(sysroot)
    assert layer_path(other, index).read_bytes() == layer_path(sysroot, index).read_bytes()


def test_damage_leaves_nothing(sysroot):
    blob = gzip.compress(tar_layer({"usr/a": b"a" * 9_000}))
    right = Digest(digest(gzip.decompress(blob)))
    with pytest.raises(InvalidLayerError, match="middle"):
        in_small_pieces(sysroot, blob[:-20], diff_id=right)
    with pytest.raises(InvalidLayerError, match="more than 5000"):
        in_small_pieces(sysroot, blob, diff_id=right, limit=5_000)
    with pytest.raises(DiffIdMismatchError):
        in_small_pieces(sysroot, blob, diff_id=Digest("sha256:" + "0" * 64))
    assert nothing_is_left(sysroot)


def nothing_is_left(sysroot):
    return not list(sysroot.layers.iterdir()) and not list(sysroot.objects.glob("**/.new-*"))


def test_every_kind_of_entry(sysroot):
    big = os.urandom(5 << 20)
    stream = tar_layer(
        [
            (entry("./", tarfile.DIRTYPE, mode=0o755), b""),
            (entry("./usr/", tarfile.DIRTYPE, mode=0o2775, uid=3, gid=4), b""),
            (entry("usr/empty"), b""),
            (entry("usr/small", mode=0o4755), b"s" * 64),
            (entry("usr/file", xattrs={"user.a": "1"}, mtime=1.25), b"f" * 65),
            (entry("usr/big"), big),
            (entry("usr/link", tarfile.SYMTYPE, target="../etc/\udcffx"), b""),
            (entry("usr/hard", tarfile.LNKTYPE, target="./usr/file"), b""),
            (entry("usr/fifo", tarfile.FIFOTYPE), b""),
            (entry("usr/.wh.gone"), b""),
        ]
    )
    found = entries(sysroot, stream)
    assert list(found) == [
        b"/", b"/usr", b"/usr/empty", b"/usr/small", b"/usr/file", b"/usr/big", b"/usr/link",
        b"/usr/hard", b"/usr/fifo", b"/usr/.wh.gone",
    ]  # fmt: skip
    folder = found[b"/usr"].node
    assert isinstance(folder, Directory)
    assert (folder.metadata.permissions, folder.metadata.uid) == (0o2775, 3)
    small, file = found[b"/usr/small"].node, found[b"/usr/file"].node
    assert isinstance(small, RegularFile)
    assert isinstance(file, RegularFile)
    assert (small.content, small.verity, small.metadata.permissions) == (b"s" * 64, None, 0o4755)
    assert (file.content, file.verity) == (None, verity_digest(b"f" * 65))
    assert file.metadata.xattrs == {b"user.a": b"1"}
    assert file.metadata.mtime_nanoseconds == 250_000_000
    assert isinstance(found[b"/usr/link"].node, Symlink)
    assert found[b"/usr/link"].node.target == b"../etc/\xffx"
    assert (found[b"/usr/hard"].node, found[b"/usr/hard"].target) == (None, b"/usr/file")
    assert isinstance(found[b"/usr/fifo"].node, SpecialFile)
    stored = {verity_digest(b"f" * 65): b"f" * 65, verity_digest(big): big}
    assert (
        set(all_objects(sysroot)) == set(stored) == layer_objects(sysroot, all_layers(sysroot)[0])
    )
    for verity, content in stored.items():
        assert object_path(sysroot, verity).read_bytes() == content
        assert object_path(sysroot, verity).stat().st_mode & 0o777 == 0o400


@heavy(8, full=1_000)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 64, 65, 511, 512, 4096, 70_000]), max_size=6),
    cut=st.integers(1, 5000),
)
def test_how_the_chunks_are_cut_does_not_matter(tmp_path_factory, sizes, cut):
    made = Sysroot.at(tmp_path_factory.mktemp("root"))
    made.initialise()
    files = {f"file{number}": bytes([number]) * size for number, size in enumerate(sizes)}
    stream = tar_layer(files)
    packed = gzip.compress(stream)
    diff_id = Digest(digest(stream))
    stored_layer(
        made,
        (packed[at : at + cut] for at in range(0, len(packed), cut)),
        media_type=OCI_LAYER + "+gzip",
        diff_id=diff_id,
    )
    found = {one.path: one.node for one in read_layer(made, diff_id)}
    for name, content in files.items():
        node = found[b"/" + name.encode()]
        if len(content) > 64:
            assert object_path(made, node.verity).read_bytes() == content
        else:
            assert node.content == content


@pytest.mark.parametrize("size", [objects.IN_MEMORY_LIMIT, objects.IN_MEMORY_LIMIT + 1])
def test_content_is_stored_once(sysroot, size):
    content = os.urandom(size)
    bring(sysroot, tar_layer({"one": content, "two": content}))
    before = object_path(sysroot, verity_digest(content)).stat().st_ino
    bring(sysroot, tar_layer({"three": content}))
    assert list(all_objects(sysroot)) == [verity_digest(content)]
    assert object_path(sysroot, verity_digest(content)).stat().st_ino == before
    assert not list(sysroot.objects.glob("**/.new-*"))


def test_entries_keep_their_order_whatever_waits_to_be_stored(sysroot):
    # Two contents that wait, one that is large, then more entries than ever wait.
    files = {"b": b"b" * 100, "a": b"a" * 5_000, "c": b"c" * (5 << 20), "d": b"d" * 70}
    files |= {f"e{number}": b"" for number in range(2_500)} | {"f": b"f" * 70}
    stream = tar_layer(files)
    found = entries(sysroot, stream)
    assert [path.decode() for path in found] == [f"/{name}" for name in files]
    for name, content in files.items():
        node = found[f"/{name}".encode()].node
        assert isinstance(node, RegularFile)
        assert node.verity == (verity_digest(content) if content else None)


def test_a_layer_has_a_most_of_entries(sysroot, monkeypatch):
    monkeypatch.setattr(layer, "ENTRIES_LIMIT", 3)
    entries(sysroot, tar_layer(dict.fromkeys("abc", b"x" * 100)))
    with pytest.raises(InvalidLayerError, match="more than 3 entries"):
        entries(sysroot, tar_layer(dict.fromkeys("abcd", b"x" * 100)))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b".", b"/"),
        (b"./", b"/"),
        (b"/", b"/"),
        (b"usr", b"/usr"),
        (b"./usr/", b"/usr"),
        (b"usr//bin", b"/usr/bin"),
        (b"usr/./bin/.", b"/usr/bin"),
        (b"usr/.hidden", b"/usr/.hidden"),
        (b"usr/...", b"/usr/..."),
        (b"..usr", b"/..usr"),
        (b"a" * 255, b"/" + b"a" * 255),
        (b"\xff\n ", b"/\xff\n "),
        (b"//", b"/"),
        (b"/etc/passwd", b"/etc/passwd"),
        (b"//etc//", b"/etc"),
        (b".//etc", b"/etc"),
        (b"/./etc/", b"/etc"),
        (b"usr/..", b"/"),
        (b"/usr/..", b"/"),
        (b"usr/../etc", b"/etc"),
        (b"usr/lib/../../etc/./x", b"/etc/x"),
        (b"usr/.../..x", b"/usr/.../..x"),
        (b"/".join([b"d"] * 1_025), b"/" + b"/".join([b"d"] * 1_025)),
    ],
)
def test_names(name, path):
    assert tree_path(name) == path


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"..",
        b"/..",
        b"../x",
        b"./../x",
        b"/../x",
        b"usr/../../x",
        b"usr/../../usr/x",
        b"a" * 256,
        b"usr/" + b"a" * 256 + b"/x",
        b"/".join([b"a" * 200] * 21),
        b"/".join([b"d"] * 1_026),
    ],
)
def test_names_that_are_refused(name):
    with pytest.raises(InvalidLayerError, match="entry"):
        tree_path(name)


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        pytest.param(tar_layer({"../evil": b"x"}), r"'\.\./evil' has '\.\.'", id="climbs"),
        pytest.param(tar_layer({"usr/../../x": b""}), r"has '\.\.'.*leaves", id="from within"),
        pytest.param(
            tar_layer([(entry("h", tarfile.LNKTYPE, target="../evil"), b"")]),
            r"'h' has '\.\.'",
            id="hard link that climbs",
        ),
        pytest.param(
            tar_layer([(entry("h", tarfile.LNKTYPE), b"")]), "'h' has an", id="hard link to no name"
        ),
        pytest.param(header(b"s", b"2") + END, "'s' links to a name of 0", id="empty symlink"),
        pytest.param(
            extended((b"linkpath", b"x" * 4096)) + header(b"s", b"2") + END,
            "'s' links to a name of 4096",
            id="long symlink",
        ),
        pytest.param(member(b"./", kind=b"0") + END, "root is not a folder", id="root is a file"),
        pytest.param(b"no tar" * 500, "damaged", id="no tar"),
        pytest.param(tar_layer({"a": b"x" * 2000})[:1500], "ends in the middle", id="cut off"),
    ],
)
def test_refused_layers_leave_nothing(sysroot, stream, words):
    with pytest.raises(InvalidLayerError, match=words):
        bring(sysroot, stream)
    assert nothing_is_left(sysroot)


def test_names_reach_nothing_outside_the_tree(sysroot, tmp_path):
    """What a layer calls as a folder of the machine is one of its own tree."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    name = str(outside)
    stream = tar_layer(
        [
            (entry(f"{name}/", tarfile.DIRTYPE, mode=0o755), b""),
            (entry(f"{name}/absolute"), b"1"),
            (entry(f"usr/..{name}/climbed"), b"2"),
            (entry("link", tarfile.SYMTYPE, target=name), b""),
            (entry("link/through"), b"3"),
            (entry("hard", tarfile.LNKTYPE, target=f"{name}/absolute"), b""),
            (entry(f"{name}/.wh.secret"), b""),
        ]
    )
    written = bring(sysroot, stream)
    root = Directory(Metadata())
    apply_layer(root, list(read_layer(sysroot, written.diff_id)))
    assert sorted(lookup(root, os.fsencode(name)).entries) == [b"absolute", b"climbed", b"through"]
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    stolen = tar_layer([(entry("hard", tarfile.LNKTYPE, target=f"{name}/secret"), b"")])
    with pytest.raises(InvalidLayerError, match="which is nothing"):
        apply_layer(root, list(read_layer(sysroot, bring(sysroot, stolen).diff_id)))


def test_another_diff_id(sysroot):
    stream = tar_layer({"a": b"x" * 100})
    with pytest.raises(DiffIdMismatchError, match=r"unpacks to sha256:.*promises sha256:0000"):
        bring(sysroot, stream, diff_id=Digest("sha256:" + "0" * 64))
    assert nothing_is_left(sysroot)


@pytest.mark.parametrize("garbage", [b"\0", b"x", b"x" * 100_000])
def test_what_follows_the_archive_counts_to_the_diff_id(sysroot, garbage):
    stream = tar_layer({"a": b"x"})
    assert bring(sysroot, stream + garbage).unpacked_size == len(stream + garbage)
    with pytest.raises(DiffIdMismatchError):
        bring(sysroot, stream + garbage, diff_id=Digest(digest(stream)))


def test_sha512_diff_ids(sysroot):
    stream = tar_layer({"a": b"x"})
    running = Digest("sha512:" + "0" * 128).new_hash()
    running.update(stream)
    diff_id = Digest("sha512:" + running.hexdigest())
    bring(sysroot, stream, diff_id=diff_id)
    assert has_layer(sysroot, diff_id)


@pytest.mark.parametrize("stream", [b"", bytes(1024)])
def test_an_empty_layer(sysroot, stream):
    assert bring(sysroot, stream).entries == 0


def test_a_layer_that_unpacks_to_too_much(sysroot):
    stream = tar_layer({"a": bytes(1 << 20)})
    with pytest.raises(InvalidLayerError, match="more than 100000 bytes"):
        bring(sysroot, stream, limit=100_000)
    assert nothing_is_left(sysroot)


def test_a_sparse_bomb(sysroot):
    pairs = [(b"GNU.sparse.size", b"%d" % (1 << 60)), (b"GNU.sparse.map", b"0,1")]
    stream = extended(*pairs) + member(b"sparse", b"x") + END
    with pytest.raises(InvalidLayerError, match=r"'sparse'.*more than"):
        bring(sysroot, stream)
    assert nothing_is_left(sysroot)


def test_an_unknown_media_type(sysroot):
    with pytest.raises(UnknownMediaTypeError, match="text/plain"):
        bring(sysroot, b"", media_type="text/plain")


@pytest.mark.parametrize("stream", [b"no tar" * 500, tar_layer({"../evil": b"x"})])
def test_a_damaged_layer_is_read_on_so_that_its_source_can_speak(sysroot, stream):
    def chunks():
        yield stream
        yield b"more"
        raise DigestMismatchError("the blob has another digest")

    with pytest.raises(DigestMismatchError):
        stored_layer(sysroot, chunks(), media_type=OCI_LAYER, diff_id=Digest("sha256:" + "0" * 64))
    assert nothing_is_left(sysroot)


class FullDisk(Disk):
    """Refuses the write number `left`."""

    def __init__(self, left):
        self.left = left

    def _write(self, path, chunks, mode, *, sync):
        self.left -= 1
        if self.left < 0:
            raise NoSpaceError(f"cannot write {path}: full")
        super()._write(path, chunks, mode, sync=sync)

    def add_small_file(self, path, data, mode=0o400):
        self.add_file(Path(path), data, mode)


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_full_disk_leaves_no_layer(tmp_path, left):
    Sysroot.at(tmp_path).initialise()
    stream = tar_layer({"a": b"a" * 100, "b": b"b" * 100, "c": b"c" * (5 << 20)})
    with pytest.raises(NoSpaceError, match="cannot write"):
        bring(Sysroot.at(tmp_path, FullDisk(left)), stream)
    assert nothing_is_left(Sysroot.at(tmp_path))
    bring(Sysroot.at(tmp_path), stream)


def test_a_small_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "file"
    Disk().add_small_file(str(path), b"x" * 100_000)
    assert path.read_bytes() == b"x" * 100_000
    assert path.stat().st_mode & 0o777 == 0o400
    with pytest.raises(WriteFailedError, match="missing/file: No such file"):
        Disk().add_small_file(str(tmp_path / "missing/file"), b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteFailedError, match="folder: Is a directory"):
        Disk().add_small_file(str(tmp_path / "folder"), b"x")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]


LAYER = tar_layer({"a": b"a" * 100, "b": b"b" * (5 << 20), "c": b"c"})


@pytest.mark.parametrize("loss", ["killed", "torn", "lost"])
def test_the_power_may_go_at_any_step(tmp_path, loss):
    """A layer whose index is there has all its objects, whole."""
    whole = CutDisk(tmp_path / "limbo")
    Sysroot.at(tmp_path / "whole").initialise()
    bring(Sysroot.at(tmp_path / "whole", whole), LAYER)
    for cut in range(len(whole.steps) + 1):
        folder = tmp_path / f"cut{cut}"
        Sysroot.at(folder).initialise()
        disk = CutDisk(tmp_path / f"limbo{cut}", cut)
        try:
            bring(Sysroot.at(folder, disk), LAYER)
        except PowerCut:
            disk.lose(loss)
        after = Sysroot.at(folder)
        for diff_id in all_layers(after):
            for verity in layer_objects(after, diff_id):
                assert verity_digest(object_path(after, verity).read_bytes()) == verity
        assert cut < len(whole.steps) or all_layers(after) == [digest(LAYER)]


def plain(path):
    """The text of an index as format 1 had it, with the checksum of that."""
    head, _, packed = path.read_bytes().partition(b"\n")
    *lines, tail = gzip.decompress(packed).splitlines(keepends=True)
    text = b"".join([head.replace(b"bootd-layer 2", b"bootd-layer 1") + b"\n", *lines])
    counts = tail.rsplit(b" ", 1)[0]
    return text + counts + b" " + hashlib.sha256(text).hexdigest().encode() + b"\n"


def packed(text):
    """An index of which only the packing is of format 2."""
    head, _, lines = text.partition(b"\n")
    return head.replace(b"bootd-layer 1", b"bootd-layer 2") + b"\n" + gzip.compress(lines)


def test_an_index_is_packed_and_an_older_plain_one_is_read(sysroot):
    stream = tar_layer({f"usr/{number}": b"%d" % number * 100 for number in range(5000)})
    diff_id = bring(sysroot, stream).diff_id
    path = layer_path(sysroot, diff_id)
    found = [format_entry(one) for one in read_layer(sysroot, diff_id)]
    needed = layer_objects(sysroot, diff_id)
    text = plain(path)
    assert path.stat().st_size < len(text) / 2.5
    path.write_bytes(text)
    assert [format_entry(one) for one in read_layer(sysroot, diff_id)] == found
    assert layer_objects(sysroot, diff_id) == needed
    assert len(found) == len(needed) == 5000


@pytest.mark.parametrize("form", [lambda text: text, packed], ids=["plain", "packed"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: b"", id="empty"),  # noqa: ARG005
        pytest.param(lambda text: text[:-1], id="cut by a byte"),
        pytest.param(lambda text: text[: len(text) // 2], id="half"),
        pytest.param(lambda text: text.replace(b"/usr/b ", b"/usr/z "), id="altered"),
        pytest.param(lambda text: text + b"x", id="longer"),
        pytest.param(
            lambda text: text.replace(text.split(b"\n")[1] + b"\n", b""), id="a line less"
        ),
        pytest.param(lambda text: text.replace(b"bootd-layer", b"other-thing"), id="other"),
        pytest.param(lambda text: text.replace(b"sha256:", b"sha256:f", 1), id="another layer"),
    ],
)
def test_a_damaged_index_is_noticed(sysroot, damage, form):
    diff_id = bring(sysroot, tar_layer({"usr/a": b"a" * 100, "usr/b": b"b" * 100})).diff_id
    path = layer_path(sysroot, diff_id)
    path.write_bytes(form(damage(plain(path))))
    expect_damage(sysroot, diff_id)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1], id="cut by a byte"),
        pytest.param(lambda data: data[: len(data) // 2], id="half"),
        pytest.param(lambda data: data + b"x", id="longer"),
        pytest.param(lambda data: data.partition(b"\n")[0] + b"\n", id="head alone"),
        pytest.param(lambda data: data[:150] + bytes([data[150] ^ 1]) + data[151:], id="a bit"),
    ],
)
def test_damaged_packing_is_noticed(sysroot, damage):
    diff_id = bring(sysroot, tar_layer({"usr/a": b"a" * 100, "usr/b": b"b" * 100})).diff_id
    path = layer_path(sysroot, diff_id)
    path.write_bytes(damage(path.read_bytes()))
    expect_damage(sysroot, diff_id)


def expect_damage(sysroot, diff_id):
    with pytest.raises(DamagedRecordError, match=r"damaged|not a layer|index of|object"):
        list(read_layer(sysroot, diff_id))
    with pytest.raises(DamagedRecordError):
        layer_objects(sysroot, diff_id)


def test_an_index_from_the_future(sysroot):
    diff_id = bring(sysroot, tar_layer({"a": b"a"})).diff_id
    path = layer_path(sysroot, diff_id)
    path.write_bytes(path.read_bytes().replace(b"bootd-layer 2", b"bootd-layer 3"))
    with pytest.raises(UnknownFormatError, match="format 3"):
        list(read_layer(sysroot, diff_id))


def test_a_missing_index(sysroot):
    with pytest.raises(DamagedRecordError, match="missing"):
        list(read_layer(sysroot, Digest("sha256:" + "0" * 64)))


def test_a_stray_file_among_the_layers(sysroot):
    (sysroot.layers / "stray").touch()
    with pytest.raises(DamagedRecordError, match="stray"):
        all_layers(sysroot)
