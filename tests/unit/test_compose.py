"""Layers to a tree: the rules one by one, and random layers against a slow model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.effort import heavy

from bootd.model.errors import InvalidLayerError, InvalidTreeError
from bootd.model.tree import Directory, Metadata, RegularFile, SpecialFile, Symlink, lookup, walk
from bootd.store.compose import apply_layer
from bootd.store.images.dumpfile import DumpEntry
from bootd.store.images.host_layout import MOUNT_POINTS, to_host_layout

FIFO = 0o010000


def folder(path, **metadata):
    return DumpEntry(path, Directory(Metadata(**metadata)))


def file(path, content=b"", **metadata):
    return DumpEntry(path, RegularFile(Metadata(**metadata), len(content), content))


def symlink(path, target):
    return DumpEntry(path, Symlink(Metadata(), target))


def hard(path, target):
    return DumpEntry(path, None, target)


def compose(layers):
    root = Directory(Metadata())
    for layer in layers:
        apply_layer(root, list(layer))
    return root


def seen(root):
    """The tree as path → what a person sees."""
    found = {}
    for path, node in walk(root):
        match node:
            case Directory():
                found[path] = "folder"
            case RegularFile(content=content):
                found[path] = content
            case Symlink(target=target):
                found[path] = ("link", target)
    return found


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        pytest.param([], {}, id="no layer"),
        pytest.param([[]], {}, id="an empty layer"),
        pytest.param(
            [[file(b"/a/b/c", b"1")]],
            {b"a": "folder", b"a/b": "folder", b"a/b/c": b"1"},
            id="missing parents",
        ),
        pytest.param([[file(b"/a", b"1")], [file(b"/a", b"2")]], {b"a": b"2"}, id="file over file"),
        pytest.param(
            [[file(b"/a/b", b"1")], [file(b"/a", b"2")]], {b"a": b"2"}, id="file over folder"
        ),
        pytest.param(
            [[file(b"/a", b"1")], [folder(b"/a")]], {b"a": "folder"}, id="folder over file"
        ),
        pytest.param(
            [[file(b"/a/b", b"1")], [folder(b"/a"), file(b"/a/c", b"2")]],
            {b"a": "folder", b"a/b": b"1", b"a/c": b"2"},
            id="folder over folder",
        ),
        pytest.param(
            [[file(b"/a/b", b"1")], [symlink(b"/a", b"x")]],
            {b"a": ("link", b"x")},
            id="link over folder",
        ),
        pytest.param(
            [[symlink(b"/a", b"b"), folder(b"/b")], [folder(b"/a")]],
            {b"a": "folder", b"b": "folder"},
            id="folder over link",
        ),
        pytest.param([[file(b"/a", b"1"), file(b"/a", b"2")]], {b"a": b"2"}, id="the last wins"),
        pytest.param([[file(b"/a")], [file(b"/.wh.a")]], {}, id="whiteout"),
        pytest.param([[file(b"/a/b")], [file(b"/.wh.a")]], {}, id="whiteout of a folder"),
        pytest.param([[], [file(b"/.wh.a")]], {}, id="whiteout of nothing that is there"),
        pytest.param([[], [file(b"/x/y/.wh.a")]], {}, id="whiteout in no folder"),
        pytest.param(
            [[file(b"/a", b"1")], [file(b"/.wh.a"), file(b"/a", b"2")]],
            {b"a": b"2"},
            id="whiteout and the same name after it",
        ),
        pytest.param(
            [[file(b"/a", b"1")], [file(b"/a", b"2"), file(b"/.wh.a")]],
            {b"a": b"2"},
            id="whiteout and the same name before it",
        ),
        pytest.param(
            [[file(b"/a/x"), file(b"/a/y")], [file(b"/.wh.a"), folder(b"/a"), file(b"/a/z")]],
            {b"a": "folder", b"a/z": b""},
            id="a folder made anew",
        ),
        pytest.param(
            [[file(b"/a/x")], [folder(b"/a"), file(b"/a/y"), file(b"/a/.wh..wh..opq")]],
            {b"a": "folder", b"a/y": b""},
            id="opaque, last in its layer",
        ),
        pytest.param(
            [[file(b"/a/x")], [file(b"/a/.wh..wh..opq"), file(b"/a/y")], [file(b"/a/z")]],
            {b"a": "folder", b"a/y": b"", b"a/z": b""},
            id="opaque hides lower layers only",
        ),
        pytest.param([[file(b"/a/x")], [file(b"/.wh..wh..opq")]], {}, id="opaque root"),
        pytest.param([[], [file(b"/a/.wh..wh..opq")]], {}, id="opaque in no folder"),
        pytest.param(
            [[file(b"/a")], [file(b"/.wh..wh.plnk/1.2"), file(b"/.wh..wh.aufs")]],
            {b"a": b""},
            id="records of AUFS",
        ),
        pytest.param(
            [[file(b"/a"), file(b"/b")], [folder(b"/.wh.a"), file(b"/.wh.a/.wh.b/c", b"1")]],
            {b".wh.a": "folder", b".wh.a/.wh.b": "folder", b".wh.a/.wh.b/c": b"1", b"b": b""},
            id="a file in folders that are named like whiteouts",
        ),
        pytest.param(
            [[file(b"/usr/lib/x"), symlink(b"/lib", b"usr/lib")], [file(b"/lib/y")]],
            {
                b"lib": ("link", b"usr/lib"),
                b"usr": "folder",
                b"usr/lib": "folder",
                b"usr/lib/x": b"",
                b"usr/lib/y": b"",
            },
            id="through a link of a lower layer",
        ),
        pytest.param(
            [[file(b"/usr/lib/x"), symlink(b"/lib", b"usr/lib")], [file(b"/lib/.wh.x")]],
            {b"lib": ("link", b"usr/lib"), b"usr": "folder", b"usr/lib": "folder"},
            id="whiteout through a link of a lower layer",
        ),
        pytest.param(
            [[symlink(b"/a", b"../../../b/./c"), symlink(b"/b", b"/d")], [file(b"/a/x")]],
            {
                b"a": ("link", b"../../../b/./c"),
                b"b": ("link", b"/d"),
                b"d": "folder",
                b"d/c": "folder",
                b"d/c/x": b"",
            },
            id="links never leave the root, and what they lack is made",
        ),
        pytest.param(
            [[folder(b"/u/v"), symlink(b"/u/w", b"v/../v/..")], [file(b"/u/w/x")]],
            {b"u": "folder", b"u/v": "folder", b"u/w": ("link", b"v/../v/.."), b"u/x": b""},
            id="a link that climbs within",
        ),
        pytest.param(
            [[folder(b"/usr/lib"), symlink(b"/lib", b"usr/lib"), file(b"/lib/x", b"1")]],
            {
                b"lib": ("link", b"usr/lib"),
                b"usr": "folder",
                b"usr/lib": "folder",
                b"usr/lib/x": b"1",
            },
            id="through a link of the same layer",
        ),
        pytest.param(
            [[folder(b"/usr/lib")], [symlink(b"/lib", b"/usr/lib"), file(b"/lib/a/b/x", b"1")]],
            {
                b"lib": ("link", b"/usr/lib"),
                b"usr": "folder",
                b"usr/lib": "folder",
                b"usr/lib/a": "folder",
                b"usr/lib/a/b": "folder",
                b"usr/lib/a/b/x": b"1",
            },
            id="missing parents behind an absolute link of the same layer",
        ),
        pytest.param(
            [[symlink(b"/a", b"b"), symlink(b"/b", b"c"), folder(b"/c"), file(b"/a/x")]],
            {b"a": ("link", b"b"), b"b": ("link", b"c"), b"c": "folder", b"c/x": b""},
            id="through two links of the same layer",
        ),
        pytest.param(
            [[file(b"/u/x", b"1"), symlink(b"/a", b"u"), hard(b"/b", b"/a/x")]],
            {b"a": ("link", b"u"), b"b": b"1", b"u": "folder", b"u/x": b"1"},
            id="hard link through a link of the same layer",
        ),
        pytest.param(
            [[folder(b"/c"), symlink(b"/a", b"c"), file(b"/a/x"), folder(b"/a"), file(b"/a/y")]],
            {b"a": "folder", b"a/y": b"", b"c": "folder", b"c/x": b""},
            id="a folder in the place of a link of the same layer",
        ),
        pytest.param(
            [[folder(b"/c"), symlink(b"/c/a", b"/"), file(b"/c/a/c", b"1"), file(b"/d")]],
            {b"c": b"1", b"d": b""},
            id="a file in the place of the folder that its link stands in",
        ),
        pytest.param(
            [[file(b"/u/x"), file(b"/u/y")], [symlink(b"/a", b"/u"), file(b"/a/.wh.x")]],
            {b"a": ("link", b"/u"), b"u": "folder", b"u/y": b""},
            id="whiteout through a link of the same layer",
        ),
        pytest.param(
            [[file(b"/u/x")], [symlink(b"/b/a", b"../u"), file(b"/b/a/.wh..wh..opq")]],
            {b"b": "folder", b"b/a": ("link", b"../u"), b"u": "folder"},
            id="opaque through a link of the same layer",
        ),
        pytest.param(
            [[file(b"/u/x")], [symlink(b"/a", b"a"), file(b"/a/.wh.x")]],
            {b"a": ("link", b"a"), b"u": "folder", b"u/x": b""},
            id="whiteout through a link to itself",
        ),
        pytest.param(
            [[file(b"/a", b"1")], [hard(b"/b", b"/a"), file(b"/.wh.a")]],
            {b"b": b"1"},
            id="hard link before the whiteout of its target",
        ),
        pytest.param(
            [[file(b"/a/x", b"1")], [hard(b"/b", b"/a/x"), file(b"/.wh.a")]],
            {b"b": b"1"},
            id="hard link before the whiteout of its target's folder",
        ),
        pytest.param(
            [
                [file(b"/a/x", b"1")],
                [hard(b"/a/b", b"/a/x"), file(b"/a/.wh..wh..opq"), file(b"/a/x", b"2")],
            ],
            {b"a": "folder", b"a/b": b"1", b"a/x": b"2"},
            id="hard link before an opaque mark, and its target anew",
        ),
        pytest.param(
            [[file(b"/a", b"1")], [file(b"/a", b"2"), hard(b"/b", b"/a"), file(b"/.wh.a")]],
            {b"a": b"2", b"b": b"2"},
            id="hard link to what its own layer brings, before a whiteout",
        ),
        pytest.param(
            [
                [
                    file(b"/.wh..wh.plnk/7.8", b"1"),
                    hard(b"/a", b"/.wh..wh.plnk/7.8"),
                    hard(b"/b", b"/.wh..wh.plnk/7.8"),
                ]
            ],
            {b"a": b"1", b"b": b"1"},
            id="hard links to a record of AUFS",
        ),
    ],
)
def test_rules(layers, expected):
    assert seen(compose(layers)) == expected


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        pytest.param(
            [[hard(b"/a", b"/b")]], "'/a' is a hard link to '/b', which is nothing", id="-"
        ),
        pytest.param([[hard(b"/a", b"/x/y/b")]], "is nothing", id="in no folder"),
        pytest.param([[folder(b"/b"), hard(b"/a", b"/b")]], "which is a folder", id="folder"),
        pytest.param(
            [[file(b"/b")], [file(b"/.wh.b"), hard(b"/a", b"/b")]], "is nothing", id="hidden"
        ),
        pytest.param(
            [[file(b"/b")], [hard(b"/c", b"/b"), file(b"/.wh.b"), hard(b"/a", b"/b")]],
            "'/a' is a hard link to '/b', which is nothing",
            id="hidden after another link",
        ),
        pytest.param(
            [[symlink(b"/a", b"/etc"), file(b"/a/x")]],
            "'/a/x' goes through the symbolic link 'a'",
            id="own link to nothing",
        ),
        pytest.param(
            [[folder(b"/b"), symlink(b"/a", b"b")], [symlink(b"/b", b"c"), file(b"/a/x")]],
            "through the symbolic link 'b'",
            id="own link to nothing behind a lower one",
        ),
        pytest.param(
            [[symlink(b"/a", b"b"), symlink(b"/b", b"a")], [file(b"/a/x")]],
            "through the symbolic link",
            id="a loop",
        ),
        pytest.param(
            [[symlink(b"/a", b"../etc"), hard(b"/b", b"/a/x")]],
            "through the symbolic link",
            id="hard link through an own link to nothing",
        ),
        pytest.param(
            [[folder(b"/c"), symlink(b"/a", b"c/d"), symlink(b"/e", b"/a"), file(b"/e/x")]],
            "through the symbolic link 'e'",
            id="own link to an own link to nothing",
        ),
        pytest.param(
            [[file(b"/c"), symlink(b"/a", b"c"), file(b"/a/x")]],
            "through the symbolic link 'a'",
            id="own link to a file",
        ),
        pytest.param(
            [[folder(b"/c"), file(b"/c/d"), symlink(b"/a", b"c"), file(b"/a/d/x")]],
            "lies below something",
            id="below a file behind an own link",
        ),
        pytest.param(
            [[hard(b"/a", b"/.wh..wh.plnk/7.8")]], "is nothing", id="no such record of AUFS"
        ),
        pytest.param(
            [
                [symlink(b"/a", b"b/../" * 800 + b"b"), symlink(b"/b", b"a/" * 20 + b"c")],
                [file(b"/a/x")],
            ],
            "through the symbolic link.*with 8192 names",
            id="links with very many names",
        ),
        pytest.param([[file(b"/a"), file(b"/a/b")]], "'/a/b' lies below", id="below a file"),
        pytest.param([[file(b"/a")], [file(b"/a/b")]], "lies below", id="below a lower file"),
        pytest.param([[file(b"/.wh.")]], "whiteout of nothing", id="empty whiteout"),
        pytest.param([[file(b"/a/.wh...")]], "whiteout of nothing", id="whiteout of .."),
        pytest.param([[file(b"/a/.wh..")]], "whiteout of nothing", id="whiteout of ."),
    ],
)
def test_what_cannot_be_applied(layers, words):
    with pytest.raises(InvalidLayerError, match=words):
        compose(layers)


def test_whiteouts_follow_a_number_of_links_of_their_layer(monkeypatch):
    monkeypatch.setattr("bootd.store.compose._FOLLOWED_LIMIT", 80)
    layer = [symlink(b"/a", b"b"), symlink(b"/b", b"a"), file(b"/a/.wh.x"), file(b"/a/.wh.y")]
    compose([layer])
    with pytest.raises(InvalidLayerError, match=r"'/a/.wh.z'.*more than 80 symbolic links"):
        compose([[*layer, file(b"/a/.wh.z")]])


def test_metadata_of_folders():
    root = compose(
        [
            [
                folder(b"/", uid=9),
                folder(b"/a", permissions=0o700, uid=1, xattrs={b"user.x": b"1"}),
            ],
            [folder(b"/a", permissions=0o755, uid=2), file(b"/b/c")],
        ]
    )
    a, b = root.entries[b"a"].metadata, root.entries[b"b"].metadata
    assert (root.metadata.uid, a.uid, a.permissions, a.xattrs) == (9, 2, 0o755, {})
    assert (b.uid, b.gid, b.permissions, b.mtime_seconds) == (0, 0, 0o755, 0)


def test_hard_links_share_a_node_within_and_across_layers():
    root = compose(
        [
            [file(b"/a", b"1"), hard(b"/b", b"/a"), symlink(b"/s", b"x"), hard(b"/t", b"/s")],
            [hard(b"/c", b"/a")],
            [file(b"/.wh.a"), file(b"/b", b"2"), hard(b"/d", b"/c")],
        ]
    )
    entries = root.entries
    assert entries[b"s"] is entries[b"t"]
    assert entries[b"c"] is entries[b"d"]
    assert (entries[b"c"].content, entries[b"b"].content) == (b"1", b"2")
    assert b"a" not in entries


NAMES = st.sampled_from([b"a", b"b", b"c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: b"/" + b"/".join(names))


@st.composite
def layer(draw):
    entries = []
    for number in range(draw(st.integers(0, 7))):
        path = draw(PATHS)
        before, _, name = path.rpartition(b"/")
        match draw(st.sampled_from(["file", "folder", "fifo", "hard", "whiteout", "opaque"])):
            case "file":
                entries.append(file(path, b"%d" % number))
            case "folder":
                entries.append(folder(path, uid=number))
            case "fifo":
                entries.append(DumpEntry(path, SpecialFile(Metadata(uid=number), FIFO)))
            case "hard":
                entries.append(hard(path, draw(PATHS)))
            case "whiteout":
                entries.append(file(before + b"/.wh." + name))
            case "opaque":
                entries.append(file(before + b"/.wh..wh..opq"))
    return entries


class ModelError(Exception):
    pass


def model(layers):
    """Path → node, as if each layer were unpacked over the last with shell commands."""
    tree = {}
    for entries in layers:
        hidden = {}
        for entry in entries:
            before, _, name = entry.path.rpartition(b"/")
            if entry.target is not None:
                hidden[id(entry)] = tree.get(entry.target)
            elif name == b".wh..wh..opq":
                remove_below(tree, before)
            elif name.startswith(b".wh."):
                remove(tree, before + b"/" + name[4:])
        for entry in entries:
            if b"/.wh." not in entry.path:
                extract(tree, entry, hidden)
    return tree


def remove_below(tree, path):
    if path and not isinstance(tree.get(path), Directory):
        return
    for other in [other for other in tree if other.startswith(path + b"/")]:
        del tree[other]


def remove(tree, path):
    remove_below(tree, path)
    tree.pop(path, None)


def extract(tree, entry, hidden):
    parts = entry.path.split(b"/")[1:-1]
    for count in range(1, len(parts) + 1):
        parent = b"/" + b"/".join(parts[:count])
        if parent not in tree:
            tree[parent] = Directory(Metadata())
        if not isinstance(tree[parent], Directory):
            raise ModelError
    node = entry.node
    if entry.target is not None:
        node = tree.get(entry.target) or hidden.get(id(entry))
        if node is None or isinstance(node, Directory):
            raise ModelError
        remove(tree, entry.path)
        tree[entry.path] = node
    elif isinstance(node, Directory) and isinstance(tree.get(entry.path), Directory):
        tree[entry.path] = Directory(node.metadata)
    else:
        remove(tree, entry.path)
        tree[entry.path] = Directory(node.metadata) if isinstance(node, Directory) else node


@heavy(50, full=5_000)
@given(st.lists(layer(), max_size=4))
def test_random_layers_agree_with_the_model(layers):
    try:
        expected = model(layers)
    except ModelError:
        with pytest.raises(InvalidLayerError):
            compose(layers)
        return
    found = {b"/" + path: node for path, node in walk(compose(layers))}
    assert found.keys() == expected.keys()
    for path, node in expected.items():
        if isinstance(node, Directory):
            assert isinstance(found[path], Directory)
            assert found[path].metadata == node.metadata
        else:
            assert found[path] is node


def image_tree(*entries):
    return compose([[folder(b"/usr/lib"), *entries]])


def test_etc_becomes_usr_etc():
    root = image_tree(folder(b"/etc", permissions=0o711, uid=5), file(b"/etc/motd", b"hello"))
    laid = to_host_layout(root).root
    assert lookup(laid, b"usr/etc/motd").content == b"hello"
    assert lookup(laid, b"usr/etc").metadata.uid == 5
    assert lookup(laid, b"etc").entries == {}
    assert lookup(laid, b"etc").metadata.permissions == 0o711


def test_usr_etc_stays():
    laid = to_host_layout(image_tree(folder(b"/etc"), file(b"/usr/etc/motd", b"hello"))).root
    assert lookup(laid, b"usr/etc/motd").content == b"hello"
    assert lookup(laid, b"etc").entries == {}


def test_an_image_without_etc_has_empty_ones():
    laid = to_host_layout(image_tree()).root
    assert lookup(laid, b"usr/etc").entries == lookup(laid, b"etc").entries == {}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([file(b"/etc/a"), file(b"/usr/etc/b")], "1 entries in /etc and 1 in /usr/etc"),
        ([symlink(b"/etc", b"usr/etc")], "/etc in the image is a Symlink"),
        ([symlink(b"/usr/etc", b"../etc")], "/usr/etc in the image is a Symlink"),
    ],
)
def test_trees_that_no_host_can_have(entries, words):
    with pytest.raises(InvalidTreeError, match=words):
        to_host_layout(image_tree(*entries))


def test_usr_must_be_a_folder():
    with pytest.raises(InvalidTreeError, match="/usr in the image is a RegularFile"):
        to_host_layout(compose([[file(b"/usr")]]))


def test_mount_points_are_empty_and_keep_what_the_image_says_of_them():
    root = image_tree(
        folder(b"/tmp", permissions=0o1777, mtime_seconds=7),
        file(b"/tmp/x"),
        file(b"/boot/vmlinuz"),
        file(b"/dev/null"),
        symlink(b"/run", b"var/run"),
        file(b"/opt/kept"),
    )
    laid = to_host_layout(root).root
    for name in MOUNT_POINTS:
        assert isinstance(laid.entries[name], Directory)
        assert not laid.entries[name].entries
    assert laid.entries[b"tmp"].metadata == Metadata(permissions=0o1777, mtime_seconds=7)
    assert laid.entries[b"run"].metadata == Metadata()
    assert lookup(laid, b"opt/kept") is not None


def test_tmp_is_sticky_where_the_image_has_none():
    assert to_host_layout(image_tree()).root.entries[b"tmp"].metadata.permissions == 0o1777


def test_var_is_handed_out_apart():
    layout = to_host_layout(image_tree(folder(b"/var", uid=3), file(b"/var/lib/seed", b"s")))
    assert lookup(layout.var, b"lib/seed").content == b"s"
    assert layout.var.metadata.uid == 3
    assert layout.root.entries[b"var"].entries == {}
    assert to_host_layout(image_tree()).var.entries == {}


def test_hard_links_into_an_ostree_repository_keep_their_content():
    stored = b"/sysroot/ostree/repo/objects/ab/cd.file"
    layout = to_host_layout(image_tree(file(stored, b"tool"), hard(b"/usr/bin/tool", stored)))
    assert lookup(layout.root, b"usr/bin/tool").content == b"tool"
    assert layout.root.entries[b"sysroot"].entries == {}
