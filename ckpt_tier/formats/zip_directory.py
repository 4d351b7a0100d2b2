"""The central directory of a zip file, read with suspicion.

Layout and names: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (4.3.12 to 4.3.16, 4.5.3).
"""

import struct
from collections.abc import Iterator

import msgspec

from ckpt_tier.formats.check import Reader, Rejected

END = b"PK\x05\x06"
LOCAL = b"PK\x03\x04"
LOCAL_LENGTH = 30
STORED = 0
DEFLATED = 8
ENCRYPTED = 1
HAS_DESCRIPTOR = 8
MAX_DIRECTORY = 128 * 2**20
"""Bytes: room for more than a million records; a larger one is refused, not read."""

_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_FULL16 = 0xFFFF
_FOLDER = 0x10
"""The MS-DOS attribute bit, which is where the directory keeps it whatever wrote the file."""
_FULL32 = 0xFFFFFFFF
_LONGEST_COMMENT = 0xFFFF


class Record(msgspec.Struct, frozen=True, gc=False):
    """One entry of the directory; sizes and the offset of its local header in bytes."""

    name: bytes
    offset: int
    stored_size: int
    size: int
    crc32: int
    method: int
    flags: int
    version: int
    time: int

    @property
    def label(self) -> str:
        """The name, fit for a message."""
        text = self.name.decode("utf-8", "backslashreplace")
        shown = text if text.isprintable() else ascii(text)[1:-1]
        return shown if len(shown) <= 80 else f"{shown[:79]}…"

    @property
    def is_encrypted(self) -> bool:
        return bool(self.flags & ENCRYPTED)


class Directory(msgspec.Struct, frozen=True):
    """The records in the order of their offsets; `start` and `end` are the directory's own place in the file."""

    records: tuple[Record, ...]
    start: int
    end: int


class _End(msgspec.Struct, frozen=True):
    count: int
    size: int
    start: int
    offset: int


def has_directory(reader: Reader) -> bool:
    """Whether the last bytes are the end of a zip directory (one without a comment)."""
    return reader.size >= _END.size and reader.read_at(reader.size - _END.size, 4) == END


def read_directory(reader: Reader) -> Directory:
    """The directory at the end of the file; raises Rejected when it is missing, damaged or hostile."""
    end = _read_end(reader)
    if end.start + end.size != end.offset:
        before = end.offset - end.start - end.size
        if before > 0:
            raise Rejected(f"the zip directory is damaged: {before} bytes lie between it and its end record")
        raise Rejected("the zip directory is damaged: its place lies beyond its end record")
    if end.size > MAX_DIRECTORY or end.count * _ENTRY.size > end.size:
        raise Rejected(f"the zip directory is damaged: {end.count} records in {end.size} bytes are not possible")
    raw = reader.read_at(end.start, end.size)
    records = sorted(_entries(raw, end.count), key=lambda record: record.offset)
    bounds = [*(record.offset for record in records), end.start][1:]
    for record, bound in zip(records, bounds, strict=True):
        if record.offset + LOCAL_LENGTH + len(record.name) + record.stored_size > bound:
            raise Rejected(f"the zip directory is damaged: record {record.label} overlaps what follows it")
    return Directory(tuple(records), end.start, end.offset)


def _read_end(reader: Reader) -> _End:
    offset = _find_end(reader)
    fields = _END.unpack(reader.read_at(offset, _END.size))
    _, disk, first_disk, here, count, size, start, _ = fields
    locator = reader.read_at(offset - _LOCATOR.size, _LOCATOR.size) if offset >= _LOCATOR.size else b""
    if locator.startswith(b"PK\x06\x07"):
        return _read_end64(reader, offset - _LOCATOR.size, locator, fields)
    if disk or first_disk or here != count:
        raise Rejected("the zip directory is damaged: its end record speaks of several disks")
    return _End(count, size, start, offset)


