"""Layers are unpacked, and tar streams read, by processes that hold no power.

What they are given and what they answer goes through memory that they share with whoever asks
(`bootd.sandbox.reader_process`), who looks at copies of it alone. One process unpacks a blob. What
it answers should be the layer's tar stream: whoever asked measures that, so nothing but the layer
with the right diff ID can come of it, whatever became of the process. Another one is given the same
bytes and tells the entries in them. Contents are taken from the stream as it was measured, by
nobody's word but where they are.
"""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final, Self

from bootd.model.errors import DamagedRecordError, ProcessFailedError
from bootd.model.tree import INLINE_LIMIT, RegularFile
from bootd.sandbox.reader_process import ReaderProcess
from bootd.store.images.dumpfile import DumpEntry
from bootd.store.layer_entry import store_entry
from bootd.store.tar.decompress import joined, load_decompressors, unpack
from bootd.store.tar.entry_messages import (
    NO_DIGEST,
    EntryTeller,
    Message,
    Pair,
    needs_content,
    take_message,
)
from bootd.store.tar.header import TarEntry
from bootd.store.tar.reader import ByteStream, TarReader
from bootd.store.tar.sparse import Segment, expand

_UNPACKER: Final = "a process that unpacked a layer"
_READER: Final = "a process that read a layer's tar stream"
_HINT: Final = "If memory was short, lower parallel_layers; the journal has its last words, if any."
_NONSENSE_HINT: Final = "Do not trust the image; please report this with the journal."
_PIECE: Final = 256 << 10
"""Bytes: what is answered at once costs a change of processes."""
_AHEAD: Final = 4 << 20
"""Bytes of the stream that may wait for what is told of them."""
_UNREAD: Final = 16 << 20
"""Bytes that may be told of a piece of the stream, many times what there is to be told."""
_FREE_MESSAGES: Final = 2_000
_MESSAGE_BYTES: Final = 16 << 10
"""Beyond the first and one for each entry, so many bytes of the stream come to each message: it has
4,096 pieces of a file with holes, whose map has four bytes for each, or tells of more than that."""


def unpacked(chunks: Iterable[bytes], media_type: str, limit: int) -> Generator[bytes, None, None]:
    """Yield what `bootd.store.tar.decompress.unpack` makes of a blob, in another process.

    Only the caller's process asks for the chunks.

    Raises:
        ContentError: see `unpack`.
        ProcessFailedError: the process died.
    """
    load_decompressors()

    def work(pieces: Iterator[bytes], write: Callable[[bytes], None]) -> None:
        for piece in joined(unpack(pieces, media_type, limit), _PIECE):
            write(piece)

    with ReaderProcess(_UNPACKER, _HINT, work) as process:
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                taken, came = process.exchange(view)
                view = view[taken:]
                if came:
                    yield came
        process.finish()
        while came := process.receive():
            yield came


