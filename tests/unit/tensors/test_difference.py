"""What is told of two tensors without reading them, and what reading them tells."""

import json
from typing import Any

import pytest
import torch

from ckpt_tier.errors import IntegrityError
from ckpt_tier.tensors import difference
from ckpt_tier.tensors.catalogue import catalogue
from ckpt_tier.tensors.difference import Known, Side, foreseen, measured
from ckpt_tier.tensors.ranges import Cost, Ranges
from tests.unit.formats.samples import saved
from tests.unit.tensors.test_catalogue import ranges


class Two:
    """Two files, and what is known of their tensors."""

    def __init__(self, before: object, after: object) -> None:
        self.costs = (Cost(), Cost())
        data = [each if isinstance(each, bytes) else saved(each) for each in (before, after)]
        self.readers: list[Ranges] = [ranges(d, cost) for d, cost in zip(data, self.costs, strict=True)]
        names = [_name(d) for d in data]
        self.held = [catalogue(reader, name) for reader, name in zip(self.readers, names, strict=True)]
        self.heads = sum(cost.read_bytes for cost in self.costs)

    def sides(self, name: str) -> tuple[Side, Side]:
        first, second = (Side(held, held.by_name[name]) for held in self.held)
        return first, second

    def foreseen(self, name: str = "w", **more: bool) -> Known | None:
        return foreseen(*self.sides(name), **{"same_file": False, "read": False, **more})

    def measured(self, name: str = "w") -> Known:
        assert self.foreseen(name, read=True) is None
        before, after = self.sides(name)
        return measured(before, self.readers[0], after, self.readers[1])

    @property
    def read_bytes(self) -> int:
        """Beyond what the catalogues took."""
        return sum(cost.read_bytes for cost in self.costs) - self.heads


def _name(data: bytes) -> str:
    return "a.safetensors" if data[8:9] == b"{" else "a.pt"


def safetensors(dtype: str, data: bytes, count: int) -> bytes:
    header = json.dumps({"w": {"dtype": dtype, "shape": [count], "data_offsets": [0, len(data)]}}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


def test_the_same_checksum_of_the_same_view_is_equal_and_unread() -> None:
    assert Two({"w": torch.arange(9.0)}, {"w": torch.arange(9.0)}).foreseen() == Known(True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (torch.arange(9.0), torch.arange(9.0) + 1),
        (torch.arange(9.0)[:4], torch.arange(9.0)[4:8]),
        (torch.arange(9.0).view(3, 3), torch.arange(9.0).view(3, 3).t()),
        (torch.zeros(4), torch.zeros(4, dtype=torch.int32)),
    ],
    ids=["other bytes", "another part", "another stride", "another dtype"],
)
def test_otherwise_it_has_to_be_read(before: torch.Tensor, after: torch.Tensor) -> None:
    assert Two({"w": before}, {"w": after}).foreseen() is None


def test_a_file_without_checksums_proves_nothing() -> None:
    torch.serialization.set_crc32_options(False)
    try:
        two = Two({"w": torch.arange(9.0)}, {"w": torch.arange(9.0)})
    finally:
        torch.serialization.set_crc32_options(True)
    assert two.foreseen() is None
    assert two.measured() == Known(True, unread=False)
    assert two.foreseen(same_file=True) == Known(True)


def test_another_shape_is_a_change_without_a_number() -> None:
    assert Two({"w": torch.zeros(4)}, {"w": torch.zeros(5)}).foreseen() == Known(False)
    assert Two({"w": torch.zeros(4)}, {"w": torch.zeros(2, 2)}).foreseen() == Known(False)


def test_empty_tensors_are_equal_if_their_dtype_is() -> None:
    assert Two({"w": torch.zeros(0, 3)}, {"w": torch.zeros(0, 3)}).foreseen(read=True) == Known(True)
    assert Two({"w": torch.zeros(0)}, {"w": torch.zeros(0).half()}).foreseen(read=True) == Known(False)


@pytest.mark.filterwarnings("ignore")
def test_what_can_not_be_compared_says_why_unless_the_files_are_the_same() -> None:
    sparse = Two({"w": torch.eye(3).to_sparse()}, {"w": torch.eye(3).to_sparse()})
    quantised = Two(*[{"w": torch.quantize_per_tensor(torch.ones(4), s, 0, torch.qint8)} for s in (0.1, 0.2)])
    for two, why in ((sparse, "sparse"), (quantised, "quantised")):
        known = two.foreseen()
        assert known is not None
        assert known.equal is None
        assert why in known.why
        assert two.foreseen(same_file=True, read=True) == Known(True)


