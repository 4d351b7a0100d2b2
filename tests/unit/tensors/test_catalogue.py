"""What a file is said to hold, against what torch itself finds in it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.errors import IntegrityError
from ckpt_tier.tensors.catalogue import catalogue
from ckpt_tier.tensors.content import read_tensor
from ckpt_tier.tensors.nouns import Catalogue
from ckpt_tier.tensors.ranges import AHEAD, Cost, Ranges
from ckpt_tier.tensors.safety import not_safely_loadable
from tests.unit.formats.samples import saved, training_state


def ranges(data: bytes, cost: Cost | None = None) -> Ranges:
    return Ranges(len(data), lambda offset, length: data[offset : offset + length], cost or Cost())


def listed(state: object, path: str = "a.pt", **options: Any) -> tuple[Ranges, Catalogue]:
    reader = ranges(saved(state, **options))
    return reader, catalogue(reader, path)


def flat(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    """The plain tensors in dicts, lists and modules, by name."""
    if isinstance(value, torch.Tensor):
        return {name: value.detach()} if value.layout is torch.strided and not value.is_meta else {}
    pairs: Any = ()
    if isinstance(value, torch.nn.Module):
        pairs = value.state_dict().items()
    elif isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    return {n: t for key, each in pairs for n, t in flat(each, f"{name}.{key}" if name else str(key)).items()}


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """By their bytes, since NaN is not equal to itself and fp8 can't be compared."""
    if (one.dtype, one.shape, one.stride()) != (other.dtype, other.shape, other.stride()):
        return False
    return saved_values(one) == saved_values(other)


def saved_values(tensor: torch.Tensor) -> list[int]:
    contiguous = tensor.detach().contiguous().reshape(-1)
    return contiguous.view(torch.uint8).tolist() if contiguous.numel() else []


@pytest.mark.parametrize("new", [True, False])
def test_every_tensor_of_a_training_state_is_listed_under_its_name_and_read_as_torch_reads_it(new: bool) -> None:
    state = training_state()
    state["turned"] = torch.arange(6.0).reshape(2, 3).t()
    state["wide"] = torch.ones(1, 4).expand(3, 4)
    reader, found = listed(state, _use_new_zipfile_serialization=new)
    expected = flat(state)
    assert {tensor.name for tensor in found.tensors if tensor.dtype != "opaque"} == expected.keys()
    assert [tensor.name for tensor in found.tensors if tensor.dtype == "opaque"] == ["sparse", "meta"]
    for name, tensor in expected.items():
        assert same(read_tensor(reader, found, found.by_name[name]).tensor, tensor), name


def test_what_is_no_tensor_is_listed_with_its_type_and_value() -> None:
    _, found = listed(training_state())
    values = {entry.name: (entry.type, entry.value) for entry in found.entries}
    assert values["adam.param_groups.0.betas"] == ("tuple", "(0.9, 0.999)")
    assert values["args.out"][1] == "/data/out"
    assert values["args.phase"][1] == "decay"
    assert values["settings.rate"] == ("float", "0.1")
    assert values["nested.losses.0"][1] == "0.5"
    assert values["rng.python.1"][1].endswith("of 625")
    assert values["numpy.2"] == ("numpy.ndarray", "shape (2, 3)")
    assert "not loadable with weights_only=True: uses argparse.Namespace" in found.notes[0]


def test_tied_and_sliced_tensors_are_told_to_share_a_storage() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    _, found = listed({"in": whole, "out": whole, "row": whole[1], "column": whole[:, 1], "own": torch.ones(2)})
    assert found.sharing == (("in", "out", "row", "column"),)
    assert [t.name for t in found.tensors if not t.is_contiguous] == ["column"]
    assert (found.by_name["row"].begin_bytes, found.by_name["row"].end_bytes) == (16, 32)


def test_safetensors_are_listed_and_read() -> None:
    tensors = {
        "b": torch.ones(3, 2).bfloat16(),
        "e": torch.ones(5).to(torch.float8_e5m2),
        "n": torch.arange(4),
        "none": torch.empty(0),
    }
    reader = ranges(safetensors.torch.save(tensors, {"format": "pt", "step": "7"}))
    found = catalogue(reader, "a.safetensors")
    assert found.format == "safetensors"
    assert {(entry.name, entry.value) for entry in found.entries} == {("format", "pt"), ("step", "7")}
    for name, tensor in tensors.items():
        content = read_tensor(reader, found, found.by_name[name])
        assert same(content.tensor, tensor)
        assert not content.verified


def test_a_dtype_that_torch_lacks_is_listed_as_the_file_says_it() -> None:
    header = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    found = catalogue(ranges(len(header).to_bytes(8, "little") + header + b"\0"), "a.safetensors")
    assert found.tensors[0].dtype == "F4"


def test_a_large_file_costs_two_requests() -> None:
    state = {f"layer.{i}": torch.zeros(100_000) for i in range(20)}
    cost = Cost()
    reader = ranges(saved(state), cost)
    assert len(catalogue(reader, "a.pt").tensors) == 20
    assert cost == Cost(requests=2, read_bytes=2 * AHEAD)


def test_a_file_of_thousands_of_tensors_costs_four_requests() -> None:
    data = saved({f"model.layers.{number}.weight": torch.zeros(4) for number in range(3_000)})
    cost = Cost()
    assert len(catalogue(ranges(data, cost), "a.pt").tensors) == 3_000
    assert cost.requests == 4


def test_a_flat_pickle_and_other_files_are_told_apart() -> None:
    assert catalogue(ranges(b"\x80\x02}X\1\0\0\0aK\7s."), "a.pkl").entries[0].value == "7"
    assert catalogue(ranges(b"hello"), "a.txt").notes == ("plain files are not looked into",)


@pytest.mark.parametrize(("data", "why"), [(b"", "empty file"), (b"\0" * 99, "all zero"), (b"PK\3\4xx", "truncated")])
def test_a_broken_file_is_an_error_that_says_what_is_wrong(data: bytes, why: str) -> None:
    with pytest.raises(IntegrityError, match=why) as caught:
        catalogue(ranges(data), "a.pt")
    assert caught.value.fix


SMALL = {True: saved({"a": torch.ones(2), "b": [1, {"c": torch.zeros(3, 2).t()}]}), False: b""}
SMALL[False] = saved(torch.load(io.BytesIO(SMALL[True])), _use_new_zipfile_serialization=False)


@given(st.booleans(), st.data())
def test_whatever_is_flipped_gives_a_list_or_an_error_of_ours(new: bool, data: st.DataObject) -> None:
    raw = bytearray(SMALL[new])
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        catalogue(ranges(bytes(raw)), "a.pt")
    except IntegrityError as error:
        told = str(error)
        assert told.isprintable()


def test_what_weights_only_takes_is_what_torch_says() -> None:
    from torch._weights_only_unpickler import _get_allowed_globals

    assert not_safely_loadable(_get_allowed_globals()) == []
    assert not_safely_loadable(["numpy.ndarray", "torch.nn.modules.linear.Linear", "builtins.eval"]) != []


def test_no_code_runs(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "was-here",))

    data = saved({"x": Touch()})
    catalogue(ranges(data), "a.pt")
    assert not (tmp_path / "was-here").exists()
    torch.load(io.BytesIO(data), weights_only=False)
    assert (tmp_path / "was-here").exists()
