"""One tensor's values, by a range of the file: its own bytes, or where they lie apart what is between as well."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from ckpt_tier.errors import ConfigError, IntegrityError, UsageError
from ckpt_tier.formats.check import Reader, Rejected
from ckpt_tier.formats.dtypes import ITEM_SIZE
from ckpt_tier.formats.zip_directory import LOCAL, LOCAL_LENGTH
from ckpt_tier.tensors.nouns import Catalogue, Storage, Tensor
from ckpt_tier.tensors.tree import printable

if TYPE_CHECKING:
    import torch

_HEADER = 4096
"""Bytes that are read for a record's local header where only part of the record is wanted; torch pads it to 64."""

BLOCK = 4 * 2**20
"""Bytes that are read and handed on at once, a multiple of every element's size."""


class Content(msgspec.Struct, frozen=True):
    """A tensor that was read. `verified`: all bytes of its storage were, and have the CRC32 that the file has noted.

    Where only a part of a storage was read, or its file has no checksums, nobody can tell.
    """

    tensor: "torch.Tensor"
    verified: bool


def read_tensor(reader: Reader, catalogue: Catalogue, tensor: Tensor) -> Content:
    """The tensor, on the CPU, with its own shape and stride.

    Raises UsageError for what can't be read apart from the whole checkpoint (quantised, sparse, compressed),
    ConfigError where the installed torch lacks its dtype, IntegrityError for damage.
    """
    kind = dtype_of(catalogue, tensor)
    data = bytearray()
    verified = feed(reader, catalogue, tensor, data.extend)
    import torch

    if not data:
        return Content(torch.empty(tensor.shape, dtype=kind), verified)
    flat = torch.frombuffer(data, dtype=torch.uint8).view(kind)
    return Content(torch.as_strided(flat, tensor.shape, tensor.stride or ()), verified)


def dtype_of(catalogue: Catalogue, tensor: Tensor) -> "torch.dtype":
    """The tensor's dtype in torch. Raises UsageError for what can't be read apart from the whole checkpoint,
    ConfigError where the installed torch lacks it."""
    check_readable(catalogue, tensor)
    import torch

    kind: torch.dtype | None = getattr(torch, tensor.dtype, None)
    if kind is None:
        raise ConfigError(
            f"tensor {tensor.name} can't be read", f"torch {torch.__version__} has no {tensor.dtype}", "update torch"
        )
    return kind


def check_readable(catalogue: Catalogue, tensor: Tensor) -> None:
    """Raises UsageError for what can't be read apart from the whole checkpoint."""
    storage = catalogue.storages.get(tensor.storage or "")
    if storage is None or not storage.readable or tensor.dtype.startswith("q") or tensor.dtype not in ITEM_SIZE:
        raise UsageError(
            f"tensor {tensor.name} can't be read by itself",
            _obstacle(tensor, storage),
            "restore the checkpoint and load it with torch",
        )


def feed(reader: Reader, catalogue: Catalogue, tensor: Tensor, take: Callable[[memoryview], None]) -> bool:
    """Hands the part of the storage that the tensor lies in to `take`, in order, in blocks of at most `BLOCK` bytes,
    each of whole elements. Whether the bytes are proven by their CRC32 is known, and returned, after the last one.

    The tensor must have passed `check_readable`. Raises IntegrityError for damage, and what `take` raises.
    """
    storage = catalogue.storages[tensor.storage or ""]
    try:
        return _feed(reader, storage, tensor.begin_bytes, tensor.end_bytes, take)
    except Rejected as error:
        raise IntegrityError(
            f"tensor {tensor.name} of {printable(catalogue.path)} is damaged",
            str(error),
            "read it from another step, or another copy",
        ) from error


def _obstacle(tensor: Tensor, storage: Storage | None) -> str:
    if storage is None:
        return "it is no plain view of one storage (sparse, meta, or a wrapper of others)"
    if not storage.readable:
        return "its bytes are compressed, or of a machine with the other byte order"
    return f"its dtype is {tensor.dtype}"


def _feed(reader: Reader, storage: Storage, begin: int, end: int, take: Callable[[memoryview], None]) -> bool:
    whole = (begin, end) == (0, storage.size_bytes)
    start, first = storage.offset, memoryview(b"")
    if storage.in_record:
        length = storage.limit - storage.offset
        # Of a small whole record its header comes with it, in one request.
        raw = memoryview(reader.read_at(storage.offset, length if whole and length <= BLOCK else min(_HEADER, length)))
        start += _header_length(raw)
        if start + storage.size_bytes > storage.limit:
            raise Rejected("its record is damaged: it overlaps what follows it")
        if len(raw) == length:
            first = raw[start - storage.offset :][begin:end]
    checksum = 0
    for position in range(begin, end, BLOCK):
        block = first or memoryview(reader.read_at(start + position, min(BLOCK, end - position)))
        checksum = crc32(block, checksum)
        take(block)
    if not (whole and storage.in_record) or storage.crc32 is None:
        return False
    if checksum != storage.crc32:
        raise Rejected("its bytes do not match their CRC32: they changed after they were saved")
    return True


def _header_length(raw: memoryview) -> int:
    if bytes(raw[: len(LOCAL)]) != LOCAL or len(raw) < LOCAL_LENGTH:
        raise Rejected("there is no local header where the directory says")
    return LOCAL_LENGTH + int.from_bytes(raw[26:28], "little") + int.from_bytes(raw[28:30], "little")