def _read_end64(reader: Reader, at: int, locator: bytes, small: tuple[int, ...]) -> _End:
    _, disk, offset, disks = _LOCATOR.unpack(locator)
    if disk or disks != 1 or offset + _END64.size > at:
        raise Rejected("the zip directory is damaged: its zip64 locator points nowhere")
    signature, length, _, _, this, first, here, count, size, start = _END64.unpack(reader.read_at(offset, _END64.size))
    if signature != b"PK\x06\x06" or offset + 12 + length != at or this or first or here != count:
        raise Rejected("the zip directory is damaged: its zip64 end record makes no sense")
    pairs = zip(small[1:7], (0, 0, here, count, size, start), (_FULL16,) * 4 + (_FULL32,) * 2, strict=True)
    if any(value not in (wide, full) for value, wide, full in pairs):
        raise Rejected("the zip directory is damaged: its two end records disagree")
    return _End(count, size, start, offset)


def _find_end(reader: Reader) -> int:
    if has_directory(reader):
        offset = reader.size - _END.size
        if reader.read_at(offset + 20, 2) == b"\0\0":
            return offset
    reach = min(reader.size, _END.size + _LONGEST_COMMENT)
    base = reader.size - reach
    tail = reader.read_at(base, reach)
    found = tail.rfind(END, 0, max(0, reach - _END.size + len(END)))
    if found < 0:
        raise Rejected("truncated: no zip directory at the end of the file")
    comment = int.from_bytes(tail[found + 20 : found + 22], "little")
    extra = reach - found - _END.size - comment
    if extra > 0:
        raise Rejected(f"{extra} bytes follow the end of the zip directory")
    if extra < 0:
        raise Rejected("truncated: the zip directory's comment is cut off")
    return base + found


def _entries(raw: bytes, count: int) -> Iterator[Record]:
    position = 0
    for number in range(count):
        if position + _ENTRY.size > len(raw):
            raise Rejected(f"the zip directory is damaged: it ends within record {number + 1} of {count}")
        (signature, _, version, flags, method, clock, date, crc, stored, size, name_length, extra_length,
         comment_length, disk, _, attributes, offset) = _ENTRY.unpack_from(raw, position)  # fmt: skip
        position += _ENTRY.size
        following = position + name_length + extra_length + comment_length
        if signature != b"PK\x01\x02" or disk not in (0, _FULL16) or following > len(raw):
            raise Rejected(f"the zip directory is damaged at record {number + 1} of {count}")
        name = raw[position : position + name_length]
        if attributes & _FOLDER and not name.endswith(b"/"):
            # torch.load takes such a record for a folder, and gives uninitialised memory for its bytes.
            raise Rejected(f"the zip directory is damaged: it calls record {number + 1} of {count} a folder")
        extra = raw[position + name_length : position + name_length + extra_length]
        size, stored, offset = _widen(extra, size, stored, offset, number)
        yield Record(
            name=name,
            offset=offset,
            stored_size=stored,
            size=size,
            crc32=crc,
            method=method,
            flags=flags,
            version=version,
            time=date << 16 | clock,
        )
        position = following
    if position != len(raw):
        raise Rejected(f"the zip directory is damaged: it holds more than its {count} records")


def _widen(extra: bytes, size: int, stored: int, offset: int, number: int) -> tuple[int, int, int]:
    """The three numbers, with those that are saturated taken from the zip64 extra field."""
    values = [size, stored, offset]
    wanted = [index for index, value in enumerate(values) if value == _FULL32]
    if not wanted:
        return size, stored, offset
    field = next((body for kind, body in fields_of(extra) if kind == 1), b"")
    if len(field) < 8 * len(wanted):
        raise Rejected(f"the zip directory is damaged: record {number + 1} lacks its zip64 sizes")
    for place, index in enumerate(wanted):
        values[index] = int.from_bytes(field[8 * place : 8 * place + 8], "little")
    return values[0], values[1], values[2]


def fields_of(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """(id, body) of each extra field; raises Rejected when they don't fill `extra` exactly."""
    position = 0
    while position < len(extra):
        kind, length = int.from_bytes(extra[position : position + 2], "little"), extra[position + 2 : position + 4]
        end = position + 4 + int.from_bytes(length, "little")
        if len(length) < 2 or end > len(extra):
            raise Rejected("the zip directory is damaged: an extra field runs beyond its end")
        yield kind, extra[position + 4 : end]
        position = end
