"""The arguments of a pickle's opcodes, each in bounded memory whatever length a few hostile bytes announce."""

import io
import pickletools
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from ckpt_tier.formats.check import Rejected
from ckpt_tier.tensors.nodes import Passed

LONGEST = 2**16
"""Bytes of one string that are read; of a longer one only the length is kept."""
MOST_TEXT = 2**28
"""Bytes of all strings that are read."""


class Source:
    """What pickletools' readers read from: nothing longer than `LONGEST` at once."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self.raw = file.read
        """A few bytes, or fewer at the end; by no function of ours, since it is asked tens of thousands of times."""
        self._text_left = MOST_TEXT

    def read(self, length: int) -> bytes:
        if length > LONGEST:
            raise ValueError("a number is too long")
        data = self._file.read(length)
        if len(data) < length:
            raise ValueError("it ends too early")
        return data

    def tell(self) -> int:
        """Where the next byte is read from."""
        return self._file.tell()

    def readline(self) -> bytes:
        return self._noted(self._file.readline(LONGEST))

    def counted(self, width: int) -> bytes | Passed:
        """A string behind its length, which has `width` bytes."""
        length = int.from_bytes(self.read(width), "little")
        if length <= LONGEST:
            return self._noted(self.read(length))
        if self._file.tell() + length > self._size:
            raise ValueError("it ends too early")
        self._file.seek(length, io.SEEK_CUR)
        return Passed(length)

    def _noted(self, text: bytes) -> bytes:
        self._text_left -= len(text)
        if self._text_left < 0:
            raise Rejected(f"its pickle has more than {MOST_TEXT >> 20} MiB of text, too much to list what it holds")
        return text


_TWO, _FOUR = struct.Struct("<H"), struct.Struct("<I")


def _one(source: Source) -> int:
    return source.raw(1)[0]


def _two(source: Source) -> Any:
    return _TWO.unpack(source.raw(2))[0]


def _four(source: Source) -> Any:
    return _FOUR.unpack(source.raw(4))[0]


def _bytes(width: int) -> Callable[[Any], Any]:
    return lambda source: source.counted(width)


def _text(width: int, encoding: str = "utf-8", errors: str = "surrogatepass") -> Callable[[Any], Any]:
    def read(source: Source) -> str | Passed:
        data = source.counted(width)
        return data if isinstance(data, Passed) else data.decode(encoding, errors)

    return read


_OURS: dict[str, Callable[[Any], Any]] = {
    # As pickletools reads them, in half the time: most of a checkpoint's pickle are these.
    "BINPUT": _one, "LONG_BINPUT": _four, "BINGET": _one, "LONG_BINGET": _four, "BININT1": _one, "BININT2": _two,
    "SHORT_BINBYTES": _bytes(1), "BINBYTES": _bytes(4), "BINBYTES8": _bytes(8), "BYTEARRAY8": _bytes(8),
    "SHORT_BINUNICODE": _text(1), "BINUNICODE": _text(4), "BINUNICODE8": _text(8),
    # Latin-1 takes every byte of the str objects of Python 2.
    "SHORT_BINSTRING": _text(1, "latin1"), "BINSTRING": _text(4, "latin1"),
}  # fmt: skip
READERS: dict[str, Callable[[Any], Any]] = {
    opcode.name: _OURS.get(opcode.name, opcode.arg.reader) for opcode in pickletools.opcodes if opcode.arg is not None
}
"""By the opcode's name: what takes its argument from a `Source`, for those that have one."""
