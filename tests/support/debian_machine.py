"""What administrators do to a machine of Debian 12 before it is carried to Debian 13."""

from __future__ import annotations

from pathlib import Path

from bootd.process import run

USER, PASSWORD = "alice", "long live /etc"
PASSWORD_HASH = "$6$bootd$ILtcXr/JC7NNHocv4q9u05BYkzDRYR0f5d8wEZDABlsK0lX8KQmDIkJroOg1mny3eS5DznDCP0lB7DXCcodAW."
"""Of the password, by ``openssl passwd -6``."""


def within(root: Path, script: str, status: int = 0) -> str:
    """Run a script inside a root folder; return all it said."""
    done = run(["chroot", root, "sh", "-euc", script], expected=[status], timeout=120)
    return (done.stdout + done.stderr).decode(errors="replace")


def live_with(root: Path) -> None:
    """Add users, change sshd, enable and disable services, delete, choose and configure."""
    within(
        root,
        f"""
        useradd --create-home --shell /bin/bash --groups sudo --password '{PASSWORD_HASH}' {USER}
        useradd --system --no-create-home --shell /usr/sbin/nologin backupd
        usermod --password '{PASSWORD_HASH}' root
        sed -i 's/^#PermitRootLogin .*/PermitRootLogin no/' /etc/ssh/sshd_config
        ssh-keygen -A >&2
        systemctl enable systemd-networkd.service
        systemctl disable cron.service
        rm /etc/logrotate.d/rsyslog /etc/cron.daily/logrotate
        update-alternatives --set editor /usr/bin/vim.tiny
        printf '[Match]\\nName=en*\\n[Network]\\nDHCP=yes\\n' >/etc/systemd/network/10-lan.network
        printf 'auto lo\\niface lo inet loopback\\n' >/etc/network/interfaces.d/lo
        echo old-server >/etc/hostname
        echo '127.0.1.1 old-server' >>/etc/hosts
        chmod 0600 /etc/rsyslog.conf
        """,
    )
