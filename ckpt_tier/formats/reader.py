"""Reading an open file by position: never by mapping it, since a file truncated while mapped is a SIGBUS."""

import os

from ckpt_tier.errors import IntegrityError
from ckpt_tier.formats.check import Rejected


class FileReader:
    """A `Reader` over an open descriptor, which it does not close. Thread-safe: it keeps no position."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    def fileno(self) -> int:
        return self._descriptor

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes; raises Rejected when the file ends before, IntegrityError when the disk fails."""
        if offset < 0 or length < 0 or offset + length > self._size:
            raise Rejected(f"truncated: bytes {offset} to {offset + length} are asked for, the file has {self._size}")
        buffer = bytearray(length)
        with memoryview(buffer) as view:
            done = 0
            while done < length:
                count = read_into(self._descriptor, view[done:], offset + done)
                if count == 0:
                    raise Rejected(f"truncated: the file ends at byte {offset + done}")
                done += count
        return bytes(buffer)


def read_into(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Reads at most `len(buffer)` bytes at `offset`; 0 at the end. Raises IntegrityError when the disk fails."""
    try:
        return os.preadv(descriptor, [buffer], offset)
    except OSError as error:
        raise IntegrityError(
            f"the file can't be read at byte {offset}",
            error.strerror or str(error),
            "look at the disk: its kernel log and its SMART state",
        ) from error
