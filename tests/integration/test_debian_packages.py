"""The Debian packages: all is in its place, lintian is content, equal files make equal packages."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import pytest
from support.cache import cached_folder, digest_of
from support.debian_image import SUITE, architecture, bootstrap
from support.vm_packages import CHECKOUT, build_packages, debian_packages

from bootd import __version__
from bootd.process import run

NAMES = ("bootd", "bootd-tools", "bootd-dracut", "bootd-initramfs-tools")
UNITS = "usr/lib/systemd/system"
PROGRAMS = (
    "bootd-tools/usr/bin/bootctl-py",
    "bootd/usr/libexec/bootd",
    "bootd-dracut/usr/lib/dracut/modules.d/90bootd/bootd-root",
    "bootd-dracut/usr/lib/dracut/modules.d/90bootd/module-setup.sh",
    "bootd-initramfs-tools/usr/share/bootd-initramfs-tools/bootd-root",
    "bootd-initramfs-tools/usr/share/initramfs-tools/hooks/bootd",
    "bootd-initramfs-tools/usr/share/initramfs-tools/scripts/init-top/bootd",
    "bootd-initramfs-tools/usr/share/initramfs-tools/scripts/local-bottom/bootd",
)
PLACES = {
    "bootd/*.py": "bootd-tools/usr/lib/python3/dist-packages/bootd",
    "bootd/*/*.py": "bootd-tools/usr/lib/python3/dist-packages/bootd/*",
    "bootd/*/*/*.py": "bootd-tools/usr/lib/python3/dist-packages/bootd/*/*",
    "bootd/py.typed": "bootd-tools/usr/lib/python3/dist-packages/bootd",
    "dbus/*.conf": "bootd/usr/share/dbus-1/system.d",
    "dbus/*.policy": "bootd/usr/share/polkit-1/actions",
    "dbus/*.service": "bootd/usr/share/dbus-1/system-services",
    "dbus/*.xml": "bootd-tools/usr/share/dbus-1/interfaces",
    "systemd/*.catalog": "bootd/usr/lib/systemd/catalog",
    "systemd/*.preset": "bootd/usr/lib/systemd/system-preset",
    "systemd/*.service": f"bootd/{UNITS}",
    "systemd/*.timer": f"bootd/{UNITS}",
    "systemd/system.conf.d/*": "bootd/usr/lib/systemd/system.conf.d",
    "systemd/tmpfiles.d/*": "bootd/usr/lib/tmpfiles.d",
    "packaging/completions/_*": "bootd-tools/usr/share/zsh/vendor-completions",
    "packaging/completions/*.fish": "bootd-tools/usr/share/fish/vendor_completions.d",
    "packaging/completions/bootctl-py": "bootd-tools/usr/share/bash-completion/completions",
    "docs/schemas/*": "bootd/usr/share/doc/bootd/schemas",
    "docs/images.md": "bootd/usr/share/doc/bootd",
    "docs/partial-fetch.md": "bootd/usr/share/doc/bootd",
    "packaging/dracut/bootd.conf": "bootd-dracut/usr/lib/dracut/dracut.conf.d",
    "packaging/dracut/*.service": "bootd-dracut/usr/lib/dracut/modules.d/90bootd",
    "packaging/dracut/*.sh": "bootd-dracut/usr/lib/dracut/modules.d/90bootd",
}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what each package brings, in one of the package's name."""
    folder = tmp_path_factory.mktemp("packages")
    for name in NAMES:
        (package,) = debian_packages().glob(f"{name}_*.deb")
        run(["dpkg-deb", "--extract", package, folder / name])
    return folder


def test_lintian_finds_nothing() -> None:
    (changes,) = debian_packages().glob("*.changes")
    # No overrides: there are none in the packages, and a new one has to come through here.
    words = ("--allow-root", "--no-override", "--fail-on", "error,warning")
    # A unit for boots that end in a shell belongs to the targets of those, unusual as they are.
    unusual = "systemd-service-file-refers-to-unusual-wantedby-target"
    words = (*words, "--suppress-tags", unusual)
    assert run(["lintian", *words, changes], timeout=280).stdout == b""


def test_every_file_is_where_it_belongs(unpacked: Path) -> None:
    for pattern, place in PLACES.items():
        sources = [path for path in CHECKOUT.glob(pattern) if path.is_file()]
        assert sources, pattern
        for source in sources:
            packed = [path / source.name for path in unpacked.glob(place)]
            assert source.read_bytes() in [path.read_bytes() for path in packed if path.exists()], (
                source
            )


def test_a_new_file_has_a_place_in_the_packages() -> None:
    listed = run(["git", "-C", CHECKOUT, "ls-files", "-z", "systemd", "dbus", "bootd"]).stdout
    known = {path for pattern in PLACES for path in CHECKOUT.glob(pattern)}
    names = [CHECKOUT / name for name in listed.decode().split("\0") if name]
    assert [path for path in names if path not in known and not path.is_symlink()] == []


def test_programs_can_be_started_and_links_lead_somewhere(unpacked: Path) -> None:
    assert [name for name in PROGRAMS if not os.access(unpacked / name, os.X_OK)] == []
    links = [path for path in unpacked.rglob("*") if path.is_symlink()]
    assert {path.name for path in links} == {path.name for path in CHECKOUT.glob("dbus/*.xml")}
    assert all(unpacked in path.resolve(strict=True).parents for path in links)


