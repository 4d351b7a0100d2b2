"""A torch archive that was taken apart, as the model of those that are saved like it in the same training."""

import msgspec

from ckpt_tier.formats.check import Reader
from ckpt_tier.formats.zip_directory import Record
from ckpt_tier.tensors.foretelling import Foretelling
from ckpt_tier.tensors.form import Form
from ckpt_tier.tensors.nouns import Catalogue
from ckpt_tier.tensors.outline import Outline, Summed
from ckpt_tier.tensors.tree import Entry

PICKLE = b"data.pkl"


class Model(msgspec.Struct, frozen=True, eq=False):
    """One archive.

    Attributes:
        outline: of its directory.
        pickle: its pickle's record, with a CRC32.
        limit: the offset that the pickle ends before.
        form: what its pickle fits; None while that is not known.
        held: what is in it.
    """

    outline: Outline
    pickle: Record
    limit: int
    form: Form | None
    held: Catalogue

    def fits(self, reader: Reader) -> bool:
        """Whether another file's directory says the same, but for its checksums. Raises what reading raises."""
        return reader.size == self.held.size_bytes and self.outline.fits(self._tail(reader))

    def _tail(self, reader: Reader) -> bytes:
        return reader.read_at(self.outline.start, self.outline.length)

    def catalogue(self, reader: Reader, path: str, foretelling: Foretelling) -> Catalogue | None:
        """What a file that fits holds; None where its pickle may hold something else. Raises what reading raises."""
        tail = self._tail(reader)
        entries = self._entries(reader, self.outline.crc32(tail, PICKLE), foretelling)
        if entries is None:
            return None
        storages = Summed(self.held.storages, self.outline, tail)
        return msgspec.structs.replace(self.held, path=path, entries=entries, storages=storages)

    def _entries(self, reader: Reader, crc32: int, foretelling: Foretelling) -> tuple[Entry, ...] | None:
        if crc32 == self.pickle.crc32:
            return self.held.entries
        if self.form is None:
            return None
        text = foretelling.text(reader, msgspec.structs.replace(self.pickle, crc32=crc32), self.limit)
        return None if text is None else self.form.fill(text)
