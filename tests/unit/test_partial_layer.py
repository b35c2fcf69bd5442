"""Layers with a table: only what the store lacks is asked for, and nothing wrong gets in."""

import base64
import random
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.chunked import estargz, zstd_chunked
from support.effort import heavy
from support.images import PackedLayer, compress, digest, entry, tar_layer
from support.power import CutDisk, PowerCut
from support.stored_layer import stored_layer
from support.tar_blocks import END, extended, header

from bootd.model.digest import Digest
from bootd.model.errors import DiffIdMismatchError, DigestMismatchError, InvalidLayerError
from bootd.model.hash_algorithm import SHA256, SHA512
from bootd.model.registry.image import Descriptor
from bootd.store.known_contents import ContentNotes, find_contents, was_verified
from bootd.store.layer_index import layer_lines, read_layer
from bootd.store.layers import all_layers, has_layer, layer_path
from bootd.store.objects.files import all_objects, object_path
from bootd.store.objects.measuring import measure
from bootd.store.partial_layer import import_partial_layer
from bootd.store.publishing import publish_layers
from bootd.store.table import plan, reading
from bootd.store.upkeep.collect import sweep
from bootd.sysroot import Sysroot

KIB = 1 << 10


def files(seed=0, **more):
    """A tree whose contents do not compress; of two seeds a few files differ."""
    common, own = random.Random(1), random.Random(seed)
    found = {"usr": None, "usr/large": common.randbytes(250 * KIB)}
    for number in range(60):
        size = common.choice([0, 10, 64, 65, 700, 9_000])
        content = common.randbytes(size)
        found[f"usr/file-{number}"] = own.randbytes(size) if number % 20 == 3 else content
    return found | {"usr/link": "large"} | more


def tar_of(contents):
    return tar_layer(contents)


OLD = tar_of(files(1))
NEW = tar_of(files(2, **{"usr/new": b"new" * 30, "usr/small": b"tiny"}))
FORMATS = {
    "zstd:chunked": zstd_chunked,
    "zstd:chunked without tar-split": lambda tar, **more: zstd_chunked(
        tar, with_tar_split=False, **more
    ),
}
VERIFIED = "zstd:chunked"
TRUSTED = "zstd:chunked without tar-split"


class Store:
    """A store, and the blob that a layer is fetched from; every byte asked for is counted."""

    def __init__(self, folder, disk=None, algorithm=SHA256):
        self.sysroot = Sysroot.at(folder, disk)
        self.sysroot.initialise(algorithm)
        self.spans = []

    @property
    def asked(self):
        return sum(span.size for span in self.spans)

    def whole(self, layer):
        return stored_layer(
            self.sysroot,
            [layer.blob],
            media_type=descriptor(layer).media_type,
            diff_id=Digest(digest(layer.tar)),
            note_contents=True,
        )

    def parts(self, layer, *, trust=False, diff_id=None):
        def fetch(span):
            self.spans.append(span)
            for place in range(span.start, span.end, 10_000):
                yield layer.blob[place : min(place + 10_000, span.end)]

        written = import_partial_layer(
            self.sysroot,
            descriptor(layer),
            diff_id or Digest(digest(layer.tar)),
            fetch,
            trust_tables=trust,
        )
        if written is not None:
            publish_layers(self.sysroot, [written])
        return written

    def lines(self, layer):
        found = layer_lines(self.sysroot, Digest(digest(layer.tar)))
        return b"".join(found).splitlines()


def descriptor(layer):
    return Descriptor(
        media_type=f"application/vnd.oci.image.layer.v1.tar+{layer.compression}",
        digest=Digest(digest(layer.blob)),
        size=len(layer.blob),
        annotations=dict(layer.annotations),
    )


@pytest.fixture
def store(tmp_path):
    """A store that has the old layer."""
    made = Store(tmp_path / "store")
    made.whole(zstd_chunked(OLD))
    return made


@pytest.fixture
def fresh(tmp_path):
    return Store(tmp_path / "fresh")


