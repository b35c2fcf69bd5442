"""The filter of system calls, run as the kernel would run it."""

from __future__ import annotations

import errno
from struct import Struct, iter_unpack

import pytest

from bootd.sandbox.calls import ARCHITECTURES, Architecture, filter_program

_ALLOWED = 0x7FFF0000
_KILLED = 0x80000000
_FAILS = 0x00050000
_DATA = Struct("<iIQ6Q")
_FEW = 20

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)


def answer(architecture: Architecture, number: int, *, audit: int = 0, third: int = 0) -> int:
    """What the filter says of a call; BPF as linux/filter.h describes it."""
    data = _DATA.pack(number, audit or architecture.audit, 0, 0, 0, third, 0, 0, 0)
    program = list(iter_unpack("=HBBI", filter_program(architecture)))
    at = value = 0
    while True:
        code, when_true, when_false, operand = program[at]
        at += 1
        match code:
            case 0x20:
                value = int.from_bytes(data[operand : operand + 4], "little")
            case 0x06:
                return int(operand)
            case _:
                is_so = {
                    0x15: value == operand,
                    0x35: value >= operand,
                    0x45: bool(value & operand),
                }[code]
                at += when_true if is_so else when_false


@architectures
def test_what_is_listed_is_allowed_and_nothing_else(architecture: Architecture) -> None:
    listed = {*architecture.allowed.values(), *architecture.mapping}
    allowed = {number for number in range(1_000) if answer(architecture, number) == _ALLOWED}
    assert allowed == listed
    assert len(listed) <= _FEW


@architectures
@pytest.mark.parametrize("protection", [0, 1, 3, 4, 5, 7])
def test_nothing_becomes_executable(architecture: Architecture, protection: int) -> None:
    for number in architecture.mapping:
        told = answer(architecture, number, third=protection)
        assert told == (_FAILS | errno.EPERM if protection & 4 else _ALLOWED)
    number = architecture.allowed["read"]
    assert answer(architecture, number, third=protection) == _ALLOWED


@architectures
def test_new_calls_are_said_not_to_be_there(architecture: Architecture) -> None:
    x32 = 0x40000000 | architecture.allowed["read"]
    for number in (471, 999, x32, 0x7FFFFFFF):
        assert answer(architecture, number) == _FAILS | errno.ENOSYS


@architectures
def test_numbers_of_another_architecture_end_the_process(architecture: Architecture) -> None:
    number = architecture.allowed["read"]
    assert answer(architecture, number, audit=0x40000003) == _KILLED
