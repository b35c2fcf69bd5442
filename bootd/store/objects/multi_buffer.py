"""Hashes of many blocks side by side, by Intel's Multi-Buffer Crypto library where that is there.

One block after the other leaves most of a vector unit idle; the library hashes eight or sixteen at
a time, in a fourth of the time, or in half of it where there are SHA instructions. It is optional:
without it, on other processors, or where it is no faster on the first blocks that both are given,
there is nobody here to ask and `bootd.store.objects.verity` has hashlib do it one by one.

Invariants: a hasher is taken by one caller at a time, and handed back only when the library is done
with what it was given. One that was interrupted is never asked again, since its jobs point to
memory that may be gone.

Source: intel-ipsec-mb.h, ``IMB_JOB`` and the beginning of ``IMB_MGR``, whose fields have the same
places in 1.3 to 2.0.2 (the versions that are accepted); its functions are reached through them, as
the header's macros do.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Final

from bootd.clock import SYSTEM_CLOCK, Clock
from bootd.model.hash_algorithm import SHA256, SHA512, HashAlgorithm

_log = logging.getLogger(__name__)

BLOCK: Final = 4096
_LIBRARIES: Final = ("libIPSec_MB.so.2", "libIPSec_MB.so.1")
_VERSIONS: Final = range(0x1_03_00, 0x2_00_03)
_ENCRYPT: Final = 1
_NO_CIPHER: Final = 3
_HASH_FIRST: Final = 2
"""``IMB_DIR_ENCRYPT``, ``IMB_CIPHER_NULL``, ``IMB_ORDER_HASH_CIPHER``."""
_NUMBERS: Final = {SHA256: 15, SHA512: 17}
"""``IMB_AUTH_SHA_256``, ``IMB_AUTH_SHA_512``."""
_FEW_BLOCKS: Final = 4
"""Up to so many at a time hashlib is as fast."""
_GROUP: Final = 1024
"""Blocks whose hashes there is room for."""
_RUNS: Final = 6
_PROBE: Final = b"".join(bytes([number]) * BLOCK for number in range(64))
"""Different blocks, as many as all lanes of any processor hold four times."""


class _Job(ctypes.Structure):
    """What all versions have of ``IMB_JOB``; each has more after it."""

    _fields_ = (
        ("keys", ctypes.c_void_p * 2),
        ("key_size", ctypes.c_uint64),
        ("source", ctypes.c_void_p),
        ("destination", ctypes.c_void_p),
        ("cipher_start", ctypes.c_uint64),
        ("cipher_size", ctypes.c_uint64),
        ("hash_start", ctypes.c_uint64),
        ("hash_size", ctypes.c_uint64),
        ("initialization_vector", ctypes.c_void_p),
        ("initialization_vector_size", ctypes.c_uint64),
        ("digest", ctypes.c_void_p),
        ("digest_size", ctypes.c_uint64),
        ("by_algorithm", ctypes.c_uint64 * 3),
        ("status", ctypes.c_int),
        ("cipher", ctypes.c_int),
        ("direction", ctypes.c_int),
        ("hash", ctypes.c_int),
        ("order", ctypes.c_int),
    )


# Without letting go of the interpreter's lock, which would take as long as the call.
_Call = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


class _State(ctypes.Structure):
    """The beginning of ``IMB_MGR``."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("features", ctypes.c_uint64),
        ("reserved", ctypes.c_uint64 * 5),
        ("used_architecture", ctypes.c_uint32),
        ("error", ctypes.c_int),
        ("next_job", _Call),
        ("submit", _Call),
        ("submit_unchecked", _Call),
        ("completed_job", _Call),
        ("flush", _Call),
    )