def objects_are_sound(sysroot):
    algorithm = sysroot.hash_algorithm()
    return all(
        measure(object_path(sysroot, verity), algorithm) == verity
        for verity in all_objects(sysroot)
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_a_partial_layer_is_the_layer(kind, store, fresh):
    layer = FORMATS[kind](NEW)
    assert store.parts(layer, trust=kind != VERIFIED) is not None
    fresh.whole(layer)
    assert store.lines(layer) == fresh.lines(layer)
    assert objects_are_sound(store.sysroot)
    assert set(all_objects(fresh.sysroot)) <= set(all_objects(store.sysroot))
    # Four files of 9 kB or less, the tables, and what is fetched in vain.
    assert store.asked < 0.25 * len(layer.blob)


@pytest.mark.parametrize("kind", FORMATS)
def test_of_the_same_content_nothing_but_the_table_is_asked_for(kind, store):
    layer = FORMATS[kind](tar_of(files(1) | {"usr/link": "elsewhere"}))
    assert store.parts(layer, trust=kind != VERIFIED) is not None
    assert len(store.spans) == 1


@pytest.mark.parametrize("kind", FORMATS)
def test_contents_are_found_again_in_a_store_of_sha512(kind, tmp_path):
    store, layer = Store(tmp_path / "store", algorithm=SHA512), FORMATS[kind](NEW)
    store.whole(zstd_chunked(OLD))
    assert store.parts(layer, trust=kind != VERIFIED) is not None
    assert {len(verity) for verity in all_objects(store.sysroot)} == {SHA512.digest_size}
    assert objects_are_sound(store.sysroot)
    assert store.asked < 0.25 * len(layer.blob)


@pytest.mark.parametrize("said", ["gzip", "zstd; charset=utf-8"])
def test_what_a_layer_is_called_does_not_matter(said, store, fresh):
    layer = zstd_chunked(NEW)
    called = PackedLayer(layer.tar, layer.blob, said, layer.annotations)
    assert store.parts(called) is not None
    fresh.whole(called)
    assert store.lines(layer) == fresh.lines(layer)
    assert store.asked < 0.25 * len(layer.blob)


def test_a_layer_that_came_in_parts_helps_the_next(store):
    assert store.parts(zstd_chunked(NEW)) is not None
    store.sysroot.disk.remove_file(store.sysroot.contents / digest(OLD))
    store.spans.clear()
    assert store.parts(zstd_chunked(NEW + bytes(512))) is not None
    assert len(store.spans) == 1


def test_whether_a_table_was_trusted_is_known(store):
    for number, (kind, make) in enumerate(FORMATS.items()):
        layer = make(tar_of(files(2, **{"usr/number": str(number).encode()})))
        assert store.parts(layer, trust=True) is not None
        assert was_verified(store.sysroot, Digest(digest(layer.tar))) == (kind == VERIFIED)
    assert was_verified(store.sysroot, Digest(digest(OLD)))
    gone = Digest("sha256:" + "0" * 64)
    assert was_verified(store.sysroot, gone)
    (store.sysroot.contents / gone).write_bytes(b"bootd-contents")
    assert not was_verified(store.sysroot, gone)


def test_a_table_vouches_only_where_that_is_set(store):
    assert store.parts(FORMATS[TRUSTED](NEW)) is None
    assert not store.spans


def test_tar_split_that_nothing_vouches_for_is_none(store):
    layer = zstd_chunked(NEW, edit=lambda table: table.pop("tarSplitDigest"))
    assert store.parts(layer) is None
    assert store.parts(layer, trust=True) is not None
    assert not was_verified(store.sysroot, Digest(digest(NEW)))


@pytest.mark.parametrize(
    "why", ["nothing is in the store", "no table", "small", "nothing in common", "a larger table"]
)
def test_the_whole_blob_is_cheaper(why, store, fresh):
    layer, at, requests = zstd_chunked(NEW), store, 0
    match why:
        case "nothing is in the store":
            at, requests = fresh, 1
        case "no table":
            layer = PackedLayer(NEW, compress(NEW, "zstd"), "zstd")
        case "small":
            layer = zstd_chunked(tar_layer({"a": b"b" * 100}))
        case "nothing in common":
            rng = random.Random(9)
            others = {f"o{n}": rng.randbytes(20_000) for n in range(20)}
            layer, requests = zstd_chunked(tar_layer(others)), 1
        case "a larger table":
            layer = zstd_chunked(tar_layer({f"f{n}" * 20: b"" for n in range(3_000)}))
    assert at.parts(layer) is None
    assert len(at.spans) == requests
    assert not has_layer(at.sysroot, Digest(digest(layer.tar)))


def found(table, name):
    return next(one for one in table["entries"] if one["name"] == name)


def swap_digests(table):
    """Say that two files, one known and one not, have each other's content."""
    one = found(table, "usr/new")
    other = next(entry for entry in table["entries"] if entry.get("size") == 700)
    one["digest"], other["digest"] = other["digest"], one["digest"]


def claim_known(table):
    """Say that a new file is one of the same size that the store has."""
    known, new = found(table, "usr/large"), found(table, "usr/other")
    assert known["size"] == new["size"]
    new["digest"] = known["digest"]


def change(name, /, **what):
    def edit(table):
        found(table, name).update(what)

    return edit


LIES = {
    "swapped digests": (swap_digests, (InvalidLayerError, DigestMismatchError)),
    "a digest of nothing": (
        change("usr/new", digest="sha256:" + "0" * 64),
        (DigestMismatchError,),
    ),
    "a wrong size": (change("usr/new", size=91), (InvalidLayerError,)),
    "a smaller size": (change("usr/new", size=89), (InvalidLayerError, DigestMismatchError)),
    "a wrong place": (change("usr/new", offset=5), (InvalidLayerError,)),
    "no place": (change("usr/new", offset="x"), (InvalidLayerError,)),
    "beyond the blob": (change("usr/new", endOffset=1 << 50), (InvalidLayerError,)),
    "an end too soon": (
        lambda table: found(table, "usr/new").update(
            endOffset=found(table, "usr/new")["offset"] + 1
        ),
        (InvalidLayerError,),
    ),
    "no such version": (lambda table: table.update(version=2), (InvalidLayerError,)),
    "no entries": (lambda table: table.pop("entries"), (InvalidLayerError,)),
    "a missing entry": (
        lambda table: table["entries"].remove(found(table, "usr/large")),
        (InvalidLayerError,),
    ),
    "no tar-split of that digest": (
        lambda table: table.update(tarSplitDigest="sha256:" + "0" * 64),
        (DigestMismatchError,),
    ),
    "no digest of tar-split": (lambda table: table.update(tarSplitDigest=5), (InvalidLayerError,)),
}


def nothing_got_in(store):
    return (
        all_layers(store.sysroot) == [digest(OLD)]
        and objects_are_sound(store.sysroot)
        and not [path for path in store.sysroot.layers.iterdir() if path.name.startswith(".")]
    )


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_table_gives_no_layer(lie, store):
    edit, errors = LIES[lie]
    with pytest.raises(errors):
        store.parts(zstd_chunked(NEW, edit=edit))
    assert nothing_got_in(store)


def test_a_table_that_passes_off_a_known_file_gives_no_layer(store):
    """Every digest in the table is right by itself; only the diff ID tells."""
    tar = tar_of(files(2, **{"usr/other": random.Random(7).randbytes(250 * KIB)}))
    with pytest.raises(DiffIdMismatchError):
        store.parts(zstd_chunked(tar, edit=claim_known))
    assert nothing_got_in(store)


def merge_into_segment(records):
    """Put a content into a segment, so that files and contents are out of step."""
    place = next(n for n, one in enumerate(records) if one.get("size"))
    del records[place]


def drop_last(records):
    del records[-1]


def grow(records):
    next(one for one in records if one.get("size"))["size"] += 1


@pytest.mark.parametrize("edit", [merge_into_segment, drop_last, grow])
def test_lying_tar_split_gives_no_layer(edit, store):
    with pytest.raises((DiffIdMismatchError, InvalidLayerError)):
        store.parts(zstd_chunked(NEW, edit_tar_split=edit))
    assert nothing_got_in(store)


@pytest.mark.parametrize(
    "edit",
    [
        change("usr/new", digest="sha256:" + "0" * 64),
        change("usr/new", name="../new"),
        change("usr/new", type="door"),
        change("usr/new", name="b\ufffd"),
        change("usr/new", innerOffset=1),
    ],
)
def test_a_trusted_table_is_no_licence(edit, store):
    with pytest.raises((DigestMismatchError, InvalidLayerError)):
        store.parts(FORMATS[TRUSTED](NEW, edit=edit), trust=True)
    assert nothing_got_in(store)


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        *((kind, place) for kind in FORMATS for place in ("table", "content", "footer")),
        (VERIFIED, "tar-split"),
    ],
)
def test_damaged_bytes_give_no_layer(kind, place, store):
    layer = FORMATS[kind](NEW)
    blob = bytearray(layer.blob)
    at = {
        "table": _table_start(layer) + 20,
        "tar-split": len(blob) - 200,
        "footer": len(blob) - 30,
        "content": _place_of_new() + 12,
    }[place]
    blob[at] ^= 0xFF
    damaged = PackedLayer(layer.tar, bytes(blob), layer.compression, layer.annotations)
    if place == "footer":
        # The annotations say what it says, and they are vouched for.
        assert store.parts(damaged, trust=True) is not None
        return
    with pytest.raises((DigestMismatchError, InvalidLayerError)):
        store.parts(damaged, trust=True)
    assert nothing_got_in(store)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_a_table_unpacks_to_has_a_bound(kind, store, monkeypatch):
    monkeypatch.setattr(reading, "UNPACKED_LIMIT", 10_000)
    with pytest.raises(InvalidLayerError, match="more than 10000 bytes"):
        store.parts(FORMATS[kind](NEW), trust=True)
    assert nothing_got_in(store)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_the_files_of_a_table_come_to_has_a_bound(kind, store):
    edit = change("usr/new", size=65 << 30)
    with pytest.raises(InvalidLayerError, match="tells of more than"):
        store.parts(FORMATS[kind](NEW, edit=edit), trust=True)
    assert nothing_got_in(store)


