"""The Containerfile makes an image that the linter has nothing to say about, and one for machines.

It is built with packages that make keys and names for the system they are installed on.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.container_image import OS, container_image
from support.layered_image import LayeredImage

from bootd.operations.lint import lint

PACKAGES = ("nvme-cli", "open-iscsi", "openssh-server", "ssl-cert")
MADE_AT_INSTALLATION = (
    "etc/ssh/ssh_host_*",
    "etc/ssl/private/*",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "etc/nvme/host*",
    "etc/*.bak",
    "var/*",
)
DISABLED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "systemd-networkd-wait-online.service",
)


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image") / "bundle"
    return LayeredImage(container_image(*PACKAGES), folder, start=OS).rootfs


def enabled(rootfs: Path) -> set[str]:
    return {path.name for path in (rootfs / "etc/systemd/system").glob("*.wants/*")}


@pytest.mark.timeout(1_800)
def test_the_image_is_clean(rootfs: Path) -> None:
    # Not every package of Debian declares its users. A builder cannot leave a file out that is
    # mounted while it works: an empty name is what comes nearest, and staging leaves that out.
    others = [one for one in lint(rootfs).findings if one.lint != "accounts"]
    assert [(one.lint, one.path) for one in others] == [("builder", "/etc/hostname")]


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("pattern", MADE_AT_INSTALLATION)
def test_nothing_of_one_system_is_in_it(rootfs: Path, pattern: str) -> None:
    assert list(rootfs.glob(pattern)) == []


@pytest.mark.timeout(1_800)
def test_machines_make_their_own(rootfs: Path) -> None:
    assert (rootfs / "etc/iscsi/initiatorname.iscsi").read_text() == "GenerateName=yes\n"
    assert (rootfs / "etc/machine-id").read_bytes() == b""
    units = rootfs / "usr/lib/systemd/system"
    keys = (units / "sshd-keygen.service.d/bootd-image.conf").read_text()
    assert "ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key\n" in keys
    assert {"make-ssl-cert.service", "sshd-keygen.service"} <= enabled(rootfs)


@pytest.mark.timeout(1_800)
def test_what_a_builder_mounts_is_not_what_machines_get(rootfs: Path) -> None:
    hosts = rootfs / "etc/hosts"
    assert "127.0.0.1 localhost\n" in hosts.read_text()
    assert (rootfs / "etc/hostname").read_bytes() == b""
    assert {path.stat().st_mode & 0o7777 for path in (hosts, rootfs / "etc/hostname")} == {0o644}
    servers = rootfs / "etc/resolv.conf"
    assert servers.readlink() == Path("../run/systemd/resolve/stub-resolv.conf")


@pytest.mark.timeout(1_800)
def test_machines_have_a_network_and_no_timers_of_apt(rootfs: Path) -> None:
    wanted = {"systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service"}
    assert wanted <= enabled(rootfs)
    assert not enabled(rootfs) & set(DISABLED)
    network = (rootfs / "usr/lib/systemd/network/89-ethernet.network").read_text()
    assert "\nDHCP=yes\n" in network
    presets = sorted((rootfs / "usr/lib/systemd/system-preset").iterdir())
    assert presets[-1].read_text() == "disable *\n"
    for program in ("usr/sbin/sfdisk", "usr/bin/mcopy", "usr/bin/ip"):
        assert (rootfs / program).exists()
