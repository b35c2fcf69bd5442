"""What a merge of /etc must yield, worked out from the rules on flat lists of paths.

Written apart from `bootd.etc.rules.decide`, which walks trees: here every path first gets what it
would have if it stood alone, then what cannot stand there (below a file, without its folder) is
mended.
"""

from __future__ import annotations

import stat

from support.etc_trees import Flat

Value = tuple[object, ...]
CONTENT = slice(0, 2)
METADATA = slice(2, 6)
FOLDER, SPECIAL = stat.S_IFDIR, (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)


def expected_merge(base: Flat, mine: Flat, theirs: Flat) -> tuple[Flat, set[tuple[bytes, str]]]:
    """Return the merged tree, times aside, and the conflicts as (path, kind)."""
    mine = {
        path: value
        for path, value in mine.items()
        if value[0] not in SPECIAL
        or content(value) in (content(base.get(path)), content(theirs.get(path)))
    }
    want: dict[bytes, str] = {}
    conflicts: dict[bytes, str] = {}
    for path in base.keys() | mine.keys() | theirs.keys():
        b, m, t = (content(tree.get(path)) for tree in (base, mine, theirs))
        if m == b:
            want[path] = "theirs"
        else:
            want[path] = "mine"
            changed_there = t != b or (m is None and base[path][METADATA] != theirs[path][METADATA])
            if t != m and changed_there:
                conflicts[path] = kind(m, t)
    sides = {"mine": mine, "theirs": theirs}
    _mend(want, conflicts, base, sides)

    merged: Flat = {}
    found = set(conflicts.items())
    for path, side in want.items():
        value = sides[side].get(path)
        if value is not None:
            dress, clash = metadata(value[0], base.get(path), mine.get(path), theirs.get(path))
            merged[path] = (*value[CONTENT], *dress, None)
            if clash:
                found.add((path, "metadata"))
    return merged, found


def _mend(
    want: dict[bytes, str], conflicts: dict[bytes, str], base: Flat, sides: dict[str, Flat]
) -> None:
    mine, theirs = sides["mine"], sides["theirs"]
    for path in sorted(want):
        if path not in want:
            continue
        value = mine.get(path)
        below = [other for other in want if other.startswith(path + b"/")] if path else []
        if value is not None and value[0] != FOLDER and want[path] == "mine":
            # A leaf of mine stands: nothing is below it, and what theirs did there is one clash.
            was_folder = is_folder(base.get(path)) and is_folder(theirs.get(path))
            if was_folder and any(
                base.get(p, ())[:6] != theirs.get(p, ())[:6] for p in [path, *below]
            ):
                conflicts[path] = "type"
            _drop(below, want, conflicts)
        elif value is None and want[path] == "mine" and not is_folder(base.get(path)):
            # Not a folder that was deleted here: what theirs has below does not bring it back.
            _drop(below, want, conflicts)
    _keep_what_holds(want, conflicts, sides)


def _keep_what_holds(
    want: dict[bytes, str], conflicts: dict[bytes, str], sides: dict[str, Flat]
) -> None:
    """Where something is to stand below a path, let a folder stand there."""
    mine, theirs = sides["mine"], sides["theirs"]
    for path in sorted(want, reverse=True):
        stands = sides[want[path]].get(path)
        left = [
            other
            for other in want
            if other.startswith(path + b"/") and sides[want[other]].get(other) is not None
        ]
        if path and left and not is_folder(stands):
            if is_folder(mine.get(path)):
                # It stays whole: all of mine below, and one question for all of it.
                below = [other for other in want if other.startswith(path + b"/")]
                _drop(below, want, conflicts)
                want |= {other: "mine" for other in mine if other.startswith(path + b"/")}
                want[path] = "mine"
                conflicts[path] = kind(mine.get(path), theirs.get(path))
            else:
                want[path] = "theirs"
                conflicts.pop(path, None)


def _drop(below: list[bytes], want: dict[bytes, str], conflicts: dict[bytes, str]) -> None:
    for path in below:
        want.pop(path, None)
        conflicts.pop(path, None)


def metadata(
    kind_: object, base: Value | None, mine: Value | None, theirs: Value | None
) -> tuple[Value, bool]:
    b, m, t = (
        value[METADATA] if value is not None and value[0] == kind_ else None
        for value in (base, mine, theirs)
    )
    if m is None or t is None:
        only = t if m is None else m
        assert only is not None
        return only, False
    if m in (t, b):
        return t, False
    return m, t != b


def kind(mine: Value | None, theirs: Value | None) -> str:
    if mine is None:
        return "deleted-here"
    if theirs is None:
        return "deleted-there"
    return "content" if mine[0] == theirs[0] else "type"


def content(value: Value | None) -> Value | None:
    return None if value is None else value[CONTENT]


def is_folder(value: Value | None) -> bool:
    return value is not None and value[0] == FOLDER
