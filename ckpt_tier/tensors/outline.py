"""What the zip directories of one training's files have in common: all but the checksums, and the archive's name, which
torch takes from the file's.

So that a directory of some hundred records, which says for the most part what the last one has said, is compared with
that at once and not taken apart record by record.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from ckpt_tier.formats.zip_directory import Record
from ckpt_tier.tensors.nouns import Storage

LARGEST = 4 * 2**20
"""Bytes of a directory that is kept for comparing."""
_CRC = 16
_LENGTHS = struct.Struct("<3H")
_LENGTHS_AT = 28
_HEAD = 46
_WORD = struct.Struct("<I")


class Outline(msgspec.Struct, frozen=True, eq=False):
    """A directory, with all that follows it to the end of the file.

    Attributes:
        start: where in the file it begins.
        length: bytes.
        mask, bare: the bytes (as one number) that are the same in all, and what they are.
        roots: where the archive's name stands.
        crcs: where the CRC32 of each record stands, by the record's name without that of the archive.
    """

    start: int
    length: int
    mask: int
    bare: int
    roots: tuple[tuple[int, int], ...]
    crcs: dict[bytes, int]

    def has(self, storages: Iterable[str]) -> bool:
        """Whether each of these has a record under just its key."""
        return all(_record_of(key) in self.crcs for key in storages)

    def fits(self, tail: bytes) -> bool:
        """Whether the last bytes of a file say the same."""
        if len(tail) != self.length or int.from_bytes(tail, "little") & self.mask != self.bare:
            return False
        names = {tail[begin:end] for begin, end in self.roots}
        return len(names) == 1 and b"/" not in names.pop()

    def crc32(self, tail: bytes, name: bytes) -> int:
        """What the last bytes of a file that fits say of a record."""
        found: int = _WORD.unpack_from(tail, self.crcs[name])[0]
        return found


def outline_of(tail: bytes, start: int, records: Sequence[Record], root: bytes, fixed: bytes) -> Outline | None:
    """Of a directory that was read: `tail` is all from `start` to the file's end, `root` the archive's name with its
    slash. The record named `fixed` behind it must have the same CRC32 as here. None where it is not worth keeping, or
    two records have one name."""
    if len(tail) > LARGEST:
        return None
    mask = bytearray(b"\xff" * len(tail))
    crcs: dict[bytes, int] = {}
    roots = []
    at = 0
    for _ in records:
        lengths = _LENGTHS.unpack_from(tail, at + _LENGTHS_AT)
        begin = at + _HEAD
        name = tail[begin : begin + lengths[0]]
        if name.startswith(root):
            roots.append((begin, begin + len(root) - 1))
            mask[begin : begin + len(root) - 1] = bytes(len(root) - 1)
            name = name[len(root) :]
            if name in crcs:
                return None
            crcs[name] = at + _CRC
            if name != fixed:
                mask[at + _CRC : at + _CRC + 4] = bytes(4)
        at = begin + sum(lengths)
    bits = int.from_bytes(mask, "little")
    return Outline(start, len(tail), bits, int.from_bytes(tail, "little") & bits, tuple(roots), crcs)


class Summed(Mapping[str, Storage]):
    """The storages of a file that fits an outline: those of another one, with the checksums of this."""

    def __init__(self, known: Mapping[str, Storage], outline: Outline, tail: bytes) -> None:
        """Each of `known` must have passed `outline.has`."""
        self._known = known
        self._outline = outline
        self._tail = tail

    def __getitem__(self, key: str) -> Storage:
        return msgspec.structs.replace(self._known[key], crc32=self._outline.crc32(self._tail, _record_of(key)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _record_of(storage: str) -> bytes:
    return b"data/" + storage.encode("utf-8", "replace")
