"""The 32-bit xxHash, by which EROFS picks an attribute name's filter bit.

Source: xxHash fast digest algorithm, version 0.1.1, section "XXH32 algorithm".
"""

from __future__ import annotations

from struct import iter_unpack
from typing import Final

_PRIMES: Final = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)
_STRIPE: Final = 16
_MASK: Final = 0xFFFF_FFFF


def xxh32(data: bytes, seed: int) -> int:
    """Return the hash of `data` as a number."""
    one, two, three, four, five = _PRIMES
    striped = len(data) - len(data) % _STRIPE
    if striped:
        lanes = [seed + one + two, seed + two, seed, seed - one]
        for stripe in iter_unpack("<4I", data[:striped]):
            lanes = [
                _rotate(lane + word * two, 13) * one
                for lane, word in zip(lanes, stripe, strict=True)
            ]
        result = sum(map(_rotate, lanes, (1, 7, 12, 18)))
    else:
        result = seed + five
    result += len(data)
    words = len(data) & ~3
    for (word,) in iter_unpack("<I", data[striped:words]):
        result = _rotate(result + word * three, 17) * four
    for byte in data[words:]:
        result = _rotate(result + byte * five, 11) * one
    result &= _MASK
    result = (result ^ result >> 15) * two & _MASK
    result = (result ^ result >> 13) * three & _MASK
    return result ^ result >> 16


def _rotate(number: int, bits: int) -> int:
    number &= _MASK
    return (number << bits | number >> 32 - bits) & _MASK
