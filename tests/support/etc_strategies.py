"""Random trees of /etc for properties: few names and few values, so that they meet."""

from __future__ import annotations

import os

from hypothesis import strategies as st

from bootd.model.tree import Directory, Node
from support.etc_trees import MemoryContents, fifo, folder, link

CONTENTS = MemoryContents()
MODES = st.sampled_from([0o644, 0o600, 0o4755])
TIMES = st.sampled_from([1_600_000_001, 1_600_000_002])
NAMES = st.sampled_from(["a", "b", "ü", os.fsdecode(b"\xff"), "..."])
XATTRS = st.sampled_from([{}, {b"user.x": b"1"}, {b"user.x": b"2", b"user.y": b""}])


@st.composite
def files(draw: st.DrawFn) -> Node:
    content = draw(st.sampled_from(["", "short", "SHORT", "long " * 40, "LONG " * 40]))
    return CONTENTS.file(content, draw(MODES), time=draw(TIMES), xattrs=draw(XATTRS))


@st.composite
def links(draw: st.DrawFn) -> Node:
    return link(draw(st.sampled_from(["a", "../outside", "/outside", "."])), time=draw(TIMES))


@st.composite
def fifos(draw: st.DrawFn) -> Node:
    return fifo(draw(MODES), time=draw(TIMES))


def folders(entries: st.SearchStrategy[Node]) -> st.SearchStrategy[Directory]:
    return st.builds(
        lambda children, mode, time, xattrs: folder(children, mode, time=time, xattrs=xattrs),
        st.dictionaries(NAMES, entries, max_size=4),
        st.sampled_from([0o755, 0o700, 0o2775]),
        TIMES,
        XATTRS,
    )


NODES = st.recursive(st.one_of(files(), links(), fifos()), folders, max_leaves=8)
TREES = folders(NODES)
