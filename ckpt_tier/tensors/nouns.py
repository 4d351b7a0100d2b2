"""What a catalogue is made of: files, tensors and the storages that they are views of."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cached_property

import msgspec

from ckpt_tier.tensors.tree import Entry

LISTED = frozenset({"torch-zip", "torch-legacy", "safetensors", "pickle"})
"""The formats of which a catalogue lists tensors and values."""


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes in the file that one or several tensors are views of.

    Attributes:
        size_bytes: of the storage.
        offset: of its first byte in the file; in a torch archive, of its record, which begins with a header.
        in_record: whether it is such a record.
        limit: the offset that neither header nor bytes reach beyond.
        crc32: of all the bytes, as the archive has noted it; None where nobody has.
        readable: False where the bytes are compressed, or of a machine with the other byte order.
    """

    key: str
    size_bytes: int
    offset: int
    in_record: bool = False
    limit: int
    crc32: int | None = None
    readable: bool = True


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor by its name.

    Attributes:
        dtype: torch's name ("bfloat16"); as the file says it where torch has none; "opaque" where the tensor is no
            plain view of one storage (sparse, meta, wrappers of others).
        shape, stride: in elements; the stride is None where the tensor is opaque.
        size_bytes: of all its elements.
        storage: the key of the storage that it is a view of; None where it has none.
        begin_bytes, end_bytes: the part of the storage that its elements lie in.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None
    size_bytes: int
    storage: str | None
    begin_bytes: int = 0
    end_bytes: int = 0

    @property
    def is_contiguous(self) -> bool:
        """Whether its elements lie one behind the other, in the order of the last index first."""
        own = zip(self.shape, self.stride or self.shape, row_major(self.shape), strict=True)
        return self.stride is not None and all(extent < 2 or step == wanted for extent, step, wanted in own)


class Catalogue(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One file.

    Attributes:
        path: as the caller has named it.
        format: one of LISTED; another one is not looked into.
        tensors, entries: in the order of the file.
        storages: by key.
        notes: what a reader should know, in whole clauses.
        is_proven: whether the names and the plain values have the CRC32 that the file has noted for them.
        head_bytes, tail_bytes: how much at the file's beginning or end tells all this, where that is known.
    """

    path: str
    format: str
    size_bytes: int
    tensors: tuple[Tensor, ...] = ()
    entries: tuple[Entry, ...] = ()
    storages: Mapping[str, Storage] = {}
    notes: tuple[str, ...] = ()
    is_proven: bool = False
    head_bytes: int = 0
    tail_bytes: int = 0

    @cached_property
    def by_name(self) -> dict[str, Tensor]:
        """The tensors by their names."""
        return {tensor.name: tensor for tensor in self.tensors}

    def matching(self, pattern: str) -> "Catalogue":
        """Only the tensors and entries whose names the glob matches."""
        return msgspec.structs.replace(
            self,
            tensors=tuple(tensor for tensor in self.tensors if fnmatchcase(tensor.name, pattern)),
            entries=tuple(entry for entry in self.entries if fnmatchcase(entry.name, pattern)),
        )

    @cached_property
    def sharing(self) -> tuple[tuple[str, ...], ...]:
        """The names of tensors that have one storage, where those are several (tied weights, slices)."""
        names: dict[str, list[str]] = {}
        for tensor in self.tensors:
            if tensor.storage is not None:
                names.setdefault(tensor.storage, []).append(tensor.name)
        return tuple(tuple(group) for group in names.values() if len(group) > 1)


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The stride, in elements, of a contiguous tensor."""
    strides = [1]
    for extent in reversed(shape[1:]):
        strides.append(strides[-1] * max(1, extent))
    return tuple(reversed(strides)) if shape else ()