HOLES = extended((b"GNU.sparse.size", b"%d" % (1 << 62)), (b"GNU.sparse.map", b"0,0"))
"""Stands before a file that is empty in the stream, and large for who reads it."""


def test_files_with_holes_have_a_bound(store):
    def add(records):
        end = base64.b64decode(records[-1]["payload"])
        padding = bytes(len(end) % 512)
        stream = padding + HOLES + header(b"usr/holes") + END
        records[-1]["payload"] = base64.b64encode(stream).decode()

    with pytest.raises(InvalidLayerError, match="brings a layer to more than"):
        store.parts(zstd_chunked(NEW, edit_tar_split=add))
    assert nothing_got_in(store)


def test_an_estargz_layer_is_a_gzip_layer(store, fresh):
    """Nothing but trust could stand for its table, so it is not even asked for."""
    layer = estargz(NEW)
    assert store.parts(layer, trust=True) is None
    assert not store.spans
    store.whole(layer)
    fresh.whole(PackedLayer(layer.tar, compress(layer.tar, "gzip"), "gzip"))
    assert store.lines(layer) == fresh.lines(layer)


def test_another_layer_is_told_by_its_diff_id(store):
    with pytest.raises(DiffIdMismatchError):
        store.parts(zstd_chunked(NEW), diff_id=Digest("sha256:" + "0" * 64))


