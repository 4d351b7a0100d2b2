"""The numbers that say by how much a tensor has changed, held against torch's own."""

import math

import pytest
import torch

from ckpt_tier.formats.dtypes import ITEM_SIZE
from ckpt_tier.tensors.change import Change, Tally

REAL = [name for name in ITEM_SIZE if not name.startswith(("q", "complex"))]


def changed(before: torch.Tensor, after: torch.Tensor, block: int = 7) -> Change:
    tally = Tally()
    for first, second in zip(before.split(block), after.split(block), strict=True):  # type: ignore[no-untyped-call]
        tally.add(first, second)
    return tally.change()


def noise(name: str, seed: int) -> torch.Tensor:
    """Elements of random bits."""
    torch.manual_seed(seed)
    bits = torch.randint(0, 256, (100 * ITEM_SIZE[name],), dtype=torch.uint8)
    return (bits % 2 if name == "bool" else bits).view(getattr(torch, name))


@pytest.mark.parametrize("name", REAL)
def test_every_dtype_is_measured_in_float64(name: str) -> None:
    before, after = noise(name, 1), noise(name, 2)
    change = changed(before, after)
    old, new = before.double(), after.double()
    finite = old.isfinite() & new.isfinite()
    delta = (new - old)[finite]
    scale = float(delta.abs().max())
    assert change.norm == pytest.approx(scale * float((delta / scale).norm()))
    assert change.largest == pytest.approx(scale)
    assert (change.nan_before, change.nan_after) == (int(old.isnan().sum()), int(new.isnan().sum()))
    assert (change.inf_before, change.inf_after) == (int(old.isinf().sum()), int(new.isinf().sum()))
    assert change.relative == pytest.approx(change.norm / _norm(old[finite]))


def _norm(values: torch.Tensor) -> float:
    scale = float(values.abs().max())
    return scale * float((values / scale).norm())


@pytest.mark.parametrize("name", ["complex32", "complex64", "complex128"])
def test_complex_numbers_are_measured_by_their_moduli(name: str) -> None:
    parts = {"complex32": torch.float16, "complex64": torch.float32, "complex128": torch.float64}[name]
    before = torch.tensor([3.0, 0.0, 1.0, 1.0], dtype=parts).view(getattr(torch, name))
    after = torch.tensor([3.0, 4.0, 1.0, 1.0], dtype=parts).view(getattr(torch, name))
    change = changed(before, after)
    assert (change.elements, change.norm, change.largest) == (1, 4.0, 4.0)
    assert change.relative == pytest.approx(4 / math.sqrt(11))


@pytest.mark.parametrize("name", ["int64", "uint64"])
def test_large_integers_that_float64_can_not_tell_apart_still_differ(name: str) -> None:
    before = torch.tensor([2**60, 2**60], dtype=getattr(torch, name))
    after = torch.tensor([2**60 + 1, 2**60], dtype=getattr(torch, name))
    change = changed(before, after)
    assert (change.elements, change.norm, change.largest) == (1, 1.0, 1.0)


def test_elements_are_equal_if_their_bits_are() -> None:
    nan, zero = torch.tensor([math.nan, 1.0]), torch.tensor([0.0, 1.0])
    assert changed(nan, nan.clone()).elements == 0
    signs = changed(zero, torch.tensor([-0.0, 1.0]))
    assert (signs.elements, signs.norm) == (1, 0.0)


def test_a_nan_that_is_new_is_counted_and_leaves_the_norm_a_number() -> None:
    change = changed(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([math.nan, math.inf, 5.0]))
    assert (change.nan_before, change.nan_after, change.inf_after) == (0, 1, 1)
    assert (change.elements, change.norm, change.relative) == (3, 2.0, pytest.approx(2 / 3))


def test_numbers_whose_squares_overflow_or_vanish_have_a_norm() -> None:
    for scale in (1e300, 1e-300):
        change = changed(torch.zeros(4, dtype=torch.float64), torch.full((4,), scale, dtype=torch.float64), block=2)
        assert change.norm == pytest.approx(2 * scale)
        assert change.relative is None


def test_a_change_beyond_the_range_of_float64_has_no_number() -> None:
    largest = torch.tensor([1.7e308], dtype=torch.float64)
    change = changed(-largest, largest)
    assert (change.elements, change.norm, change.relative, change.largest) == (1, None, None, None)


def test_another_dtype_is_compared_by_value() -> None:
    before = torch.tensor([1.0, 0.1, math.nan])
    change = changed(before, before.bfloat16())
    assert change.elements == 1
    assert change.largest == pytest.approx(float((before.bfloat16().float() - before)[1].abs()))
