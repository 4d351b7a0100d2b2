"""A tensor's bytes in pieces: one of any size is read in bounded memory, and its checksum is followed on the way."""

from zlib_ng.zlib_ng import crc32

from ckpt_tier.formats.check import Reader, Rejected
from ckpt_tier.formats.zip_directory import LOCAL, LOCAL_LENGTH
from ckpt_tier.tensors.nouns import Storage

HEADER = 4096
"""Bytes that are read for a record's local header where only part of the record is wanted; torch pads it to 64."""


class Pieces:
    """The bytes of a storage from `begin` to `end`, in order. For one thread.

    Where that is the whole storage and the file has noted its CRC32, the last piece is given only if all of them match.
    """

    def __init__(self, reader: Reader, storage: Storage, begin: int, end: int) -> None:
        self._reader = reader
        self._storage = storage
        self._begin = begin
        self._left = end - begin
        self._ahead = b""
        self._next: int | None = None if storage.in_record else storage.offset + begin
        whole = storage.in_record and (begin, end) == (0, storage.size_bytes)
        self._expected = storage.crc32 if whole else None
        self._crc = 0

    def take(self, length: int) -> bytes:
        """The next `length` bytes, of which so many must be left. Raises Rejected for damage."""
        if self._next is None:
            self._next = self._start(length)
        data = self._ahead[:length]
        self._ahead = self._ahead[length:]
        if len(data) < length:
            rest = self._reader.read_at(self._next, length - len(data))
            self._next += len(rest)
            data = data + rest if data else rest
        self._left -= length
        if self._expected is not None:
            self._crc = crc32(data, self._crc)
            if not self._left and self._crc != self._expected:
                raise Rejected("its bytes do not match their CRC32: they changed after they were saved")
        return data

    def _start(self, length: int) -> int:
        """Where in the file to read on. The first bytes of a record come with its header, in one request."""
        room = self._storage.limit - self._storage.offset
        raw = self._reader.read_at(self._storage.offset, min(room, HEADER + (0 if self._begin else length)))
        data = _header_length(raw)
        if data + self._storage.size_bytes > room:
            raise Rejected("its record is damaged: it overlaps what follows it")
        if not self._begin:
            self._ahead = raw[data : data + self._left]
        return self._storage.offset + data + self._begin + len(self._ahead)


def _header_length(raw: bytes) -> int:
    if raw[: len(LOCAL)] != LOCAL or len(raw) < LOCAL_LENGTH:
        raise Rejected("there is no local header where the directory says")
    return LOCAL_LENGTH + int.from_bytes(raw[26:28], "little") + int.from_bytes(raw[28:30], "little")