def test_a_damaged_object_gives_no_layer(store):
    layer = zstd_chunked(NEW)
    files_of_old = read_layer(store.sysroot, Digest(digest(OLD)))
    file = next(one.node for one in files_of_old if getattr(one.node, "size", 0) == 9_000)
    path = object_path(store.sysroot, file.verity)
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(b"x" + content[1:])
    with pytest.raises(DiffIdMismatchError):
        store.parts(layer)
    # One of another size is not even read, nor one that is gone.
    store.spans.clear()
    path.write_bytes(content[1:])
    assert store.parts(layer) is not None
    assert store.asked > 9_000


@pytest.mark.parametrize("damage", ["cut", "altered", "renamed", "empty", "huge"])
def test_damaged_notes_count_for_nothing(damage, store, monkeypatch):
    path = store.sysroot.contents / digest(OLD)
    data = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(data[:-50])
        case "altered":
            path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
        case "renamed":
            path.rename(path.with_name("sha256:" + "0" * 64))
        case "empty":
            path.write_bytes(b"")
        case "huge":
            monkeypatch.setattr("bootd.store.known_contents._FILE_LIMIT", 10)
    assert store.parts(zstd_chunked(NEW)) is None
    assert len(store.spans) == 1


def test_collecting_a_layer_collects_its_notes(store):
    (store.sysroot.contents / ".new-1-sha256:0").write_bytes(b"left by an import")
    sweep(store.sysroot, [], lambda: None)
    assert not list(store.sysroot.contents.iterdir())


