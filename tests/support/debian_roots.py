"""Root folders of Debian 12 and 13 with what an ordinary server has, to look at real ``/etc``s."""

from __future__ import annotations

from pathlib import Path

from bootd.process import run
from support.cache import cached_folder, digest_of
from support.debian_image import architecture, bootstrap

OLD, NEW = "bookworm", "trixie"
PACKAGES = (
    "systemd,systemd-sysv,udev,dbus,passwd,login,openssh-server,ifupdown,iproute2,cron,"
    "rsyslog,logrotate,nano,vim-tiny,sudo,ca-certificates,locales,polkitd,postfix,chrony,nginx,"
    "network-manager,libnss-extrausers,curl,openssl"
)


def debian_root(suite: str) -> Path:
    """A root folder, built on first use (a minute) and then kept in the cache; to be copied only.

    Raises:
        ProcessFailedError: a tool is missing or failed; its own words are in the message.
    """

    def build(folder: Path) -> None:
        root = folder / "root"
        bootstrap(root, PACKAGES, suite=suite)
        # What a builder of images does: the machine's own identity is not the image's.
        for path in root.glob("etc/ssh/ssh_host_*"):
            path.unlink()
        for waste in ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt"):
            run(["rm", "-rf", root / waste])

    key = digest_of(suite, architecture(), PACKAGES, Path(__file__))
    return cached_folder(f"debian-root-{suite}", key, build) / "root"
