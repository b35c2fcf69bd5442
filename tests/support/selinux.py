"""A small SELinux policy for images, and what the labels of a tree are."""

from __future__ import annotations

import bz2
import ctypes
import errno
import os
import re
import shutil
import struct
import subprocess
from itertools import pairwise
from pathlib import Path

from bootd.model.tree import Directory, walk
from support.cache import cached_folder, digest_of

FILES = "etc/selinux/test/contexts/files"
CONTEXTS = r"""
/.*                             system_u:object_r:default_t:s0
/               -d              system_u:object_r:root_t:s0
/usr(/.*)?                      system_u:object_r:usr_t:s0
/usr/(.*/)?bin(/.*)?            system_u:object_r:bin_t:s0
/usr/lib/.*\.so  --             system_u:object_r:lib_t:s0
/etc(/.*)?                      system_u:object_r:etc_t:s0
/etc/motd\.d/[^/]+  --          system_u:object_r:motd_t:s0
/etc/.*         -l              system_u:object_r:etc_link_t:s0
/var(/.*)?                      system_u:object_r:var_t:s0
/var/lib(/.*)?                  system_u:object_r:var_lib_t:s0
/var/cache      <<none>>
/etc/hostname   --              system_u:object_r:hostname_t:s0
/etc/machine-id --              system_u:object_r:machineid_t:s0
"""


def policy_files(
    mode: str = "enforcing", contexts: str | None = CONTEXTS, **more: str
) -> dict[str, bytes]:
    """The files of a policy, for `image_files`; `more` by the last part of their names."""
    files = {"etc/selinux/config": f"SELINUX={mode}\nSELINUXTYPE=test\n".encode()}
    if contexts is not None:
        files[f"{FILES}/file_contexts"] = contexts.encode()
    return files | {f"{FILES}/file_contexts.{name}": text.encode() for name, text in more.items()}


def labels_of(tree: Directory) -> dict[str, str | None]:
    """The type in the label of each path, and None where there is no label."""
    nodes = [("", tree), *((path.decode(), node) for path, node in walk(tree))]
    labels = {path: node.metadata.xattrs.get(b"security.selinux") for path, node in nodes}
    return {
        path: None if label is None else label.decode().split(":")[2]
        for path, label in labels.items()
    }


class LibSelinux:
    """What libselinux says: ``selabel_lookup_raw`` for one file_contexts and what is beside it."""

    def __init__(self, contexts: Path) -> None:
        self._library = ctypes.CDLL("libselinux.so.1", use_errno=True)
        self._library.selabel_open.restype = ctypes.c_void_p
        self._library.selabel_open.argtypes = [ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint]
        self._library.selabel_close.argtypes = [ctypes.c_void_p]
        self._library.freecon.argtypes = [ctypes.c_void_p]
        self._lookup = self._library.selabel_lookup_raw
        self._lookup.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        options = (_Option * 1)(_Option(_OPTION_PATH, bytes(contexts)))
        self._handle = self._library.selabel_open(_FILE_BACKEND, options, 1)
        assert self._handle, os.strerror(ctypes.get_errno())

    def label(self, path: bytes, mode: int) -> bytes | None:
        found = ctypes.c_void_p()
        if self._lookup(self._handle, ctypes.byref(found), path, mode) < 0:
            assert ctypes.get_errno() == errno.ENOENT, (path, os.strerror(ctypes.get_errno()))
            return None
        label = ctypes.string_at(found)
        self._library.freecon(found)
        return label

    def close(self) -> None:
        self._library.selabel_close(self._handle)


class _Option(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("value", ctypes.c_char_p))


_FILE_BACKEND = 0
_OPTION_PATH = 3


def debian_policy() -> Path:
    """Debian's policy, as its modules have it: ``file_contexts`` and what belongs beside it."""
    return cached_folder("selinux-policy", digest_of(Path(__file__)), _unpack_policy)


def _unpack_policy(folder: Path) -> None:
    fetch = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "selinux-policy-default"]
    done = subprocess.run(fetch, cwd=folder, capture_output=True, timeout=300, check=False)
    packages = list(folder.glob("*.deb"))
    if done.returncode or not packages:
        said = done.stderr.decode(errors="replace")
        raise AssertionError(f"apt-get cannot download selinux-policy-default: {said}")
    subprocess.run(["dpkg-deb", "-x", packages[0], folder / "root"], check=True, timeout=300)
    modules = sorted((folder / "root/usr/share/selinux/default").glob("*.pp.bz2"))
    lines = [
        line for module in modules for line in _module_contexts(bz2.decompress(module.read_bytes()))
    ]
    # Whose home it is, is for genhomedircon(8) to say; it writes expressions like this one.
    homes = [line.replace(b"HOME_DIR", b"/home/[^/]+") for line in lines if b"HOME_DIR" in line]
    others = [line for line in lines if not re.search(rb"HOME_|%\{|ROLE", line)]
    # As libsemanage sorts them: what is more general comes first.
    others.sort(key=lambda line: _generality(line.split()[0]))
    (folder / "file_contexts").write_bytes(b"\n".join(others) + b"\n")
    homes = [line for line in homes if not re.search(rb"%\{|ROLE", line)]
    (folder / "file_contexts.homedirs").write_bytes(b"\n".join(homes) + b"\n")
    beside = "root/etc/selinux/default/contexts/files/file_contexts.subs_dist"
    shutil.copy(folder / beside, folder)
    shutil.rmtree(folder / "root")
    packages[0].unlink()


def _module_contexts(module: bytes) -> list[bytes]:
    """The lines that a policy package has for file_contexts (libsepol, policydb/module.h)."""
    _, _, count = struct.unpack_from("<III", module)
    starts = [*struct.unpack_from(f"<{count}I", module, 12), len(module)]
    sections = [module[start:end] for start, end in pairwise(starts)]
    contexts = [one[4:] for one in sections if one[:4] == struct.pack("<I", 0xF97CFF90)]
    lines = [line.strip() for one in contexts for line in one.splitlines()]
    return [line for line in lines if line and not line.startswith(b"#")]


def _generality(expression: bytes) -> tuple[bool, int, int]:
    found = re.search(rb"[.^$?*+|\[({]", expression)
    if found is None:
        return True, len(expression), len(expression)
    return False, found.start(), len(expression)
