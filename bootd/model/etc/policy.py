"""What an administrator, or an image, wants done where both changed a file of ``/etc``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from bootd.model.etc.derived import DerivedRules, Pattern

MAX_PATTERNS: Final = 1_000


class EtcPolicy(StrEnum):
    """What becomes of a file that was changed on both sides, and not to the same."""

    KEEP_MINE = "keep-mine"
    """The machine's own stands; a conflict."""
    MERGE = "merge"
    """The lines of both where they merge cleanly; else the machine's own stands, a conflict."""
    TAKE_THEIRS = "take-theirs"
    """The image's stands, and a note says so."""
    KEEP_BOTH = "keep-both"
    """The machine's own stands, a conflict, and the image's is beside it as ``NAME.bootd-new``."""


Policies = Annotated[
    dict[Pattern, Annotated[EtcPolicy, Field(strict=False)]], Field(max_length=MAX_PATTERNS)
]


OWN_PATHS: Final = (
    "/etc/machine-id",
    "/etc/machine-info",
    "/etc/hostid",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/mailname",
    "/etc/adjtime",
    "/etc/mtab",
    "/etc/resolv.conf",
    "/etc/.resolv.conf.systemd-resolved.bak",
    "/etc/ld.so.cache",
    "/etc/.pwd.lock",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/etc/ssh/ssh_host_*",
    "/etc/dropbear/dropbear_*_host_key*",
    "/etc/krb5.keytab",
    "/etc/bind/rndc.key",
    "/etc/rndc.key",
    "/etc/ssl/certs/ssl-cert-snakeoil.pem",
    "/etc/ssl/private/ssl-cert-snakeoil.key",
    "/etc/pki/tls/certs/localhost.crt",
    "/etc/pki/tls/private/localhost.key",
    "/etc/iscsi/initiatorname.iscsi",
    "/etc/nvme/host*",
    "/etc/lvm/archive/**",
    "/etc/lvm/backup/**",
    "/etc/lvm/cache/**",
    "/etc/lvm/devices/**",
    "/etc/multipath/bindings",
    "/etc/multipath/wwids",
    "/etc/udev/rules.d/70-persistent-*.rules",
    "/etc/udev/hwdb.bin",
)
"""What each machine has of its own, or is made from other files: what stands here is right."""


SECURITY_PATHS: Final = (
    "/etc/ssh/sshd_config",
    "/etc/ssh/sshd_config.d/**",
    "/etc/pam.d/**",
    "/etc/pam.conf",
    "/etc/security/**",
    "/etc/authselect/**",
    "/etc/nsswitch.conf",
    "/etc/login.defs",
    "/etc/sudoers",
    "/etc/sudoers.d/**",
    "/etc/doas.conf",
    "/etc/polkit-1/**",
    "/etc/dbus-1/system.d/**",
    "/etc/krb5.conf",
    "/etc/selinux/**",
    "/etc/apparmor.d/**",
    "/etc/audit/**",
    "/etc/crypto-policies/**",
    "/etc/ssl/openssl.cnf",
    "/etc/ssl/certs/**",
    "/etc/ca-certificates.conf",
    "/etc/pki/**",
    "/etc/apt/trusted.gpg.d/**",
    "/etc/apt/keyrings/**",
    "/etc/containers/policy.json",
    "/etc/sysctl.conf",
    "/etc/sysctl.d/**",
    "/etc/nftables.conf",
    "/etc/iptables/**",
    "/etc/firewalld/**",
    "/etc/ufw/**",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
)
"""Where a file that stays as it was may leave the machine open: who gets in and may do what, whom
it trusts, what it guards itself with."""


class EtcRules(BaseModel):
    """``/usr/lib/bootd/etc.toml``: what an image says about its own ``/etc``."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)

    policy: Policies = Field(default_factory=dict)
    """By pattern."""
    security: list[Pattern] = Field(default_factory=list, max_length=MAX_PATTERNS)
    """Paths at which a conflict may leave the machine open to attack, besides `SECURITY_PATHS`."""
    own: list[Pattern] = Field(default_factory=list, max_length=MAX_PATTERNS)
    """Paths that each machine has of its own, besides `OWN_PATHS`: what it changed there stands,
    and is no conflict."""
    derived: DerivedRules = Field(default_factory=dict)
    """Files that are made from others, by the name of the rule."""
