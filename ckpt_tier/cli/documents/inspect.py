"""The document of `inspect`."""

import msgspec

from ckpt_tier.tensors.tree import Entry


class InspectedTensor(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor. `stride` and `storage` are null where it is no plain view of one storage (dtype "opaque").

    `begin_bytes` to `end_bytes` is the part of the storage that its elements lie in; `crc32` is what the file has noted
    for the whole storage, 8 hex digits, null where it has noted none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None
    size_bytes: int
    contiguous: bool
    storage: str | None
    storage_bytes: int | None
    begin_bytes: int
    end_bytes: int
    crc32: str | None


class InspectedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file: `place` is where it was read, `sharing` the names of tensors that have one storage."""

    path: str
    place: str
    format: str
    size_bytes: int
    tensors: tuple[InspectedTensor, ...]
    entries: tuple[Entry, ...]
    sharing: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


class InspectDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`inspect`: what a checkpoint holds. `where` is "hot", "cold" or "path"; of a path, series, step, generation and
    saved_at are null. `requests` and `read_bytes` are what it cost to look."""

    schema: str = "ckpt-tier/inspect/1"
    where: str
    series: str | None
    step: int | None
    generation: str | None
    saved_at: str | None
    versions: dict[str, str]
    size_bytes: int
    files: tuple[InspectedFile, ...]
    notes: tuple[str, ...]
    requests: int
    read_bytes: int