def test_tools_have_no_part_in_booting(unpacked: Path) -> None:
    tools = unpacked / "bootd-tools"
    folders = {str(path.relative_to(tools)) for path in tools.glob("*/*") if path.is_dir()}
    assert folders == {"usr/bin", "usr/lib", "usr/share"}
    assert {path.name for path in (tools / "usr/lib").iterdir()} == {"python3"}
    shared = {path.name for path in (tools / "usr/share").iterdir()}
    assert shared == {"bash-completion", "dbus-1", "doc", "fish", "man", "zsh"}
    assert {path.name for path in (tools / "usr/share/dbus-1").iterdir()} == {"interfaces"}


def test_what_manuals_name_is_as_they_name_it(unpacked: Path) -> None:
    pages = [gzip.decompress(path.read_bytes()) for path in unpacked.rglob("usr/share/man/*/*")]
    plain = re.sub(rb"\\f(\[\w*\]|.)", b"", b"".join(pages)).replace(b"\\", b"")
    named = re.findall(rb"/usr/share/doc/bootd/[\w./-]+", plain)
    assert named
    for name in {re.sub(r"[A-Z]+", "*", path.decode()).rstrip(".") for path in named}:
        assert list(unpacked.glob(f"bootd{name}")), name


_HOST_SECONDS = 1_800.0
# All of it is in a name space of its own and in memory, and so gone when the command ends.
_SIMULATION = """
base=$1 packages=$2 work=$3; shift 3
mount -t tmpfs tmpfs "$work"
cd "$work"
mkdir upper work root
mount -t overlay -o lowerdir="$base",upperdir=upper,workdir=work overlay root
cp "$packages"/*.deb root/srv
(cd root/srv && dpkg-scanpackages . >Packages)
echo 'deb [trusted=yes] file:/srv ./' >root/etc/apt/sources.list.d/bootd.list
apt="chroot root apt-get -o APT::Sandbox::User=root -o APT::Install-Recommends=true"
only="-o Dir::Etc::SourceList=/etc/apt/sources.list.d/bootd.list -o Dir::Etc::SourceParts=-"
$apt $only -o APT::Get::List-Cleanup=0 update >&2
$apt --simulate install "$@"
"""


def _host(builder: str) -> Path:
    """A root folder of Debian with a program that builds initramfs images, and apt's lists."""

    def build(folder: Path) -> None:
        bootstrap(folder / "root", builder, "--skip=cleanup/apt/lists")

    key = digest_of(SUITE, architecture(), builder)
    return cached_folder("debian-host", key, build) / "root"


@pytest.mark.timeout(_HOST_SECONDS)
@pytest.mark.parametrize("builder", ["initramfs-tools", "dracut"])
@pytest.mark.parametrize(
    "wanted",
    [
        ("bootd-tools",),
        ("bootd",),
        ("bootd", "bootd-dracut"),
        ("bootd", "bootd-initramfs-tools"),
        ("bootd", "bootd-tools", "bootd-dracut", "bootd-initramfs-tools"),
    ],
)
def test_apt_takes_nothing_away(builder: str, wanted: tuple[str, ...], tmp_path: Path) -> None:
    base, packages = _host(builder), debian_packages()
    command = ["sh", "-euc", _SIMULATION, "sh", base, packages, tmp_path, *wanted]
    said = run(["unshare", "--mount", *command], timeout=_HOST_SECONDS).stdout.decode()
    steps = [line.split()[:2] for line in said.splitlines()]
    added = {words[1] for words in steps if words[:1] == ["Inst"]}
    assert set(wanted) <= added
    assert "Remv" not in {words[0] for words in steps if words}
    assert not added & {"dracut", "initramfs-tools"}
    if wanted == ("bootd-tools",):
        assert not {name for name in added if name.startswith(("bootd", "dracut", "initramfs"))} - {
            "bootd-tools"
        }
        assert not added & {"lvm2", "mdadm", "cryptsetup", "systemd-boot", "udev"}


def test_manual_pages_keep_their_dashes(unpacked: Path) -> None:
    pages = {path.name.removesuffix(".gz"): path for path in unpacked.rglob("usr/share/man/*/*")}
    sources = {path.name.removesuffix(".md") for path in CHECKOUT.glob("docs/man/*.md")}
    assert pages.keys() == sources
    text = gzip.decompress(pages["bootd.8"].read_bytes()).decode().replace("\\", "")
    assert "--sysroot" in text
    rules = gzip.decompress(pages["bootd-etc.7"].read_bytes()).decode()
    assert "what stands" in rules


def test_the_units_are_enabled_and_never_stopped_by_dpkg(tmp_path: Path) -> None:
    (package,) = debian_packages().glob("bootd_*.deb")
    run(["dpkg-deb", "--control", package, tmp_path])
    preset = (CHECKOUT / "systemd/90-bootd.preset").read_text().split()[1::2]
    after = (tmp_path / "postinst").read_text()
    assert [unit for unit in preset if f"deb-systemd-helper enable '{unit}'" not in after] == []
    assert after.count("deb-systemd-helper enable") == len(preset)
    # To stop bootd-finalize.service is to finalize.
    for script in tmp_path.glob("p*"):
        assert "deb-systemd-invoke" not in script.read_text()
    said = run(["dpkg-deb", "--field", package, "Version"]).stdout.decode()
    assert said.strip() == __version__


def test_equal_files_make_equal_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    before = os.umask(0o077)
    try:
        build_packages(tmp_path)
    finally:
        os.umask(before)
    again = {path.name: path.read_bytes() for path in tmp_path.glob("*.deb")}
    assert again == {path.name: path.read_bytes() for path in debian_packages().glob("*.deb")}
    assert len(again) == len(NAMES)
