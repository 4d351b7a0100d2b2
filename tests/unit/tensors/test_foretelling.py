"""A pickle is put together from two of its length that were read before; what is remembered of those has a bound."""

from zlib import crc32

from ckpt_tier.formats.zip_directory import STORED, Record
from ckpt_tier.tensors.foretelling import Foretelling, Text

LENGTH = 2000


class Bytes:
    """A file, and how much of it was read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.read_bytes = 0

    def read_at(self, offset: int, length: int) -> bytes:
        self.read_bytes += length
        return self.data[offset : offset + length]


def pickle(step: int, length: int = LENGTH) -> bytes:
    return bytes(length - 100) + step.to_bytes(1, "little") + bytes(99)


def record(data: bytes) -> Record:
    return Record(b"data.pkl", 0, len(data), len(data), crc32(data), STORED, 0, 0, 0)


def taught(lengths: int) -> Foretelling:
    foretelling = Foretelling()
    for length in range(LENGTH, LENGTH + lengths):
        for step in (1, 2):
            foretelling.learn(Text(pickle(step, length), gap=0))
    return foretelling


def test_only_what_differs_is_read() -> None:
    file = Bytes(pickle(3))
    assert taught(1).text(file, record(file.data), file.size) == file.data
    assert file.read_bytes < LENGTH / 2


def test_what_turns_out_otherwise_is_not_made_up() -> None:
    file = Bytes(b"x" + pickle(3)[1:])
    assert taught(1).text(file, record(file.data), file.size) is None


def test_of_pickles_of_any_number_of_lengths_only_some_are_kept() -> None:
    foretelling = taught(1000)
    known = [
        length
        for length in range(LENGTH, LENGTH + 1000)
        if foretelling.text(Bytes(pickle(3, length)), record(pickle(3, length)), length) is not None
    ]
    assert known == list(range(LENGTH, LENGTH + 8))
