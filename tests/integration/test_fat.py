"""Where a boot loader may have written on a FAT file system, against what mtools and mkfs make."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from bootd.boot.devices.fat import SMALL, places_of_loaders

SIZES = {"FAT12": (12, 4 << 20), "FAT16": (16, 32 << 20), "FAT32": (32, 64 << 20)}


def _run(*words: str | Path) -> None:
    subprocess.run([*map(str, words)], check=True, capture_output=True)


def _image(folder: Path, bits: int, size: int) -> Path:
    image = folder / "esp.img"
    with image.open("wb") as stream:
        stream.truncate(size)
    _run("mkfs.vfat", "-F", str(bits), "-s", "4" if bits == 12 else "1", image)
    for name in ("loader", "loader/entries", "bootd"):
        _run("mmd", "-i", image, f"::{name}")
    big = folder / "linux"
    big.write_bytes(b"K" * (SMALL + 1))
    _run("mcopy", "-i", image, big, "::bootd/linux")
    for number in range(40):
        entry = folder / f"bootd-{number}-with-a-long-name+3.conf"
        entry.write_bytes(b"title %d\n" % number)
        _run("mcopy", "-i", image, entry, f"::loader/entries/{entry.name}")
    (folder / "random-seed").write_bytes(b"S" * 32)
    _run("mcopy", "-i", image, folder / "random-seed", "::loader/random-seed")
    return image


def _reader(data: bytes):
    return lambda place, count: data[place : place + count]


@pytest.mark.parametrize(("bits", "size"), SIZES.values(), ids=SIZES)
def test_what_a_loader_changes_lies_in_these_places(tmp_path: Path, bits: int, size: int):
    image = _image(tmp_path, bits, size)
    before = image.read_bytes()
    _run(
        *("mren", "-i", image),
        *("::loader/entries/bootd-7-with-a-long-name+3.conf", "bootd-7-with-a-long-name+2-1.conf"),
    )
    (tmp_path / "random-seed").write_bytes(b"T" * 32)
    _run("mcopy", "-o", "-i", image, tmp_path / "random-seed", "::loader/random-seed")
    after = image.read_bytes()
    places = places_of_loaders(_reader(after))
    changed = [
        place
        for place in range(0, size, 512)
        if before[place : place + 512] != after[place : place + 512]
    ]
    assert changed
    for place in changed:
        assert any(begin <= place < begin + length for begin, length in places), place
    assert sum(length for _, length in places) < size / 4
    kernel = before.index(b"K" * 4_096)
    assert not any(begin <= kernel < begin + length for begin, length in places)


@pytest.mark.parametrize("data", [b"", bytes(512), b"\0" * 510 + b"\x55\xaa" + bytes(512)])
def test_what_is_no_fat_is_refused(data: bytes):
    with pytest.raises(ValueError, match="FAT"):
        places_of_loaders(_reader(data))


def test_a_chain_in_a_circle_has_an_end(tmp_path: Path):
    data = bytearray(_image(tmp_path, 32, 64 << 20).read_bytes())
    reserved, sector = struct.unpack_from("<H", data, 14)[0], 512
    for cluster in range(2, 200):
        struct.pack_into("<I", data, reserved * sector + 4 * cluster, cluster)
    with pytest.raises(ValueError, match="no end"):
        places_of_loaders(_reader(bytes(data)))


def test_a_file_system_that_is_cut_off_is_refused(tmp_path: Path):
    data = _image(tmp_path, 32, 64 << 20).read_bytes()
    for end in (512, 20_000, 300_000, len(data) - 512):
        with pytest.raises(ValueError, match="cut off"):
            places_of_loaders(_reader(data[:end]))
