"""What a tensor's values are like, in a few figures, computed in float64 and in bounded memory.

Blocks are joined as in Chan, Golub, LeVeque: Updating Formulae and a Pairwise Algorithm for Computing Sample Variances
(1979), so that a long tensor loses no digits to its length.
"""

import math
from typing import TYPE_CHECKING

import msgspec

from ckpt_tier.errors import UsageError
from ckpt_tier.formats.check import Reader
from ckpt_tier.formats.dtypes import ITEM_SIZE
from ckpt_tier.tensors import few
from ckpt_tier.tensors.content import check_readable, dtype_of, feed, read_tensor
from ckpt_tier.tensors.nouns import Catalogue, Tensor

if TYPE_CHECKING:
    import torch

_AT_ONCE = 2**18
"""Elements that are in float64 at once: 2 MiB."""
_LARGEST = 2**63


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor or a number in figures, of its finite values alone; None where it has none, or float64 can't tell.

    Attributes:
        numel: elements.
        value: of what has one element.
        std: of the population, as numpy.std gives it: divided by n, not n - 1.
        norm: the Euclidean norm of all elements.
        nan, inf: elements that are left out of the other figures.
        verified: every byte of it was read and has the CRC32 that the file has noted. False where nobody can tell: of a
            part of a storage, or of a format without checksums.
    """

    numel: int
    value: float | None = None
    mean: float | None = None
    min: float | None = None
    max: float | None = None
    std: float | None = None
    norm: float | None = None
    nan: int = 0
    inf: int = 0
    verified: bool = False


def of_number(value: float, *, verified: bool) -> Figures:
    """A plain number's figures."""
    if not math.isfinite(value):
        return Figures(numel=1, nan=int(math.isnan(value)), inf=int(math.isinf(value)), verified=verified)
    return Figures(numel=1, value=value, mean=value, min=value, max=value, std=0.0, norm=abs(value), verified=verified)


def figures(reader: Reader, catalogue: Catalogue, tensor: Tensor) -> Figures:
    """The tensor's figures; of complex numbers, those of their magnitudes.

    What lies gapless is read in blocks, whatever its size; of a tensor with gaps the whole range is in memory.
    Raises UsageError (not readable by itself; elements that overlap), ConfigError, IntegrityError.
    """
    numel = math.prod(tensor.shape)
    check_readable(catalogue, tensor)
    if numel >= _LARGEST:
        raise UsageError(f"tensor {tensor.name} is too large", f"its shape says {numel} elements")
    if numel == 0:
        return Figures(numel=0, verified=True)
    once = _without_repeats(tensor)
    sums = _Sums()
    gapless = _is_gapless(once)
    if gapless and math.prod(once.shape) <= few.MOST and few.is_known(once.dtype):
        data = bytearray()
        verified = feed(reader, catalogue, once, data.extend)
        sums.add_few(few.values(bytes(data), once.dtype))
    elif gapless:
        import torch

        kind = dtype_of(catalogue, once)
        verified = feed(
            reader,
            catalogue,
            once,
            lambda block: sums.add(torch.frombuffer(bytearray(block), dtype=torch.uint8).view(kind)),
        )
    else:
        if math.prod(once.shape) * ITEM_SIZE[once.dtype] > once.end_bytes - once.begin_bytes:
            raise UsageError(
                f"tensor {tensor.name} has no figures here",
                "its elements overlap in memory",
                "restore the checkpoint and load it with torch",
            )
        content = read_tensor(reader, catalogue, once)
        sums.add(content.tensor.reshape(-1))
        verified = content.verified
    return sums.figures(numel, repeats=numel // math.prod(once.shape), verified=verified)


def _without_repeats(tensor: Tensor) -> Tensor:
    """Only one of the elements that a stride of 0 repeats."""
    pairs = [pair for pair in zip(tensor.shape, tensor.stride or (), strict=True) if pair[1] != 0]
    shape, stride = tuple(extent for extent, _ in pairs), tuple(step for _, step in pairs)
    return msgspec.structs.replace(tensor, shape=shape, stride=stride)


def _is_gapless(tensor: Tensor) -> bool:
    """Whether the elements fill their range, in whatever order: that of the dimensions changes no figure."""
    expected = 1
    for step, extent in sorted(zip(tensor.stride or (), tensor.shape, strict=True)):
        if extent > 1 and step != expected:
            return False
        expected *= extent
    return True


class _Sums:
    def __init__(self) -> None:
        self.count = self.nan = self.inf = 0
        self.mean = self.squares = 0.0
        self.low, self.high = math.inf, -math.inf

    def add_few(self, values: list[float]) -> None:
        finite = [value for value in values if math.isfinite(value)]
        nan = sum(map(math.isnan, values))
        self._leave_out(nan, len(values) - len(finite) - nan)
        if finite:
            mean = _mean(finite)
            squares = sum((value - mean) * (value - mean) for value in finite)
            self._join(len(finite), mean, squares, min(finite), max(finite))

    def add(self, values: "torch.Tensor") -> None:
        import torch

        for part in torch.split(values, _AT_ONCE):
            self._add(_as_float64(part))

    def _add(self, values: "torch.Tensor") -> None:
        finite = values[values.isfinite()]
        lost = len(values) - len(finite)
        if lost:
            nan = int(values.isnan().sum())
            self._leave_out(nan, lost - nan)
        if len(finite):
            mean = float(finite.mean())
            low, high = finite.aminmax()
            self._join(len(finite), mean, float(((finite - mean) ** 2).sum()), float(low), float(high))

    def _leave_out(self, nan: int, inf: int) -> None:
        self.nan, self.inf = self.nan + nan, self.inf + inf

    def _join(self, number: int, mean: float, squares: float, low: float, high: float) -> None:
        count, apart = self.count + number, mean - self.mean
        self.squares += squares + apart * apart * self.count * number / count
        self.mean += apart * number / count
        self.count = count
        self.low, self.high = min(self.low, low), max(self.high, high)

    def figures(self, numel: int, *, repeats: int, verified: bool) -> Figures:
        left_out = {"nan": self.nan * repeats, "inf": self.inf * repeats, "verified": verified}
        if not self.count:
            return Figures(numel=numel, **left_out)  # type: ignore[arg-type]  # a dict of ints and one bool
        total = (self.squares + self.count * self.mean * self.mean) * repeats
        return Figures(
            numel=numel,
            value=_told(self.low) if numel == 1 else None,
            mean=_told(self.mean),
            min=_told(self.low),
            max=_told(self.high),
            std=_told(math.sqrt(self.squares / self.count)),
            norm=_told(math.sqrt(total)),
            **left_out,  # type: ignore[arg-type]
        )


def _mean(values: list[float]) -> float:
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return math.inf


def _told(value: float) -> float | None:
    """A sum that left float64's range is no figure."""
    return value if math.isfinite(value) else None


def _as_float64(values: "torch.Tensor") -> "torch.Tensor":
    import torch

    if values.is_complex():
        return values.to(torch.complex128).abs()
    return values.to(torch.float64)