def test_an_expanded_tensor_of_a_billion_elements_is_not_read() -> None:
    wide = torch.zeros(1).expand(2**30)
    known = Two({"w": wide}, {"w": (torch.zeros(1) + 1).expand(2**30)}).foreseen()
    assert known is not None
    assert known.equal is None


SAMPLES: dict[str, Any] = {
    "scalar": lambda x: x[0, 0].clone(),
    "whole": lambda x: x,
    "slice": lambda x: x[10:20],
    "columns": lambda x: x[:, 3:9],
    "transposed": lambda x: x.t(),
    "every other": lambda x: x[::2, ::3],
    "expanded": lambda x: x[:1].expand(5, 60),
    "windows": lambda x: x[0].unfold(0, 8, 2),
    "parameter": torch.nn.Parameter,
    "bfloat16": lambda x: x.bfloat16(),
    "float8": lambda x: x.to(torch.float8_e4m3fn),
    "turned float8": lambda x: x.to(torch.float8_e5m2)[:, ::2],
    "int": lambda x: (x * 100).int(),
    "bool": lambda x: x > 0,
    "complex": lambda x: torch.complex(x, -x)[3:, 1:],
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_is_read_gives_the_numbers_of_the_loaded_tensors(sample: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difference, "_PIECE", 1000)
    monkeypatch.setattr(difference, "_BLOCK", 64)
    torch.manual_seed(0)
    old = torch.randn(50, 60)
    new = old.clone()
    new[:, ::4] += 0.5
    before, after = (SAMPLES[sample](x) for x in (old, new))
    two = Two({"x": torch.ones(3), "w": before}, {"w": after, "y": torch.ones(7)})
    change = two.measured().change
    assert change is not None
    wide = torch.complex128 if before.is_complex() else torch.float64
    first, second = before.detach().to(wide), after.detach().to(wide)
    assert change.elements == int((first != second).sum())
    assert change.norm == pytest.approx(float((second - first).norm()))
    assert change.relative == pytest.approx(float((second - first).norm() / first.norm()))
    assert change.largest == pytest.approx(float((second - first).abs().max()))


def test_views_in_another_order_are_compared_element_by_element() -> None:
    x = torch.randn(30, 40)
    assert Two({"w": x.t()}, {"w": x.t().contiguous()}).measured() == Known(True, unread=False)
    assert Two({"w": x.t()}, {"w": x.t().contiguous() + 1}).measured().equal is False


def test_another_dtype_is_a_change_even_if_the_values_are_equal() -> None:
    known = Two({"w": torch.arange(5.0)}, {"w": torch.arange(5.0).bfloat16()}).measured()
    assert known.equal is False
    assert known.change is not None
    assert (known.change.elements, known.change.norm) == (0, 0.0)


def test_safetensors_and_torch_files_are_compared_with_each_other() -> None:
    values = torch.arange(100, dtype=torch.float32)
    two = Two({"w": values}, safetensors("F32", bytes(values.numpy().tobytes()), 100))
    assert two.measured() == Known(True, unread=False)
    other = Two({"w": values + 2}, safetensors("F32", bytes(values.numpy().tobytes()), 100)).measured()
    assert other.change is not None
    assert other.change.largest == 2


def test_a_dtype_that_torch_has_not_is_compared_by_its_bytes() -> None:
    old, same, new = (safetensors("F4", data, 8) for data in (b"abcd", b"abcd", b"abce"))
    assert Two(old, same).measured() == Known(True, unread=False)
    known = Two(old, new).measured()
    assert (known.equal, known.change) == (False, None)


def test_a_large_tensor_is_read_once_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difference, "_PIECE", 2**19)
    two = Two({"a": torch.zeros(500_000), "w": torch.zeros(1_000_000)}, {"w": torch.ones(1_000_000)})
    known = two.measured()
    assert known.change is not None
    assert known.change.norm == pytest.approx(1000)
    assert two.read_bytes < 8_000_000 + 2 * 300_000
    assert all(cost.requests < 14 for cost in two.costs)


@pytest.mark.parametrize("side", [0, 1])
def test_a_flipped_byte_on_either_side_is_damage_and_not_a_change(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difference, "_PIECE", 1000)
    torch.manual_seed(0)
    files = [bytearray(saved({"w": torch.randn(9000)})) for _ in range(2)]
    files[side][len(files[side]) // 2] ^= 1
    two = Two(*map(bytes, files))
    with pytest.raises(IntegrityError, match=r"tensor w of a\.pt is damaged.*CRC32"):
        two.measured()
