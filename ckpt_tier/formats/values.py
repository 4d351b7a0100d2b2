"""NaN and Inf in ranges of a file, counted in bounded memory."""

from typing import TYPE_CHECKING

import msgspec

from ckpt_tier.formats.check import OpenFile, Rejected
from ckpt_tier.formats.reader import read_into

if TYPE_CHECKING:
    import torch

_BLOCK = 4 * 2**20
"""Bytes; a multiple of every item size."""


class Range(msgspec.Struct, frozen=True):
    """Bytes of a file that hold values of one dtype (torch's name)."""

    dtype: str
    offset: int
    length: int


def count_non_finite(reader: OpenFile, ranges: list[Range]) -> tuple[int, int]:
    """How many NaN and how many Inf; of complex numbers, each of the two parts counts.

    Every dtype must be one that the installed torch has.
    """
    if not ranges:
        return 0, 0
    import torch

    # Training has the other cores.
    torch.set_num_threads(1)
    buffer = memoryview(bytearray(_BLOCK))
    nan = inf = 0
    for part in sorted(ranges, key=lambda part: part.offset):
        for begin in range(part.offset, part.offset + part.length, _BLOCK):
            length = min(_BLOCK, part.offset + part.length - begin)
            _fill(reader, buffer[:length], begin)
            values = _decode(buffer, length, part.dtype)
            if not bool(torch.isfinite(values).all()):
                nan += int(torch.isnan(values).sum())
                inf += int(torch.isinf(values).sum())
    return nan, inf


def _fill(reader: OpenFile, view: memoryview, offset: int) -> None:
    done = 0
    while done < len(view):
        count = read_into(reader.fileno(), view[done:], offset + done)
        if count == 0:
            raise Rejected(f"truncated: the file ends at byte {offset + done}")
        done += count


def unknown_dtypes(ranges: list[Range]) -> list[str]:
    """Those that the installed torch does not have."""
    import torch

    return sorted({part.dtype for part in ranges if not hasattr(torch, part.dtype)})


def _decode(buffer: memoryview, length: int, dtype: str) -> "torch.Tensor":
    import torch

    kind: torch.dtype = getattr(torch, dtype)
    values = torch.frombuffer(buffer, dtype=kind, count=length // kind.itemsize)
    if kind.is_complex:
        return torch.view_as_real(values)
    return values.float() if kind.itemsize == 1 else values