class BlockHasher:
    """One manager of the library.

    Raises:
        OSError: the library is not there, is another version, or does not run on this processor.
    """

    def __init__(self, algorithm: HashAlgorithm) -> None:
        library = _library()
        library.alloc_mb_mgr.restype = ctypes.c_void_p
        address = library.alloc_mb_mgr(ctypes.c_uint64(0))
        if not address:
            raise OSError("no memory for a manager")
        library.init_mb_mgr_auto(ctypes.c_void_p(address), None)
        state = _State.from_address(address)
        if state.error or not state.submit:
            raise OSError(f"the library does not run on this processor: error {state.error}")
        self._address = address
        self._next_job, self._submit, self._flush = state.next_job, state.submit, state.flush
        self._jobs: dict[int, _Job] = {}
        self._algorithm = algorithm
        self._digest_size = algorithm.digest_size
        self._block_job = _Job(
            cipher=_NO_CIPHER,
            direction=_ENCRYPT,
            order=_HASH_FIRST,
            hash=_NUMBERS[algorithm],
            hash_size=BLOCK,
            digest_size=self._digest_size,
        )
        self._hashes = ctypes.create_string_buffer(_GROUP * self._digest_size)
        if self.hash_blocks([_PROBE]) != [hash_one_by_one(_PROBE, algorithm)]:
            raise OSError("the library hashes wrongly")

    def is_faster(self, clock: Clock = SYSTEM_CLOCK) -> bool:
        """Return whether it takes less time than hashlib here: which one does is the processor's.

        Of six runs each the shortest counts: the first prepare places, others may be held up.
        """

        def shortest(hashing: Callable[[], object]) -> float:
            return min(_seconds(hashing, clock) for _ in range(_RUNS))

        own = shortest(lambda: self.hash_blocks([_PROBE]))
        return own < shortest(lambda: hash_one_by_one(_PROBE, self._algorithm))

    def hash_blocks(self, contents: Sequence[bytes]) -> list[bytes]:
        """Return for each content the hashes of its blocks of 4096 bytes, joined.

        Args:
            contents: the last block of each counts as if filled with zeros.
        """
        held: list[ctypes.c_char_p] = []
        sources: list[int] = []
        ends = [0]
        for data in contents:
            whole = len(data) & -BLOCK
            if whole:
                held.append(ctypes.c_char_p(data))
                start = _address_of(held[-1])
                sources += range(start, start + whole, BLOCK)
            if whole < len(data):
                held.append(ctypes.c_char_p(data[whole:].ljust(BLOCK, b"\0")))
                sources.append(_address_of(held[-1]))
            ends.append(len(sources) * self._digest_size)
        groups = range(0, len(sources), _GROUP)
        hashes = b"".join([self._hash_group(sources[at : at + _GROUP]) for at in groups])
        return [hashes[start:end] for start, end in pairwise(ends)]

    def _hash_group(self, sources: list[int]) -> bytes:
        hashes = digest = ctypes.addressof(self._hashes)
        address, next_job, submit, flush = self._address, self._next_job, self._submit, self._flush
        jobs, digest_size = self._jobs, self._digest_size
        for source in sources:
            place = next_job(address)
            job = jobs.get(place) or self._job_at(place)
            job.source = source
            job.digest = digest
            submit(address)
            digest += digest_size
        while flush(address):
            pass
        return ctypes.string_at(hashes, len(sources) * digest_size)

    def _job_at(self, place: int) -> _Job:
        """Prepare a place of the manager's ring once; all but two fields are always the same."""
        ctypes.memmove(place, ctypes.addressof(self._block_job), ctypes.sizeof(_Job))
        job = self._jobs[place] = _Job.from_address(place)
        return job


def hash_blocks(contents: Sequence[bytes], algorithm: HashAlgorithm) -> list[bytes] | None:
    """Return for each content the hashes of its blocks of 4096 bytes, joined.

    Args:
        contents: the last block of each counts as if filled with zeros.
        algorithm: what hashes them.

    Returns:
        None where hashlib has to do it.
    """
    if sum([-(-len(data) // BLOCK) for data in contents]) <= _FEW_BLOCKS:
        return None
    idle = _idle(algorithm)
    try:
        hasher = idle.pop()
    except IndexError:
        return None
    hashes = hasher.hash_blocks(contents)
    idle.append(hasher)
    return hashes


def hash_one_by_one(data: bytes, algorithm: HashAlgorithm) -> bytes:
    """Return the same for one content, as hashlib does it."""
    new = algorithm.new
    if len(data) <= BLOCK:
        return new(data.ljust(BLOCK, b"\0")).digest() if data else b""
    view = memoryview(data)
    whole = len(view) & -BLOCK
    hashes = [new(view[start : start + BLOCK]).digest() for start in range(0, whole, BLOCK)]
    if whole < len(view):
        hashes.append(new(data[whole:].ljust(BLOCK, b"\0")).digest())
    return b"".join(hashes)


@cache
def _idle(algorithm: HashAlgorithm) -> list[BlockHasher]:
    """Return the hasher nobody is using, if there is one."""
    try:
        hasher = BlockHasher(algorithm)
    except OSError as error:
        _log.debug("blocks are hashed one by one: %s", error)
        return []
    return [hasher] if hasher.is_faster() else []


def _seconds(hashing: Callable[[], object], clock: Clock) -> float:
    start = clock.monotonic()
    hashing()
    return clock.monotonic() - start


def _address_of(held: ctypes.c_char_p) -> int:
    # cast() would leave a cycle that keeps the bytes until the next garbage collection.
    return ctypes.c_void_p.from_buffer(held).value or 0


def _library() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        version = library.imb_get_version()
        if version not in _VERSIONS:
            raise OSError(f"{name} is version {version:#x}")
        return library
    raise OSError("there is no libIPSec_MB")
