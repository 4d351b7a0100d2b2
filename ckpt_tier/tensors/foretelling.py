"""A pickle that is like two others but for a few bytes (the step, the learning rate), by reading only these.

Nothing is taken on trust: what is put together must have the CRC32 that the file's directory has noted for the whole,
as a pickle that is read must not even have.
"""

from zlib import crc32

import msgspec

from ckpt_tier.formats.check import Reader
from ckpt_tier.formats.zip_directory import Record

LONGEST = 4 * 2**20
"""Bytes of a pickle that is kept for comparing."""
_MOST_LENGTHS = 8
"""Lengths of pickles of which texts are kept; those of one training have few."""
_BLOCK = 256
_MARGIN = 32
"""Bytes around what differs: another value may differ in more."""
_NEAR = 4096
"""Bytes between two places that are read along, rather than asked for in two requests."""
_MOST_PLACES = 2
_MOST_VARYING = 4096


class Text(msgspec.Struct, frozen=True):
    """A pickle's bytes, and how many lay between its end and the next record."""

    data: bytes
    gap: int


class Foretelling:
    """What was read before. Safe from any thread: what is kept never changes, and entries are put one by one."""

    def __init__(self) -> None:
        self._by_size: dict[int, tuple[Text, ...]] = {}

    def learn(self, text: Text) -> None:
        """Remembers a pickle; the first two of each length count, and the first lengths."""
        known = self._by_size.get(len(text.data), ())
        room = bool(known) or len(self._by_size) < _MOST_LENGTHS
        if len(text.data) <= LONGEST and len(known) < 2 and room:
            self._by_size[len(text.data)] = (*known, text)

    def text(self, reader: Reader, record: Record, limit: int) -> bytes | None:
        """The record's pickle, which ends before `limit`; None if it has to be read. Raises what reading raises."""
        known = self._by_size.get(record.size, ())
        if len(known) < 2 or not record.crc32 or known[0].gap != known[1].gap:
            return None
        places = differing(known[0].data, known[1].data)
        start = limit - known[0].gap - record.size
        if places is None or start < record.offset:
            return None
        data = bytearray(known[0].data)
        for begin, end in places:
            data[begin:end] = reader.read_at(start + begin, end - begin)
        return bytes(data) if crc32(data) == record.crc32 else None


def varying(one: bytes, other: bytes) -> set[int] | None:
    """The offsets at which two texts of one length differ; None where they are many."""
    found: set[int] = set()
    for start in range(0, len(one), _BLOCK):
        here, there = one[start : start + _BLOCK], other[start : start + _BLOCK]
        if here != there:
            found.update(start + at for at, (a, b) in enumerate(zip(here, there, strict=True)) if a != b)
            if len(found) > _MOST_VARYING:
                return None
    return found


def differing(one: bytes, other: bytes) -> list[tuple[int, int]] | None:
    """Where two texts of one length differ, in few ranges; None where reading them would save little."""
    places: list[tuple[int, int]] = []
    for start in range(0, len(one), _BLOCK):
        if one[start : start + _BLOCK] == other[start : start + _BLOCK]:
            continue
        begin, end = max(0, start - _MARGIN), min(len(one), start + _BLOCK + _MARGIN)
        if places and begin - places[-1][1] <= _NEAR:
            begin = places.pop()[0]
        places.append((begin, end))
    total = sum(end - begin for begin, end in places)
    return places if len(places) <= _MOST_PLACES and 2 * total < len(one) else None
