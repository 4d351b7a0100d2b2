"""One tensor's values, by a range of the file: its own bytes, or where they lie apart what is between as well."""

from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from ckpt_tier.errors import ConfigError, IntegrityError, UsageError
from ckpt_tier.formats.check import Reader, Rejected
from ckpt_tier.formats.dtypes import ITEM_SIZE
from ckpt_tier.formats.zip_directory import LOCAL, LOCAL_LENGTH
from ckpt_tier.tensors.nouns import Catalogue, Storage, Tensor

if TYPE_CHECKING:
    import torch

HEADER = 4096
"""Bytes that are read for a record's local header where only part of the record is wanted; torch pads it to 64."""


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
    storage = catalogue.storages.get(tensor.storage or "")
    if storage is None or not storage.readable or tensor.dtype.startswith("q") or tensor.dtype not in ITEM_SIZE:
        raise UsageError(
            f"tensor {tensor.name} can't be read by itself",
            _obstacle(tensor, storage),
            "restore the checkpoint and load it with torch",
        )
    kind = dtype_of(tensor)
    try:
        data, verified = _bytes(reader, storage, tensor.begin_bytes, tensor.end_bytes)
    except Rejected as error:
        raise damaged(tensor, catalogue, error) from error
    import torch

    if not data:
        return Content(torch.empty(tensor.shape, dtype=kind), verified)
    flat = torch.frombuffer(data, dtype=torch.uint8).view(kind)
    return Content(torch.as_strided(flat, tensor.shape, tensor.stride or ()), verified)


def dtype_of(tensor: Tensor) -> "torch.dtype":
    """The installed torch's dtype. Raises ConfigError where it has none of that name."""
    import torch

    kind: torch.dtype | None = getattr(torch, tensor.dtype, None)
    if kind is None:
        raise ConfigError(
            f"tensor {tensor.name} can't be read", f"torch {torch.__version__} has no {tensor.dtype}", "update torch"
        )
    return kind


def damaged(tensor: Tensor, catalogue: Catalogue, error: Rejected) -> IntegrityError:
    """What to say of a tensor whose bytes are not what they should be."""
    return IntegrityError(
        f"tensor {tensor.name} of {catalogue.path} is damaged", str(error), "read it from another step, or another copy"
    )


def _obstacle(tensor: Tensor, storage: Storage | None) -> str:
    if storage is None:
        return "it is no plain view of one storage (sparse, meta, or a wrapper of others)"
    if not storage.readable:
        return "its bytes are compressed, or of a machine with the other byte order"
    return f"its dtype is {tensor.dtype}"


def _bytes(reader: Reader, storage: Storage, begin: int, end: int) -> tuple[bytearray, bool]:
    """The bytes of the storage from `begin` to `end`, and whether a checksum has proven them. Raises Rejected."""
    if not storage.in_record:
        return bytearray(reader.read_at(storage.offset + begin, end - begin)), False
    whole = (begin, end) == (0, storage.size_bytes)
    length = storage.limit - storage.offset if whole else min(HEADER, storage.limit - storage.offset)
    # Of a whole record its header comes with it, in one request.
    raw = memoryview(reader.read_at(storage.offset, length))
    start = header_length(raw)
    if storage.offset + start + storage.size_bytes > storage.limit:
        raise Rejected("its record is damaged: it overlaps what follows it")
    if not whole:
        return bytearray(reader.read_at(storage.offset + start + begin, end - begin)), False
    data = bytearray(raw[start : start + storage.size_bytes])
    if storage.crc32 is None:
        return data, False
    if crc32(data) != storage.crc32:
        raise Rejected("its bytes do not match their CRC32: they changed after they were saved")
    return data, True


def header_length(raw: memoryview) -> int:
    """Bytes from the beginning of a record, which `raw` is, to its data. Raises Rejected."""
    if bytes(raw[: len(LOCAL)]) != LOCAL or len(raw) < LOCAL_LENGTH:
        raise Rejected("there is no local header where the directory says")
    return LOCAL_LENGTH + int.from_bytes(raw[26:28], "little") + int.from_bytes(raw[28:30], "little")
