"""What an image brings to the boot partition is known before it is fetched, where it can be."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.chunked import estargz, zstd_chunked
from support.images import PackedLayer, build_oci_layout, entry, tar_layer, write_oci_archive

from bootd.durable import Disk
from bootd.model.errors import (
    BootdError,
    NoBootLoaderError,
    NoInitramfsError,
    NoKernelError,
    SeveralKernelsError,
)
from bootd.operations.boot.image_preview import BootFiles, preview
from bootd.registry.settings import RegistrySettings
from bootd.registry.sources.source import open_source

KERNEL = "usr/lib/modules/6.12.0-test/vmlinuz"
INITRAMFS = "usr/lib/modules/6.12.0-test/initramfs.img"
LOADER = "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
FOLDERS = {
    "usr/": None,
    "usr/lib/": None,
    "usr/lib/modules/": None,
    "usr/lib/modules/6.12.0-test/": None,
    "usr/lib/systemd/": None,
    "usr/lib/systemd/boot/": None,
    "usr/lib/systemd/boot/efi/": None,
}
FILES = {KERNEL: b"k" * 3_000, INITRAMFS: b"i" * 5_000, LOADER: b"l" * 700}
SIZES = BootFiles(kernel=8_000, loader=700)
Pack = Callable[[bytes], bytes | PackedLayer]


def layer(files: dict[str, bytes]) -> bytes:
    return tar_layer({**FOLDERS, **files})


def seen(folder: Path, layers: list[bytes], pack: Pack | None = None) -> BootFiles | None:
    """What is known of an image: a local one, or a registry's if it is packed."""
    build_oci_layout(folder, [layer if pack is None else pack(layer) for layer in layers])
    return looked_at(folder, f"oci:{folder}:latest", remote=pack is not None)


def looked_at(folder: Path, reference: str, *, remote: bool = False) -> BootFiles | None:
    with closing(open_source(reference, RegistrySettings(), folder, Disk())) as source:
        resolved = source.resolve()
        if remote:
            # The bytes come from a folder all the same.
            resolved = replace(resolved, reference="registry.example/os:stable")
        return preview(source, resolved, "x86_64")


@pytest.mark.parametrize("pack", [None, zstd_chunked])
def test_sizes_are_known(tmp_path: Path, pack: Pack | None) -> None:
    layers = [layer({KERNEL: b"old" * 99, LOADER: FILES[LOADER]}), layer(FILES)]
    assert seen(tmp_path / "image", layers, pack) == SIZES


def test_an_archive_is_looked_into(tmp_path: Path) -> None:
    build_oci_layout(tmp_path / "image", [layer(FILES)])
    write_oci_archive(tmp_path / "image.tar", tmp_path / "image")
    assert looked_at(tmp_path, f"oci-archive:{tmp_path}/image.tar:latest") == SIZES


WITHOUT: list[tuple[list[bytes], type[BootdError]]] = [
    ([layer({KERNEL: FILES[KERNEL], INITRAMFS: FILES[INITRAMFS]})], NoBootLoaderError),
    ([layer(FILES), tar_layer({"usr/lib/systemd/.wh.boot": b""})], NoBootLoaderError),
    ([layer(FILES), tar_layer({"usr/lib/systemd/boot/efi/.wh..wh..opq": b""})], NoBootLoaderError),
    ([layer({LOADER: FILES[LOADER]})], NoKernelError),
    ([layer({KERNEL: FILES[KERNEL], LOADER: FILES[LOADER]})], NoInitramfsError),
    (
        [layer({**FILES, "usr/lib/modules/6.13.0/vmlinuz": b"k" * 3_000})],
        SeveralKernelsError,
    ),
]


@pytest.mark.parametrize("pack", [None, zstd_chunked])
@pytest.mark.parametrize(("layers", "error"), WITHOUT)
def test_what_is_missing_is_known(
    tmp_path: Path, layers: list[bytes], error: type[BootdError], pack: Pack | None
) -> None:
    with pytest.raises(error):
        seen(tmp_path / "image", layers, pack)


def test_a_hard_link_is_what_it_leads_to(tmp_path: Path) -> None:
    links = [(entry(INITRAMFS, b"1", target="usr/share/initramfs"), b"")]
    files = {**FOLDERS, "usr/share/": None, "usr/share/initramfs": b"i" * 5_000}
    more = {KERNEL: FILES[KERNEL], LOADER: FILES[LOADER]}
    layers = [tar_layer({**files, **more}), tar_layer(links)]
    assert seen(tmp_path / "image", layers) == SIZES


@pytest.mark.parametrize("other", [bytes, estargz])
def test_of_layers_without_tables_nothing_is_known(tmp_path: Path, other: Pack) -> None:
    mixed: list[bytes | PackedLayer] = [zstd_chunked(layer({})), other(layer(FILES))]
    build_oci_layout(tmp_path / "image", mixed)
    assert looked_at(tmp_path, f"oci:{tmp_path}/image:latest", remote=True) is None


def test_a_damaged_table_is_no_table(tmp_path: Path) -> None:
    packed = zstd_chunked(layer(FILES), edit=lambda table: table.update(entries=[{"type": "?"}]))
    build_oci_layout(tmp_path / "image", [packed])
    assert looked_at(tmp_path, f"oci:{tmp_path}/image:latest", remote=True) is None
