"""One tensor's values, by a range of the file: its own bytes, or where they lie apart what is between as well."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ckpt_tier.errors import ConfigError, IntegrityError, UsageError
from ckpt_tier.formats.check import Reader, Rejected
from ckpt_tier.formats.dtypes import ITEM_SIZE
from ckpt_tier.tensors.nouns import Catalogue, Storage, Tensor
from ckpt_tier.tensors.pieces import Pieces
from ckpt_tier.tensors.tree import printable

if TYPE_CHECKING:
    import torch

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
    begin, end = tensor.begin_bytes, tensor.end_bytes
    pieces = Pieces(reader, storage, begin, end)
    for position in range(begin, end, BLOCK):
        try:
            block = pieces.take(min(BLOCK, end - position))
        except Rejected as error:
            raise damaged(tensor, catalogue, error) from error
        take(memoryview(block))
    return storage.in_record and storage.crc32 is not None and (begin, end) == (0, storage.size_bytes)


def damaged(tensor: Tensor, catalogue: Catalogue, error: Rejected) -> IntegrityError:
    """What to say of a tensor whose bytes are not what they should be."""
    return IntegrityError(
        f"tensor {tensor.name} of {printable(catalogue.path)} is damaged",
        str(error),
        "read it from another step, or another copy",
    )


def _obstacle(tensor: Tensor, storage: Storage | None) -> str:
    if storage is None:
        return "it is no plain view of one storage (sparse, meta, or a wrapper of others)"
    if not storage.readable:
        return "its bytes are compressed, or of a machine with the other byte order"
    return f"its dtype is {tensor.dtype}"
