"""What administrators do to a server of Debian 12 before it is carried to Debian 13.

Beside what they edit by hand there is what that makes: a server with mail, jobs, time, web and
network, users of its own, and a certificate authority of its own.
"""

from __future__ import annotations

from pathlib import Path

from bootd.process import run

USER, IMAGE_USER, PASSWORD = "alice", "core", "long live /etc"
"""A user who was added here, and one whom the image has below ``/usr/lib``."""
PASSWORD_HASH = (
    "$6$bootd$ILtcXr/JC7NNHocv4q9u05BYkzDRYR0f5d8wEZDABlsK0lX8KQm"
    "DIkJroOg1mny3eS5DznDCP0lB7DXCcodAW."
)
"""Of the password, by ``openssl passwd -6``."""
HOST = "old-server"
CHRONY_KEY = "17 SHA1 HEX:0123456789abcdef0123456789abcdef01234567"
JOB = "17 4 * * * /usr/bin/true my own job"
_NETWORKS = "/etc/NetworkManager"
_KEYS = "/etc/nginx/tls"
_SITE = "/etc/nginx/sites-available/intranet"
_AUTHORITIES = "/usr/local/share/ca-certificates"
_REQUEST = "openssl req -x509 -newkey rsa:2048 -nodes -days 3650"

_DEEDS = f"""
# Users.
useradd --create-home --shell /bin/bash --groups sudo --password '{PASSWORD_HASH}' {USER}
useradd --system --no-create-home --shell /bin/sh localapp
useradd --system --no-create-home --shell /usr/sbin/nologin backupd
usermod --password '{PASSWORD_HASH}' root
sed -i 's|^{IMAGE_USER}:[^:]*|{IMAGE_USER}:{PASSWORD_HASH}|' /etc/shadow
gpasswd --add {USER} adm
# Access.
sed -i 's/^#PermitRootLogin .*/PermitRootLogin no/' /etc/ssh/sshd_config
ssh-keygen -A >&2
echo '%adm ALL=(root) /usr/bin/journalctl' >/etc/sudoers.d/ops
# Services, and what they run.
systemctl enable systemd-networkd.service
systemctl disable rsyslog.service
rm /etc/logrotate.d/rsyslog
rm /etc/cron.daily/logrotate
chmod 0600 /etc/rsyslog.conf
update-alternatives --set editor /usr/bin/vim.tiny
echo '{JOB}' | crontab -u {USER} - && echo '5 4 * * * root true' >/etc/cron.d/backup
# The machine and its network.
echo {HOST} >/etc/hostname && systemd-machine-id-setup
echo '127.0.1.1 {HOST}' >>/etc/hosts
printf '[Match]\\nName=en*\\n[Network]\\nDHCP=yes\\n' >/etc/systemd/network/10-lan.network
printf 'auto lo\\niface lo inet loopback\\n' >/etc/network/interfaces.d/lo
printf '[keyfile]\\nunmanaged-devices=interface-name:en*\\n' >{_NETWORKS}/conf.d/10-lan.conf
(umask 077; printf '[connection]\\nid=office\\ntype=dummy\\ninterface-name=dummy0\\n' \
    >{_NETWORKS}/system-connections/office.nmconnection)
echo 'net.ipv4.conf.all.log_martians = 1' >/etc/sysctl.d/90-local.conf
sed -i 's/^#SystemMaxUse=.*/SystemMaxUse=100M/' /etc/systemd/journald.conf
# Mail.
postconf -e 'myhostname = {HOST}' 'mydestination = $myhostname, localhost' 'relayhost =' \
    'inet_interfaces = loopback-only' 'virtual_alias_maps = hash:/etc/postfix/virtual'
echo 'root: {USER}' >>/etc/aliases && newaliases
echo 'office@{HOST} {USER}' >/etc/postfix/virtual && postmap hash:/etc/postfix/virtual
# Time.
sed -i 's/^pool .*/server 192.0.2.1 iburst key 17/' /etc/chrony/chrony.conf
echo '{CHRONY_KEY}' >>/etc/chrony/chrony.keys
# An authority of our own, and a web server that it vouches for.
mkdir -p {_AUTHORITIES} && \
    {_REQUEST} -subj /CN=Corp -keyout /etc/ssl/private/corp.key -out {_AUTHORITIES}/corp.crt && \
    update-ca-certificates
mkdir {_KEYS} && \
    {_REQUEST} -subj /CN={HOST} -addext subjectAltName=DNS:{HOST} \
        -CA {_AUTHORITIES}/corp.crt -CAkey /etc/ssl/private/corp.key \
        -keyout {_KEYS}/key -out {_KEYS}/certificate && \
    printf 'server {{ listen 443 ssl; return 200 intranet; ssl_certificate %s; %s; }}\\n' \
        {_KEYS}/certificate 'ssl_certificate_key {_KEYS}/key' >{_SITE} && \
    ln -s {_SITE} /etc/nginx/sites-enabled/intranet && \
    rm /etc/nginx/sites-enabled/default
sed -i 's/worker_connections .*/worker_connections 512;/' /etc/nginx/nginx.conf
echo /opt/corp/lib >/etc/ld.so.conf.d/corp.conf && ldconfig
"""
EDITS = [line for line in _DEEDS.splitlines() if line and not line.startswith("#")]
"""What they do, each a shell command to be run inside the machine's root."""


def within(root: Path, script: str, status: int = 0) -> str:
    """Run a script inside a root folder; return all it said."""
    done = run(["chroot", root, "sh", "-euc", script], expected=[status], timeout=120)
    return (done.stdout + done.stderr).decode(errors="replace")


def live_with(root: Path) -> None:
    """Do all of `EDITS` to a machine."""
    within(root, "\n".join(EDITS))
