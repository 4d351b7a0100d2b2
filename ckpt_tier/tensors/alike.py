"""What the files that were read tell about the next one of the same training, so that less of it has to be read.

A training saves files of one structure: a directory or header as long as the last one's, often with the very same
pickle. That it is the same is told by its length and the CRC32 in the directory, which is what proves the tensors too;
what does not turn out as expected is read as that of any other file.
"""

import re
from zlib import crc32

from ckpt_tier.formats.check import Reader
from ckpt_tier.formats.zip_directory import Record, has_directory
from ckpt_tier.tensors.foretelling import Foretelling
from ckpt_tier.tensors.form import Forms
from ckpt_tier.tensors.model import Model
from ckpt_tier.tensors.nodes import Pickled
from ckpt_tier.tensors.nouns import Catalogue
from ckpt_tier.tensors.ranges import Ranges

_MOST_PICKLES = 8
"""Parsed ones that are kept; each may hold some 100,000 names."""
_MOST_MODELS = 8
"""Files that were taken apart and are kept to compare others with."""
_LITTLE = (6, crc32(b"little"))


class Alike:
    """What was learnt. Safe from any thread: what is kept never changes, and one entry is put or taken at a time."""

    def __init__(self) -> None:
        self._edges: dict[str, tuple[int, int]] = {}
        self._pickles: dict[tuple[int, int], Pickled] = {}
        self._models: dict[tuple[int, int, int], Model] = {}
        self.foretelling = Foretelling()
        self.forms = Forms()

    def prepare(self, reader: Ranges, path: str) -> None:
        """Reads what will tell what the file holds, in one request where a file like it has been learnt from."""
        edges = self._edges.get(_kind(path))
        if edges is None:
            return
        reader.ahead = 0
        head, tail = (min(reader.size, _with_room(edge)) for edge in edges)
        if head:
            reader.read_at(0, head)
        if tail:
            reader.read_at(reader.size - tail, tail)

    def learn(self, held: Catalogue) -> None:
        """Remembers how much of this file had to be read."""
        head, tail = self._edges.get(_kind(held.path), (0, 0))
        self._edges[_kind(held.path)] = (max(head, held.head_bytes), max(tail, held.tail_bytes))

    def is_zip(self, reader: Reader, path: str) -> bool:
        """Whether files like it end in a zip directory, and it does too: then its first bytes need not be read."""
        return self._edges.get(_kind(path), (0, 0))[1] > 0 and has_directory(reader)

    def pickled(self, record: Record) -> Pickled | None:
        """What is in the pickle, if one of the same length and checksum was read before."""
        return self._pickles.get((record.size, record.crc32))

    def keep(self, record: Record, pickled: Pickled) -> None:
        """Remembers a pickle that was read; one without a checksum can't be told from another."""
        if record.crc32 and len(self._pickles) < _MOST_PICKLES:
            self._pickles[record.size, record.crc32] = pickled

    def known(self, reader: Reader, path: str) -> Catalogue | None:
        """What the file holds, if it says the same as one that was taken apart, but for its checksums and a few
        numbers. Raises what reading raises."""
        for model in tuple(self._models.values()):
            if model.fits(reader):
                return model.catalogue(reader, path, self.foretelling)
        return None

    def keep_model(self, model: Model) -> None:
        """Remembers a file that was taken apart."""
        key = model.held.size_bytes, model.outline.start, model.pickle.size
        if key in self._models or len(self._models) < _MOST_MODELS:
            self._models[key] = model

    def is_little(self, record: Record) -> bool:
        """Whether the record says "little", by its length and checksum."""
        return (record.size, record.crc32) == _LITTLE


def _kind(path: str) -> str:
    """What the files of one training have in common: the path without its numbers."""
    return re.sub(r"\d+", "0", path)


def _with_room(length: int) -> int:
    """A little more, for names that grow by a digit with the step."""
    return length + length // 32 + 256 if length else 0
