"""The files of ``/etc`` that Debian-like and Fedora-like systems make from others.

Where each format comes from: update-ca-certificates(8), update-ca-trust(8), semodule(8) with
``semanage_store.c`` of libsemanage for the names in its store, ldconfig(8), dconf(1),
systemd-hwdb(8), update-crypto-policies(8), newaliases(1), postmap(1).

A module store of SELinux that is in ``/var``, as Debian has it, is the machine's, and so keeps the
modules of the image before. Debian's package has them in ``/usr/share/selinux`` as well, and puts
them into the store when dpkg configures it; the rule does the same, and leaves modules of another
priority and what setsebool(8) and semanage(8) wrote there.
"""

from __future__ import annotations

from typing import Final

from bootd.model.etc.derived import DerivedRule

_STORE: Final = "/etc/selinux/*/active"
_POSTMAP: Final = """
for made in /etc/postfix/*.db /etc/postfix/*.lmdb /etc/postfix/*.cdb; do
    table=${made%.*}
    [ -f "$made" ] && [ -f "$table" ] || continue
    kind=${made##*.}
    [ "$kind" != db ] || kind=hash
    [ "$kind" != hash ] || ! postconf -n | grep -q "btree:$table" || kind=btree
    postmap "$kind:$table" || failed=1
done
exit "${failed:-0}"
"""
"""A table has the kind of the file there; only ``main.cf`` tells the two kinds of ``.db`` apart."""

_SEMODULE: Final = """
type=$(sed -n 's/^SELINUXTYPE=[[:space:]]*//p' /etc/selinux/config)
active=/etc/selinux/$type/active
shipped=/usr/share/selinux/$type
set --
if [ ! -d "$active" ]; then
    active=/var/lib/selinux/$type/active
    store=$active/modules/100
    while read -r name; do
        cmp -s "$shipped/$name.pp.bz2" "$store/$name/hll" || set -- "$@" -i "$shipped/$name.pp.bz2"
    done <"$shipped/.modules" || exit
    for there in "$store"/*/; do
        name=$(basename "$there")
        [ ! -d "$there" ] || grep -qxF "$name" "$shipped/.modules" || set -- "$@" -r "$name"
    done
fi
[ $# -gt 0 ] || set -- -B
semodule -s "$type" -X 100 "$@" || exit
# A kernel keeps the values of booleans that it has when another policy is loaded.
[ -d /sys/fs/selinux/booleans ] && [ -f "$active/booleans.local" ] || exit 0
sed -n '/^[^#]*=[01]/p' "$active/booleans.local" |
    while read -r boolean; do setsebool "$boolean" || :; done
"""
"""Debian's package has its modules at priority 100 (its postinst), semodule(8) others at 400."""

PROGRAMS: Final = {"postfix-tables": "postmap", "selinux-policy": "semodule"}
"""By rule, the program that has to be in the image where the command begins with another one."""

BUILT_IN: Final[dict[str, DerivedRule]] = {
    "linker-cache": DerivedRule(
        paths=["/etc/ld.so.cache"],
        inputs=["/etc/ld.so.conf", "/etc/ld.so.conf.d/**"],
        command=["ldconfig"],
    ),
    "ca-certificates": DerivedRule(
        paths=[
            "/etc/ssl/certs/ca-certificates.crt",
            f"/etc/ssl/certs/{'[0-9a-f]' * 8}.[0-9]",
            "/etc/ssl/certs/java/cacerts",
        ],
        inputs=["/etc/ca-certificates.conf", "/etc/ca-certificates/**"],
        command=["update-ca-certificates"],
    ),
    "ca-trust": DerivedRule(
        paths=["/etc/pki/ca-trust/extracted/**"],
        inputs=["/etc/pki/ca-trust/source", "/etc/pki/ca-trust/source/**"],
        command=["update-ca-trust"],
    ),
    "selinux-policy": DerivedRule(
        paths=[
            "/etc/selinux/*/policy/policy.*",
            "/etc/selinux/*/.policy.sha512",
            "/etc/selinux/*/seusers",
            "/etc/selinux/*/contexts/files/file_contexts",
            "/etc/selinux/*/contexts/files/file_contexts.bin",
            "/etc/selinux/*/contexts/files/file_contexts.homedirs*",
            "/etc/selinux/*/contexts/files/file_contexts.local*",
            f"{_STORE}/policy.*",
            f"{_STORE}/file_contexts",
            f"{_STORE}/file_contexts.homedirs",
            f"{_STORE}/file_contexts.template",
            f"{_STORE}/homedir_template",
            f"{_STORE}/seusers",
            f"{_STORE}/seusers.linked",
            f"{_STORE}/users_extra",
            f"{_STORE}/users_extra.linked",
            f"{_STORE}/commit_num",
            f"{_STORE}/modules_checksum",
        ],
        inputs=[
            f"{_STORE}/modules/**",
            f"{_STORE}/*.local",
            # Debian's package has it; where that is, the store is in /var.
            "/etc/selinux/default/setrans.conf",
        ],
        follows=["/etc/selinux/default/policy/policy.*"],
        command=["sh", "-c", _SEMODULE],
        timeout_seconds=600,
    ),
    "crypto-policies": DerivedRule(
        paths=["/etc/crypto-policies/back-ends/*", "/etc/crypto-policies/state/*"],
        inputs=[
            "/etc/crypto-policies/config",
            "/etc/crypto-policies/local.d/**",
            "/etc/crypto-policies/policies/**",
        ],
        command=["update-crypto-policies", "--no-reload"],
    ),
    "dconf": DerivedRule(
        paths=["/etc/dconf/db/*"],
        inputs=["/etc/dconf/db/*.d", "/etc/dconf/db/*.d/**"],
        command=["dconf", "update"],
        severity="wanted",
    ),
    "hardware-database": DerivedRule(
        paths=["/etc/udev/hwdb.bin"],
        inputs=["/etc/udev/hwdb.d", "/etc/udev/hwdb.d/**"],
        command=["systemd-hwdb", "update"],
        severity="wanted",
    ),
    "mail-aliases": DerivedRule(
        paths=["/etc/aliases.db", "/etc/aliases.lmdb", "/etc/aliases.cdb"],
        inputs=["/etc/aliases"],
        command=["newaliases"],
        severity="wanted",
    ),
    "postfix-tables": DerivedRule(
        paths=["/etc/postfix/*.db", "/etc/postfix/*.lmdb", "/etc/postfix/*.cdb"],
        inputs=["/etc/postfix/*"],
        command=["sh", "-c", _POSTMAP],
        severity="wanted",
    ),
}
