"""Lines that somebody added to an entry: which go along, where they stand, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.boot_tree import KERNEL_DIGEST, boot_entry

from bootd.boot.entry import BootEntry, parse_entry, render_entry
from bootd.boot.entry_lines import LEFT_OUT, carry_lines

NEW_KERNEL = "cd" * 32
MAIN = f"/bootd/{KERNEL_DIGEST}/initrd"
NEW_MAIN = f"/bootd/{NEW_KERNEL}/initrd"


def composed(*, extra: tuple[tuple[str, str], ...] = ()) -> BootEntry:
    return replace(
        boot_entry(8, deployment=0xB),
        linux=f"/bootd/{NEW_KERNEL}/vmlinuz",
        initrds=(NEW_MAIN,),
        extra=extra,
    )


def carried(
    *initrds: str,
    extra: tuple[tuple[str, str], ...] = (),
    gone: tuple[str, ...] = (),
    own: tuple[tuple[str, str], ...] = (),
) -> BootEntry:
    before = replace(boot_entry(7), initrds=initrds or (MAIN,), extra=extra)
    assert parse_entry(before.file_name, render_entry(before)) == before
    entry = carry_lines(composed(extra=own), before, lambda path: path not in gone)
    assert parse_entry(entry.file_name, render_entry(entry)) == entry
    return entry


def test_an_entry_that_nobody_changed_gives_nothing():
    assert carried() == composed()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("/ucode.img", MAIN), ("/ucode.img", NEW_MAIN)),
        ((MAIN, "/fw.img"), (NEW_MAIN, "/fw.img")),
        (("/a", "/b", MAIN, "/c", "/d"), ("/a", "/b", NEW_MAIN, "/c", "/d")),
        ((MAIN, MAIN), (NEW_MAIN,)),
        (("/a", MAIN, f"/bootd/{NEW_KERNEL}/initrd", "/b"), ("/a", NEW_MAIN, "/b")),
        (("/mine.img",), ("/mine.img", NEW_MAIN)),
        ((f"/bootd/{KERNEL_DIGEST}/ucode.img", MAIN), None),
    ],
)
def test_initrds_stay_on_their_side_of_the_main_one(before, after):
    kept = (before[0], NEW_MAIN) if after is None else after
    assert carried(*before).initrds == kept


LINES = (
    ("#", "the board does not start without"),
    ("devicetree", "/dtb/vendor/board.dtb"),
    ("devicetree-overlay", "/dtb/a.dtbo /dtb/b.dtbo"),
    ("architecture", "aa64"),
    ("x-vendor-note", "kept for audit"),
    ("grub_users", "$grub_users"),
    ("x-empty", ""),
    ("efi", "/EFI/tool.efi"),
)


def test_other_lines_are_kept_in_their_order():
    assert carried(extra=LINES).extra == LINES


def test_what_bootd_wrote_for_the_old_kernel_is_not_kept():
    own = ("devicetree", f"/bootd/{KERNEL_DIGEST}/devicetree")
    new = ("devicetree", f"/bootd/{NEW_KERNEL}/devicetree")
    assert carried(extra=(own,)).extra == ()
    assert carried(extra=(own,), own=(new,)).extra == (new,)
    mine = ("devicetree", "/board.dtb")
    assert carried(extra=(own, mine), own=(new,)).extra == (mine,)
    without = carried(extra=(mine,), own=(new,), gone=("/board.dtb",))
    assert without.extra == (new, (LEFT_OUT, "devicetree /board.dtb"))


def test_a_line_whose_file_is_gone_is_left_out_until_it_is_back():
    extra = (("devicetree", "/board.dtb"), ("devicetree-overlay", "/a.dtbo /b.dtbo"))
    gone = ("/ucode.img", "/board.dtb", "/b.dtbo")
    entry = carried("/ucode.img", MAIN, extra=extra, gone=gone)
    assert entry.initrds == (NEW_MAIN,)
    assert entry.extra == (
        (LEFT_OUT, "initrd /ucode.img"),
        (LEFT_OUT, "devicetree /board.dtb"),
        (LEFT_OUT, "devicetree-overlay /a.dtbo /b.dtbo"),
    )
    again = carry_lines(composed(), entry, lambda path: path not in gone)
    assert (again.initrds, again.extra) == (entry.initrds, entry.extra)
    back = carry_lines(composed(), entry, lambda _: True)
    assert back.initrds == ("/ucode.img", NEW_MAIN)
    assert back.extra == extra


@pytest.mark.parametrize(
    "value", ["title Evil", "initrd /a b", "initrd ../x", "initrd", "x" * 4_096]
)
def test_a_mark_that_somebody_wrote_stops_no_entry(value):
    assert carried(extra=((LEFT_OUT, value),)).initrds == (NEW_MAIN,)


def test_comments_and_carriage_returns_are_read():
    text = render_entry(boot_entry(7)).replace(b"\n", b"\r\n")
    added = text + b"#  kept \r\n#\r\ndevicetree\t/board.dtb\r\n# \xff\x01 not printable\r\n"
    extra = (("#", "kept"), ("#", ""), ("devicetree", "/board.dtb"))
    assert parse_entry(boot_entry(7).file_name, added).extra == extra


def test_many_comments_do_not_damage_an_entry():
    text = render_entry(boot_entry(7)) + b"# again\n" * 500
    assert set(parse_entry(boot_entry(7).file_name, text).extra) == {("#", "again")}
