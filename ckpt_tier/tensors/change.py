"""By how much a tensor has changed, in float64, gathered block by block."""

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import torch

_WHOLE = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}
"""An integer dtype for each item size: elements are equal if their bits are."""
_WIDE = frozenset({"int64", "uint64"})
_COMPONENTS = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}
_SQUARES_FIT = (1e-140, 1e140)
"""Between these the sum of a block's squares neither overflows nor vanishes."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """From `before` to `after`. Elements that are NaN or infinite on either side are counted, and in no norm.

    What is beyond float64's range is None.

    Attributes:
        elements: those whose bits differ; where the dtype changed, those whose values do.
        norm: L2, of after - before.
        relative: `norm` over the L2 norm of before; None where that is 0.
        largest: of all |after - before|.
        nan_before, nan_after, inf_before, inf_after: how many there are.
    """

    elements: int
    norm: float | None
    relative: float | None
    largest: float | None
    nan_before: int
    nan_after: int
    inf_before: int
    inf_after: int


class Tally:
    """Adds up what blocks of elements have changed by. For one thread."""

    def __init__(self) -> None:
        self._elements = 0
        self._norm = 0.0
        self._before = 0.0
        self._largest = 0.0
        self._nan = [0, 0]
        self._inf = [0, 0]

    def add(self, before: "torch.Tensor", after: "torch.Tensor") -> None:
        """One block: two tensors of one shape."""
        import torch

        before, after = before.reshape(-1), after.reshape(-1)
        old, new = _values(before), _values(after)
        self._elements += _differing(before, after, old, new)
        finite = torch.isfinite(old) & torch.isfinite(new)
        if not bool(finite.all()):
            for side, values in enumerate((old, new)):
                self._nan[side] += int(torch.isnan(values).count_nonzero())
                self._inf[side] += int(torch.isinf(values).count_nonzero())
            old, new = old[finite], new[finite]
        if not len(old):
            return
        delta = _distance(before, after, old, new)
        self._norm = math.hypot(self._norm, _norm(delta))
        self._before = math.hypot(self._before, _norm(old.abs()))
        self._largest = max(self._largest, float(delta.max()))

    def change(self) -> Change:
        """The sum of it."""
        return Change(
            elements=self._elements,
            norm=_in_range(self._norm),
            relative=_in_range(self._norm / self._before) if self._before else None,
            largest=_in_range(self._largest),
            nan_before=self._nan[0],
            nan_after=self._nan[1],
            inf_before=self._inf[0],
            inf_after=self._inf[1],
        )


def _values(block: "torch.Tensor") -> "torch.Tensor":
    import torch

    name = str(block.dtype).removeprefix("torch.")
    if name in _COMPONENTS:
        parts: torch.Tensor = block.view(getattr(torch, _COMPONENTS[name]))
        return torch.view_as_complex(parts.to(torch.float64).reshape(-1, 2))
    return block.to(torch.float64)


def _differing(before: "torch.Tensor", after: "torch.Tensor", old: "torch.Tensor", new: "torch.Tensor") -> int:
    import torch

    if before.dtype != after.dtype:
        same = (old == new) | (torch.isnan(old) & torch.isnan(new))
        return len(old) - int(same.count_nonzero())
    if before.itemsize not in _WHOLE:
        words = before.view(torch.int64) != after.view(torch.int64)
        return int(words.reshape(len(before), -1).any(1).count_nonzero())
    whole = getattr(torch, _WHOLE[before.itemsize])
    return int((before.view(whole) != after.view(whole)).count_nonzero())


def _distance(
    before: "torch.Tensor", after: "torch.Tensor", old: "torch.Tensor", new: "torch.Tensor"
) -> "torch.Tensor":
    """|after - before|. Of 64-bit integers that float64 can't tell apart it is still exact enough not to be 0."""
    import torch

    if before.dtype != after.dtype or str(before.dtype).removeprefix("torch.") not in _WIDE:
        return (new - old).abs()
    high = [(x.view(torch.int64) >> 32) & (-1 if x.dtype == torch.int64 else 0xFFFFFFFF) for x in (before, after)]
    low = [x.view(torch.int64) & 0xFFFFFFFF for x in (before, after)]
    return ((high[1] - high[0]).to(torch.float64) * 2.0**32 + (low[1] - low[0]).to(torch.float64)).abs()


def _in_range(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _norm(values: "torch.Tensor") -> float:
    """L2, of numbers that are not negative, whatever their size."""
    largest = float(values.max())
    if largest == 0 or math.isinf(largest):
        return largest
    scale = 1.0 if _SQUARES_FIT[0] < largest < _SQUARES_FIT[1] else largest
    return scale * math.sqrt(float((values / scale if scale != 1.0 else values).square().sum()))
