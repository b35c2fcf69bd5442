"""Random account databases for properties: few names and few ids, so that they meet."""

from __future__ import annotations

from hypothesis import strategies as st

Databases = dict[str, bytes]

NAMES = [b"root", b"alice", b"bob", b"kea", b"redis"]
IDS = [b"0", b"7", b"8", b"999", b"1000"]
PASSWORDS = [b"*", b"!", b"!*", b"$y$a", b"!$y$a", b"$y$b"]
SHELLS = [b"/bin/sh", b"/bin/bash"]


@st.composite
def account_databases(draw: st.DrawFn, *, sound: bool = False) -> Databases:
    """All six databases; `sound`: as pwck(8) and grpck(8) want them, each user with its group."""
    groups = draw(st.lists(st.sampled_from(NAMES), unique=True))
    unique_ids = draw(st.permutations(IDS))
    group_ids = dict(zip(groups, unique_ids, strict=False))
    if not sound:
        group_ids = {name: draw(st.sampled_from(IDS)) for name in groups}
    users = draw(st.lists(st.sampled_from(NAMES), unique=True))
    if sound:
        users = users if groups else []
    user_ids = dict(zip(users, draw(st.permutations(IDS)), strict=False))
    if not sound:
        user_ids = {name: draw(st.sampled_from(IDS)) for name in users}
    known = list(group_ids.values()) if sound else IDS
    listed = users if sound else NAMES
    found = dict.fromkeys(("passwd", "group", "shadow", "gshadow", "subuid", "subgid"), b"")
    for name, number in user_ids.items():
        group = draw(st.sampled_from(known))
        shell = draw(st.sampled_from(SHELLS))
        found["passwd"] += b"%s:x:%s:%s::/:%s\n" % (name, number, group, shell)
        if sound or draw(st.booleans()):
            password = draw(st.sampled_from(PASSWORDS))
            day = draw(st.sampled_from([b"1", b"2"]))
            found["shadow"] += b"%s:%s:%s:0:99999:7:::\n" % (name, password, day)
        if draw(st.booleans()):
            start = draw(st.sampled_from([b"100000", b"165536"]))
            found["subuid"] += b"%s:%s:65536\n" % (name, start)
            found["subgid"] += b"%s:%s:65536\n" % (name, start)
    for name, number in group_ids.items():
        members = b",".join(
            draw(st.lists(st.sampled_from(listed), unique=True, max_size=2)) if listed else []
        )
        found["group"] += b"%s:x:%s:%s\n" % (name, number, members)
        if sound or draw(st.booleans()):
            found["gshadow"] += b"%s:%s::%s\n" % (
                name,
                draw(st.sampled_from([b"*", b"!"])),
                members,
            )
    return found


@st.composite
def three_databases(draw: st.DrawFn) -> tuple[Databases, Databases, Databases]:
    """Base, mine and theirs, of which the latter two are mostly what base is."""
    base = draw(account_databases())
    return base, draw(_edited(base)), draw(_edited(base))


@st.composite
def _edited(draw: st.DrawFn, base: Databases) -> Databases:
    other = draw(account_databases())
    return {name: _mixed(draw, base[name], other[name]) for name in base}


def _mixed(draw: st.DrawFn, old: bytes, new: bytes) -> bytes:
    kept = [line for line in old.splitlines(keepends=True) if draw(st.integers(0, 3))]
    names = {line.partition(b":")[0] for line in kept}
    added = [line for line in new.splitlines(keepends=True) if draw(st.booleans())]
    return b"".join(kept + [line for line in added if line.partition(b":")[0] not in names])
