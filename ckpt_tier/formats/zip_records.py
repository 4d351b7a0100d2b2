"""What stands before, in and after one record of a zip file, compared with what the directory says of it."""

import struct
import zlib

import msgspec
from zlib_ng.zlib_ng import crc32

from ckpt_tier.formats.check import Rejected
from ckpt_tier.formats.zip_directory import DEFLATED, HAS_DESCRIPTOR, LOCAL, Record, fields_of

_LOCAL = struct.Struct("<4s5H3I2H")
_FULL32 = 0xFFFFFFFF
_OUTPUT_BLOCK = 2**20


class Local(msgspec.Struct, frozen=True):
    """A local header; `name_length` and `extra_length` bytes of name and extra fields follow it."""

    version: int
    flags: int
    method: int
    time: int
    crc32: int
    stored_size: int
    size: int
    name_length: int
    extra_length: int


def parse_local(record: Record, raw: bytes) -> Local:
    """The 30 bytes of a local header; raises Rejected."""
    signature, version, flags, method, clock, date, *rest = _LOCAL.unpack(raw)
    if signature != LOCAL:
        raise Rejected(f"record {record.label} is damaged: there is no local header where the directory says")
    return Local(version, flags, method, date << 16 | clock, *rest)


def compare(record: Record, local: Local, name: bytes, extra: bytes, *, strict: bool) -> None:
    """Raises Rejected where the local header contradicts the directory.

    Loose, only name, method and sizes count: other writers put different flags and times into the two places.
    """
    same = local.method == record.method and name == record.name
    if local.flags & HAS_DESCRIPTOR:
        known = ((local.crc32, record.crc32), (local.stored_size, record.stored_size), (local.size, record.size))
        same &= all(here in (0, _FULL32, there) for here, there in known)
    else:
        same &= local.crc32 == record.crc32
        same &= local.stored_size in (record.stored_size, _FULL32) and local.size in (record.size, _FULL32)
    if strict:
        same &= (local.version, local.flags, local.time) == (record.version, record.flags, record.time)
        for _ in fields_of(extra):
            pass
    if not same:
        raise Rejected(f"record {record.label} is damaged: its local header and the zip directory disagree")


def check_descriptor(record: Record, raw: bytes) -> None:
    """Raises Rejected unless `raw`, which follows the record's data, is its data descriptor."""
    width = "<2Q" if len(raw) in (20, 24) else "<2I"
    body = raw[4:] if raw.startswith(b"PK\x07\x08") and len(raw) in (16, 24) else raw
    expected = record.crc32.to_bytes(4, "little") + struct.pack(width, record.stored_size, record.size)
    if body != expected:
        raise Rejected(f"record {record.label} is damaged: what follows its data and the zip directory disagree")


class Tail:
    """Remembers the last byte of a record, and nothing else."""

    def __init__(self) -> None:
        self.last = -1

    def update(self, data: memoryview) -> None:
        self.last = data[-1]


class Stored(Tail):
    """Follows the CRC32 of a record that is stored as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._crc = 0

    def update(self, data: memoryview) -> None:
        self._crc = crc32(data, self._crc)
        self.last = data[-1]

    def close(self, record: Record) -> None:
        """Raises Rejected when the record is not what its CRC32 says."""
        if self._crc != record.crc32:
            raise Rejected(f"record {record.label} does not match its CRC32: its bytes changed after it was saved")


class Inflated(Stored):
    """Follows the CRC32 of a deflated record, in bounded memory; more output than announced is refused at once."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._left = record.size

    def update(self, data: memoryview) -> None:
        rest: bytes | memoryview = data
        while len(rest) and not self._stream.eof:
            try:
                output = self._stream.decompress(rest, min(_OUTPUT_BLOCK, self._left + 1))
            except zlib.error as error:
                raise Rejected(f"record {self._record.label} is damaged: it does not decompress ({error})") from error
            self._left -= len(output)
            if self._left < 0:
                raise Rejected(f"record {self._record.label} is damaged: it decompresses to more than its size")
            if output:
                super().update(memoryview(output))
            rest = self._stream.unconsumed_tail

    def close(self, record: Record) -> None:
        # Bounded output may leave the end of the stream, which needs no more input, still inside zlib.
        while not self._stream.eof and self._left >= 0:
            output = self._stream.decompress(b"", min(_OUTPUT_BLOCK, self._left + 1))
            if not output:
                break
            self._left -= len(output)
            super().update(memoryview(output))
        if self._left or not self._stream.eof:
            raise Rejected(f"record {record.label} is damaged: its compressed data end early")
        super().close(record)


def sink_for(record: Record) -> Stored | None:
    """What follows the record's CRC32; None for methods that only its structure can be checked of."""
    if record.is_encrypted:
        return None
    if record.method == DEFLATED:
        return Inflated(record)
    return Stored() if record.method == 0 else None
