"""What is known of two tensors before a byte of them is read, and what reading them tells."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from ckpt_tier.formats.check import Reader, Rejected
from ckpt_tier.formats.dtypes import ITEM_SIZE
from ckpt_tier.tensors.change import Change, Tally
from ckpt_tier.tensors.content import damaged, dtype_of, read_tensor
from ckpt_tier.tensors.nouns import Catalogue, Storage, Tensor
from ckpt_tier.tensors.pieces import Pieces

if TYPE_CHECKING:
    import torch

MOST_APART = 2**30
"""Bytes of a tensor that is read whole, since its elements lie in another order than the other's, or apart."""
_MOST_ELEMENTS = 2**28
"""Of such a tensor: an expanded one has as many as it says, whatever it has in bytes."""
_MOST_DIMENSIONS = 64
"""torch's own limit for most of what it does (at::kMaxDims)."""
_PIECE = 2**23
"""Bytes that are read at once: S3 takes as long to answer as to send them."""
_BLOCK = 2**14
"""Elements that are compared at once. From 2**15 on (at::internal::GRAIN_SIZE) torch wakes threads of its own for each
step, which on a busy machine cost 20 times as much; and as float64 so few stay in the processor's cache."""


class Known(msgspec.Struct, frozen=True):
    """`equal` is None where nobody can tell, and `why` says so. `unread`: no byte of them was read."""

    equal: bool | None
    why: str = ""
    change: Change | None = None
    unread: bool = True


class Side(msgspec.Struct, frozen=True):
    """One tensor, and the catalogue of its file."""

    held: Catalogue
    tensor: Tensor

    @property
    def storage(self) -> Storage | None:
        return self.held.storages.get(self.tensor.storage or "")


def foreseen(before: Side, after: Side, *, same_file: bool, read: bool) -> Known | None:
    """What the catalogues alone tell; None where the two have to be read.

    `same_file`: all bytes of the files are known to be the same. With `read` no checksum stands for a tensor that could
    be read.
    """
    if same_file and not read:
        return Known(True)
    old, new = before.tensor, after.tensor
    why = _obstacle(before) or _obstacle(after)
    if why:
        return Known(True) if same_file else Known(None, why)
    if old.shape != new.shape or (old.dtype != new.dtype and not (_has_numbers(old) and _has_numbers(new))):
        return Known(False)
    if not math.prod(old.shape):
        return Known(old.dtype == new.dtype)
    if not read and _same_checksum(before, after):
        return Known(True)
    apart = max(each.end_bytes - each.begin_bytes for each in (old, new))
    if not _in_step(old, new) and (apart > MOST_APART or math.prod(old.shape) > _MOST_ELEMENTS):
        return Known(None, "its elements lie apart, or in another order, and are too many for that")
    return None


def measured(before: Side, old: Reader, after: Side, new: Reader) -> Known:
    """What their bytes tell, in bounded memory. Raises IntegrityError, ConfigError, and what reading raises."""
    if not _has_numbers(before.tensor):
        same = all(first == second for first, second in _pieces(before, old, after, new))
        return Known(same, "" if same else f"nobody here can count in {before.tensor.dtype}", unread=False)
    tally = Tally()
    for first, second in _blocks(before, old, after, new):
        tally.add(first, second)
    change = tally.change()
    same = not change.elements and before.tensor.dtype == after.tensor.dtype
    return Known(same, change=None if same else change, unread=False)


def _has_numbers(tensor: Tensor) -> bool:
    return tensor.dtype in ITEM_SIZE


def _obstacle(side: Side) -> str:
    if side.storage is None:
        return "it is no plain view of one storage (sparse, meta, or a wrapper of others)"
    if not side.storage.readable:
        return "its bytes are compressed, or of a machine with the other byte order"
    if len(side.tensor.shape) > _MOST_DIMENSIONS:
        return f"it has more than {_MOST_DIMENSIONS} dimensions"
    return "it is quantised, by a scale that is not looked into" if side.tensor.dtype.startswith("q") else ""


def _same_checksum(before: Side, after: Side) -> bool:
    """Whether both are the same view of storages that have the same CRC32. That is against accident, not malice."""
    old, new = before.storage, after.storage
    if old is None or new is None or old.crc32 is None:
        return False
    one, other = before.tensor, after.tensor
    same_view = (one.dtype, one.stride, one.begin_bytes) == (other.dtype, other.stride, other.begin_bytes)
    return same_view and (old.crc32, old.size_bytes) == (new.crc32, new.size_bytes)


def _in_step(old: Tensor, new: Tensor) -> bool:
    """Whether both have the same elements one after another in their storages."""
    return (old.is_contiguous and new.is_contiguous) or (old.stride == new.stride and _fills_its_range(old))


def _fills_its_range(tensor: Tensor) -> bool:
    expected = 1
    for step, extent in sorted(zip(tensor.stride or (), tensor.shape, strict=False)):
        if extent > 1:
            if step != expected:
                return False
            expected *= extent
    return True


def _pieces(before: Side, old: Reader, after: Side, new: Reader) -> Iterator[tuple[bytes, bytes]]:
    """The bytes of two tensors that are in step, the same number of elements from each."""
    sides = ((before, old), (after, new))
    total = math.prod(before.tensor.shape) if _has_numbers(before.tensor) else before.tensor.size_bytes
    items = [ITEM_SIZE.get(side.tensor.dtype, 1) for side, _ in sides]
    streams = [_stream(side, reader) for side, reader in sides]
    at_once = _PIECE // max(items)
    for start in range(0, total, at_once):
        count = min(at_once, total - start)
        first, second = (
            _taken(side, stream, count * item) for (side, _), stream, item in zip(sides, streams, items, strict=True)
        )
        yield first, second


def _stream(side: Side, reader: Reader) -> Pieces:
    return Pieces(reader, side.held.storages[side.tensor.storage or ""], side.tensor.begin_bytes, side.tensor.end_bytes)


def _taken(side: Side, stream: Pieces, length: int) -> bytes:
    try:
        return stream.take(length)
    except Rejected as error:
        raise damaged(side.tensor, side.held, error) from error


def _blocks(before: Side, old: Reader, after: Side, new: Reader) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    import torch

    kinds = [dtype_of(side.held, side.tensor) for side in (before, after)]
    if not _in_step(before.tensor, after.tensor):
        whole = (read_tensor(reader, side.held, side.tensor).tensor for side, reader in ((before, old), (after, new)))
        yield from _split(*whole)
        return
    for pair in _pieces(before, old, after, new):
        first, second = (
            torch.frombuffer(bytearray(data), dtype=torch.uint8).view(kind)
            for data, kind in zip(pair, kinds, strict=True)
        )
        for start in range(0, len(first), _BLOCK):
            yield first[start : start + _BLOCK], second[start : start + _BLOCK]


def _split(first: "torch.Tensor", second: "torch.Tensor") -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    """Both in blocks of the same elements: a block that is copied into one run is small, whatever the strides."""
    count = first.numel()
    if count <= _BLOCK:
        yield first, second
        return
    at_once = max(1, _BLOCK * first.shape[0] // count)
    for start in range(0, first.shape[0], at_once):
        length = min(at_once, first.shape[0] - start)
        parts = first.narrow(0, start, length), second.narrow(0, start, length)
        yield from _split(parts[0][0], parts[1][0]) if length == 1 else iter([parts])
