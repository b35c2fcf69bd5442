"""The system calls that a process needs which reads one pipe and writes another, as a filter.

Pure. A call that is not on the list fails with EPERM, one that is newer than the list with ENOSYS,
as if the kernel did not have it: the C library then takes another way, and a bootd on a new one
still works. Source: linux/filter.h and linux/seccomp.h (instructions and answers), audit.h
(architectures); the numbers are those of `bootd.sandbox.kernel`'s sources.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from struct import Struct
from typing import Final

_INSTRUCTION: Final = Struct("=HBBI")
_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_JUMP_IF_AT_LEAST: Final = 0x35
_JUMP_IF_ANY_BIT: Final = 0x45
_ANSWER: Final = 0x06
"""BPF_LD|BPF_W|BPF_ABS, BPF_JMP with JEQ, JGE or JSET and BPF_K, BPF_RET|BPF_K."""
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_THIRD_ARGUMENT: Final = 32
"""Where they stand in ``struct seccomp_data``; of the argument the lower half, little endian."""
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000
_KILL: Final = 0x80000000
_PROT_EXEC: Final = 4
_NEWEST: Final = 470
"""Numbers from here on are newer than this list; those of x32 are among them."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a processor family calls the system calls.

    Attributes:
        audit: its name in a filter, AUDIT_ARCH_….
        seccomp: the number of seccomp(2).
        mapping: the numbers of mmap(2) and mprotect(2), which may make nothing executable.
        allowed: the numbers of what may be called besides, by name.
    """

    audit: int
    seccomp: int
    mapping: tuple[int, int]
    allowed: dict[str, int]


ARCHITECTURES: Final = {
    "x86_64": Architecture(
        audit=0xC000003E,
        seccomp=317,
        mapping=(9, 10),
        allowed={
            "read": 0,
            "write": 1,
            "close": 3,
            "munmap": 11,
            "brk": 12,
            "rt_sigprocmask": 14,
            "rt_sigreturn": 15,
            "mremap": 25,
            "madvise": 28,
            "exit": 60,
            "futex": 202,
            "restart_syscall": 219,
            "clock_gettime": 228,
            "exit_group": 231,
            "getrandom": 318,
        },
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        seccomp=277,
        mapping=(222, 226),
        allowed={
            "read": 63,
            "write": 64,
            "close": 57,
            "munmap": 215,
            "brk": 214,
            "rt_sigprocmask": 135,
            "rt_sigreturn": 139,
            "mremap": 216,
            "madvise": 233,
            "exit": 93,
            "futex": 98,
            "restart_syscall": 128,
            "clock_gettime": 113,
            "exit_group": 94,
            "getrandom": 278,
        },
    ),
}
"""By what uname(2) calls the machine."""


def filter_program(architecture: Architecture) -> bytes:
    """Return the instructions that allow what `Architecture` lists and refuse all else.

    A call by another architecture's numbers ends the process: nothing here makes any.
    """
    numbers = [*architecture.mapping, *architecture.allowed.values()]
    # The first two of what follows the tests are those of a mapping.
    mapping = len(numbers) + 4
    allow, refuse, unknown, kill = range(mapping + 2, mapping + 6)
    program = [
        (_LOAD, 1, 1, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 2, kill, architecture.audit),
        (_LOAD, 3, 3, _NUMBER),
        (_JUMP_IF_AT_LEAST, unknown, 4, _NEWEST),
    ]
    for number in numbers:
        target = mapping if number in architecture.mapping else allow
        after = len(program) + 1
        program.append((_JUMP_IF_EQUAL, target, refuse if after == mapping else after, number))
    program += [
        (_LOAD, allow - 1, allow - 1, _THIRD_ARGUMENT),
        (_JUMP_IF_ANY_BIT, refuse, allow, _PROT_EXEC),
        (_ANSWER, 0, 0, _ALLOW),
        (_ANSWER, 0, 0, _FAIL | errno.EPERM),
        (_ANSWER, 0, 0, _FAIL | errno.ENOSYS),
        (_ANSWER, 0, 0, _KILL),
    ]
    return b"".join(map(_instruction, range(len(program)), program))


def _instruction(place: int, parts: tuple[int, int, int, int]) -> bytes:
    """Return an instruction; of a jump, where to when it is true and when it is not."""
    code, when_true, when_false, value = parts
    if code in (_LOAD, _ANSWER):
        return _INSTRUCTION.pack(code, 0, 0, value)
    return _INSTRUCTION.pack(code, when_true - place - 1, when_false - place - 1, value)