class LayerReader:
    """The entries of a tar stream, in their order; a context manager that ends the process.

    Args:
        tar: the stream, in pieces of any size, which is read to its end.
    """

    def __init__(self, tar: Iterable[bytes]) -> None:
        self._tar = iter(tar)
        self._process = ReaderProcess(_READER, _HINT, _tell_entries)
        self._received = bytearray()
        self._window: deque[bytes] = deque()
        self._ahead = 0
        self._is_all = False
        self._stream = ByteStream(self._pieces())
        self._content: Pair = 0, 0
        self._size = 0
        self._given = 0
        self._messages = 0
        self._entries = 0
        self._known = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__()

    def entries(self) -> Iterator[DumpEntry]:
        """Yield the entries; the content of one can be read until the next is asked for.

        A content that does not stand in its entry has no digest yet, but `NO_DIGEST`.

        Raises:
            InvalidLayerError: see `bootd.store.tar.reader` and `bootd.store.layer_entry`.
            ProcessFailedError: the process died, or told what cannot be.
        """
        while (message := self._next_message()) is not None:
            for entry in message.entries:
                if needs_content(entry):
                    self._begin_content(entry, message)
                    yield entry
                    self._skip_to(sum(self._content))
                else:
                    yield entry
            self._skip_to(message.place)
        while self._feed():
            self._window.clear()

    def read(self) -> bytes:
        """Return the whole content of the entry just yielded; for those that fit in memory."""
        start, stored = self._content
        if stored == self._size and self._stream.place == start:
            return self._stream.take(stored)
        return b"".join(self.content())

    def content(self) -> Iterator[bytes]:
        """Yield the content of the entry just yielded, in pieces."""
        _, stored = self._content
        pieces = self._stream.pieces(stored)
        return pieces if stored == self._size else expand(pieces, self._segments(), self._size)

    def _begin_content(self, entry: DumpEntry, message: Message) -> None:
        assert isinstance(entry.node, RegularFile)
        content = next(message.pairs, None)
        self._size = entry.node.size
        if content is None or content[1] > self._size:
            raise _nonsense("a content that is longer than its file")
        self._content = content
        self._known = sum(content)
        self._skip_to(content[0])

    def _skip_to(self, place: int) -> None:
        ahead = place - self._stream.place
        if ahead > 0:
            self._stream.skip(ahead)

    def _segments(self) -> Iterator[Segment]:
        """Yield where the data of a file with holes belong, as they are told."""
        at, left = 0, self._content[1]
        while left:
            message = self._next_message()
            if message is None or message.entries:
                raise _nonsense("a file of which pieces are missing")
            for offset, length in message.pairs:
                left -= length
                if offset < at or left < 0 or offset + length > self._size:
                    raise _nonsense("pieces of a file that do not fit it")
                at = offset + length
                yield offset, length

    def _next_message(self) -> Message | None:
        """Return the next message; None where no more comes."""
        while True:
            try:
                message = take_message(self._received)
            except DamagedRecordError as error:
                raise _nonsense(error.message) from error
            if message is not None:
                self._count(message)
                return message
            if not self._process.is_ready() and self._ahead < _AHEAD and self._feed():
                continue
            came = self._process.receive()
            if not came:
                if self._received:
                    raise _nonsense("half a message")
                return None
            self._received += came

    def _count(self, message: Message) -> None:
        """Refuse messages without end."""
        self._messages += 1
        self._entries += len(message.entries)
        if self._messages > _FREE_MESSAGES + self._entries + self._given // _MESSAGE_BYTES:
            raise _nonsense("more than there can be")

    def _pieces(self) -> Iterator[bytes]:
        """Yield the stream, all of which the process is given."""
        while self._window or self._feed():
            piece = self._window.popleft()
            self._ahead -= len(piece)
            yield piece

    def _feed(self) -> bool:
        """Give the process the next piece of the stream; return whether there was one."""
        if self._is_all:
            return False
        piece = next(self._tar, None)
        if piece is None:
            self._is_all = True
            self._process.finish()
            return False
        self._window.append(piece)
        self._ahead += len(piece)
        # Of a content of which it has told nobody needs to read more.
        known = max(0, min(self._known - self._given, len(piece)))
        self._given += len(piece)
        view = memoryview(piece)
        self._give(view[:known], left_out=True)
        self._give(view[known:], left_out=False)
        return True

    def _give(self, view: memoryview, *, left_out: bool) -> None:
        while view:
            taken, came = self._process.exchange(view, left_out=left_out)
            view = view[taken:]
            self._received += came
            if len(self._received) > _UNREAD:
                raise _nonsense("more than there can be")


def _nonsense(what: str) -> ProcessFailedError:
    return ProcessFailedError(f"{_READER} told of {what}", hint=_NONSENSE_HINT)


def _tell_entries(pieces: Iterator[bytes], write: Callable[[bytes], None]) -> None:
    """Be the process."""
    teller = EntryTeller(write)

    def told() -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            teller.flush_if_due(reader.place, waits=True)

    reader = TarReader(told())
    contents = _Contents(reader)
    while (tar := reader.next()) is not None:
        entry = store_entry(tar, contents.of(tar), contents)
        if not needs_content(entry):
            teller.add(entry, None)
            continue
        teller.add(entry, (reader.place, tar.stored))
        if tar.stored != tar.size:
            pieces_of_it = (piece for piece in reader.segments or () if piece[1])
            teller.add_pieces(pieces_of_it, reader.place)
        else:
            teller.flush_if_due(reader.place, waits=False)
    teller.flush(reader.place)


class _Contents:
    """Stands where contents are read and stored: those that are small are read, none is stored."""

    def __init__(self, reader: TarReader) -> None:
        self._reader = reader
        self._is_small = False

    def of(self, tar: TarEntry) -> Self:
        self._is_small = tar.file_type == stat.S_IFREG and tar.size <= INLINE_LIMIT
        return self

    def read(self) -> bytes:
        return self._reader.read() if self._is_small else b""

    def content(self) -> Iterator[bytes]:
        return iter(())

    def add_soon(self, file: RegularFile, _content: bytes) -> None:
        file.verity = NO_DIGEST

    def add_stream(self, _pieces: Iterable[bytes]) -> bytes:
        return NO_DIGEST
