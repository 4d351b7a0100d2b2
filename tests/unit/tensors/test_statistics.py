"""A tensor's figures against those that torch and NumPy give for all of it at once."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from ckpt_tier.errors import IntegrityError, UsageError
from ckpt_tier.tensors.catalogue import catalogue
from ckpt_tier.tensors.content import BLOCK
from ckpt_tier.tensors.pieces import HEADER
from ckpt_tier.tensors.ranges import BEHIND, Cost
from ckpt_tier.tensors.statistics import Figures, figures, of_number
from tests.unit.formats.samples import saved
from tests.unit.tensors.test_catalogue import listed, ranges


def figures_of(tensor: torch.Tensor) -> Figures:
    reader, held = listed({"t": tensor})
    return figures(reader, held, held.by_name["t"])


def expected(tensor: torch.Tensor) -> dict[str, float]:
    flat = tensor.to(torch.complex128).abs() if tensor.is_complex() else tensor.to(torch.float64)
    values = flat.numpy().ravel()
    return {
        "mean": values.mean(),
        "min": values.min(),
        "max": values.max(),
        "std": np.std(values),
        "norm": float(np.linalg.norm(values)),
    }


DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.int8, torch.uint8, torch.int16, torch.int64, torch.uint16, torch.uint32, torch.bool, torch.complex64,
]  # fmt: skip


@pytest.mark.parametrize("rows", [37, 3], ids=["many", "few"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_has_the_figures_that_numpy_gives(dtype: torch.dtype, rows: int) -> None:
    torch.manual_seed(0)
    tensor = (torch.randn(rows, 11) * 5).abs().to(dtype)
    found = figures_of(tensor)
    assert (found.numel, found.nan, found.inf, found.verified) == (rows * 11, 0, 0, True)
    for name, value in expected(tensor).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-12), name


def test_a_tensor_of_many_blocks_is_read_in_blocks_and_proven_at_the_end() -> None:
    torch.manual_seed(0)
    tensor = torch.randn(3 * BLOCK // 4 + 7) + 1000
    cost = Cost()
    reader = ranges(saved({"t": tensor}), cost)
    held = catalogue(reader, "a.pt")
    largest = 0

    def watched(offset: int, length: int) -> bytes:
        nonlocal largest
        largest = max(largest, length)
        return inner(offset, length)

    inner, reader._fetch = reader._fetch, watched
    found = figures(reader, held, held.tensors[0])
    assert found.verified
    assert largest <= BLOCK + HEADER + BEHIND
    for name, value in expected(tensor).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-12), name


def test_a_flipped_byte_in_the_last_block_is_seen() -> None:
    tensor = torch.ones(2 * BLOCK // 4)
    data = bytearray(saved({"t": tensor}))
    last = bytes(data).rindex(tensor[:64].numpy().tobytes())
    data[last] ^= 1
    reader = ranges(bytes(data))
    held = catalogue(reader, "a.pt")
    with pytest.raises(IntegrityError, match="CRC32"):
        figures(reader, held, held.tensors[0])


@pytest.mark.parametrize("times", [1, 100])
def test_figures_are_of_the_finite_values_and_the_others_are_counted(times: int) -> None:
    found = figures_of(torch.tensor([1.0, math.nan, 3.0, math.inf, -math.inf]).repeat(times))
    assert (found.nan, found.inf, found.numel) == (times, 2 * times, 5 * times)
    assert (found.mean, found.min, found.max, found.std) == (2.0, 1.0, 3.0, 1.0)
    nothing = figures_of(torch.tensor([math.nan]))
    assert (nothing.value, nothing.mean, nothing.nan) == (None, None, 1)


def test_one_element_has_a_value_and_an_empty_tensor_has_none() -> None:
    assert figures_of(torch.tensor(1.5)).value == 1.5
    assert figures_of(torch.tensor([[2.5]])).value == 2.5
    empty = figures_of(torch.empty(0, 4))
    assert (empty.numel, empty.mean, empty.value) == (0, None, None)


def test_a_transposed_tensor_is_proven_and_a_slice_is_not() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    reader, held = listed({"turned": whole.t(), "column": whole[:, 1], "rows": whole[1:]})
    turned, column, rows = (figures(reader, held, tensor) for tensor in held.tensors)
    assert (turned.mean, turned.verified) == (5.5, True)
    assert (column.mean, column.numel, column.verified) == (5.0, 3, False)
    assert (rows.min, rows.numel, rows.verified) == (4.0, 8, False)


def test_a_tensor_that_repeats_its_elements_costs_only_what_it_has() -> None:
    base = torch.tensor([1.0, 3.0])
    found = figures_of(base.unsqueeze(1).expand(2, 10**12))
    assert found.numel == 2 * 10**12
    assert (found.mean, found.std) == (2.0, 1.0)
    assert found.norm == pytest.approx(math.sqrt(10 * 10**12))


def test_elements_that_overlap_are_refused_whatever_their_number() -> None:
    with pytest.raises(UsageError, match="overlap"):
        figures_of(torch.as_strided(torch.zeros(2000), (1000, 1000), (1, 1)))


def test_tied_tensors_have_the_same_figures() -> None:
    tied = torch.randn(50)
    reader, held = listed({"in": tied, "out": tied})
    assert figures(reader, held, held.by_name["in"]) == figures(reader, held, held.by_name["out"])


@pytest.mark.parametrize("count", [4, 400])
def test_a_sum_beyond_the_largest_float_is_none_and_no_infinity(count: int) -> None:
    found = figures_of(torch.full((count,), 1e308, dtype=torch.float64))
    assert found.max == 1e308
    assert found.norm is None


def test_safetensors_are_read_but_can_not_be_proven() -> None:
    header: dict[str, Any] = {"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    data = (
        len(text).to_bytes(8, "little") + text + torch.tensor([1.0, 2.0]).bfloat16().view(torch.uint8).numpy().tobytes()
    )
    reader = ranges(data)
    held = catalogue(reader, "a.safetensors")
    found = figures(reader, held, held.tensors[0])
    assert (found.mean, found.verified) == (1.5, False)


def test_plain_numbers_have_figures_too() -> None:
    found = of_number(-3.0, verified=True)
    assert (found.value, found.norm, found.std, found.verified) == (-3.0, 3.0, 0.0, True)
    nothing = of_number(math.nan, verified=False)
    assert (nothing.value, nothing.nan) == (None, 1)