def test_notes_are_of_each_content_once(fresh):
    notes = ContentNotes(SHA256)
    for _ in range(2):
        notes.add(b"a" * 32, b"b" * 32)
        notes.add_small(b"tiny")
    diff_id = Digest("sha256:" + "0" * 64)
    notes.write(fresh.sysroot, diff_id, verified=True)
    size = (fresh.sysroot.contents / diff_id).stat().st_size
    wanted = [b"a" * 32, bytes.fromhex(digest(b"tiny").partition(":")[2]), b"c" * 32]
    assert find_contents(fresh.sysroot, wanted) == {wanted[0]: b"b" * 32, wanted[1]: b"tiny"}
    assert size < 400


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_is_published_before_it_is_durable(kind, tmp_path):
    layer = FORMATS[kind](NEW)

    def run(folder, cut):
        disk = CutDisk(folder / "limbo", cut)
        made = Store(folder / "store")
        made.whole(zstd_chunked(OLD))
        cutting = Store.__new__(Store)
        cutting.sysroot, cutting.spans = Sysroot.at(folder / "store", disk), []
        try:
            cutting.parts(layer, trust=True)
        except PowerCut:
            disk.lose("torn")
        return made, disk

    _, whole = run(tmp_path / "whole", None)
    assert "sync" in " ".join(whole.steps)
    # Objects are many and all alike: cut at some of them, and at all that follows.
    last = len(whole.steps)
    for cut in [*range(0, last - 6, 5), *range(last - 6, last)]:
        made, _ = run(tmp_path / str(cut), cut)
        if has_layer(made.sysroot, Digest(digest(layer.tar))):
            assert objects_are_sound(made.sysroot)
            assert find_contents(made.sysroot, [bytes.fromhex(digest(b"new" * 30)[7:])])


NAMES = st.text(
    # A name has at most 255 bytes, and a letter at most four. U+FFFD in a table stands for what its
    # writer lost, so a layer with such a name is fetched whole.
    st.characters(exclude_characters="/\0\ufffd", exclude_categories=["Cs"]),
    min_size=1,
    max_size=63,
)
CONTENTS = st.one_of(
    st.binary(max_size=70), st.integers(0, 5).map(lambda seed: random.Random(seed).randbytes(9_000))
)


@given(
    st.dictionaries(NAMES.filter(lambda n: n not in (".", "..")), CONTENTS, max_size=8),
    st.dictionaries(NAMES.filter(lambda n: n not in (".", "..")), CONTENTS, max_size=8),
    st.sampled_from(sorted(FORMATS)),
)
@heavy(8, full=1_000)
def test_any_layer_is_the_same_in_parts(tmp_path_factory, old, new, kind):
    folder = tmp_path_factory.mktemp("any")
    ballast = {"ballast": random.Random(0).randbytes(200_000)}
    at, whole = Store(folder / "at"), Store(folder / "whole")
    at.whole(zstd_chunked(tar_of(old | ballast)))
    layer = FORMATS[kind](tar_of(new | ballast))
    if at.parts(layer, trust=True) is None:
        assert not plan.is_worthwhile(at.spans[1:], len(layer.blob))
        return
    whole.whole(layer)
    assert at.lines(layer) == whole.lines(layer)
    assert objects_are_sound(at.sysroot)


def _table_start(layer):
    key = next(key for key in layer.annotations if key.endswith("manifest-position"))
    return int(layer.annotations[key].partition(":")[0])


def _place_of_new():
    places = []
    zstd_chunked(
        NEW,
        edit=lambda table: places.extend(
            one["offset"] for one in table["entries"] if one["name"] == "usr/new"
        ),
    )
    return places[0]


def test_extended_attributes_and_devices_survive(store, fresh):
    tar = tar_layer(
        [
            (entry("usr", tarfile.DIRTYPE, mode=0o700), b""),
            (entry("usr/large", xattrs={"user.x": "y"}), random.Random(1).randbytes(250 * KIB)),
            (entry("usr/fifo", tarfile.FIFOTYPE), b""),
            (entry("usr/.wh.gone"), b""),
        ]
    )
    for kind, make in FORMATS.items():
        layer = make(tar + bytes(512))
        if has_layer(store.sysroot, Digest(digest(layer.tar))):
            store.sysroot.disk.remove_file(layer_path(store.sysroot, Digest(digest(layer.tar))))
        assert store.parts(layer, trust=True) is not None, kind
        fresh.whole(layer)
        assert store.lines(layer) == fresh.lines(layer), kind
