"""A range of a file as a raw stream: for unpickling one record without holding or mapping it."""

import io
from typing import TYPE_CHECKING

from ckpt_tier.formats.check import Reader

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Window(io.RawIOBase):
    """`length` bytes of `reader` from `start`. Not thread-safe."""

    def __init__(self, reader: Reader, start: int, length: int) -> None:
        super().__init__()
        self._reader = reader
        self._start = start
        self._length = length
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._length - self._position))
        view[:count] = self._reader.read_at(self._start + self._position, count)
        self._position += count
        return count
