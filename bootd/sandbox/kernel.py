"""The system calls of a sandbox that Python does not have; each error is an `OSError`.

Sources: prctl(2), capset(2), seccomp(2), landlock(7), and the numbers of
linux/arch/x86/entry/syscalls/syscall_64.tbl and linux/include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)

_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_GET_ACTION_AVAIL: Final = 2
_SECCOMP_RET_ALLOW: Final = 0x7FFF0000
_SECCOMP_FILTER_FLAG_LOG: Final = 2
"""What is refused is told in the kernel's log, with the number of the system call."""
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_ADD_RULE: Final = 445
_LANDLOCK_RESTRICT_SELF: Final = 446
"""The same on all architectures."""
_LANDLOCK_VERSION: Final = 1
_LANDLOCK_PATH_BENEATH: Final = 1


def forbid_new_privileges() -> None:
    """Let no program that this process starts gain anything; that is for good."""
    _checked(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def drop_from_bounding_set(capability: int) -> None:
    """Take a capability out of what this process's programs could ever have."""
    _checked(_LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0))


def give_up_capabilities(kept: int = 0) -> None:
    """Keep of this process's capabilities none but some, and none for programs that are started.

    Args:
        kept: a bit for each that is kept if it is there, of the first 32.
    """
    _checked(_LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable, of the first 32 and of the others.
    sets = (ctypes.c_uint32 * 6)()
    _checked(_LIBC.capget(header, sets))
    left = sets[1] & kept
    _checked(_LIBC.capset(header, (ctypes.c_uint32 * 6)(left, left, 0, 0, 0, 0)))


def has_filters(call: int) -> bool:
    """Return whether system calls can be filtered, by this process too.

    Args:
        call: the number of seccomp(2) here.
    """
    answer = ctypes.c_uint32(_SECCOMP_RET_ALLOW)
    try:
        return _call(call, _SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(answer)) == 0
    except OSError:
        return False


class _Program(ctypes.Structure):
    """``struct sock_fprog`` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def set_filter(call: int, instructions: bytes) -> None:
    """Filter the system calls of this process, which may gain no privileges.

    Args:
        call: the number of seccomp(2) here.
        instructions: ``struct sock_filter`` of linux/filter.h, one after the other.
    """
    program = _Program(len(instructions) // 8, instructions)
    for flags in (_SECCOMP_FILTER_FLAG_LOG, 0):
        try:
            _call(call, _SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(program))
        except OSError:
            # Linux before 4.14 does not know the flag.
            if not flags:
                raise
        else:
            return


def landlock_version() -> int:
    """Return the version of Landlock's interface; 0: the kernel has none, or it is turned off."""
    try:
        return _call(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    except OSError:
        return 0


def create_ruleset(attributes: bytes) -> int:
    """Return an open file for ``struct landlock_ruleset_attr`` of linux/landlock.h."""
    return _call(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)


def add_path_rule(ruleset: int, attributes: bytes) -> None:
    """Add a rule, ``struct landlock_path_beneath_attr`` of linux/landlock.h."""
    _call(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_PATH_BENEATH, attributes, 0)


def restrict_self(ruleset: int) -> None:
    """Obey a ruleset from now on; this process may gain no privileges."""
    _call(_LANDLOCK_RESTRICT_SELF, ruleset, 0)


def _call(number: int, *arguments: object) -> int:
    longs = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _checked(_LIBC.syscall(ctypes.c_long(number), *longs))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
