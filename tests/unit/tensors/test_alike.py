"""The files of one training: after the first few, little of each has to be read, and nothing is believed unproven."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.errors import IntegrityError
from ckpt_tier.tensors.alike import Alike
from ckpt_tier.tensors.catalogue import catalogue
from ckpt_tier.tensors.chosen import choose
from ckpt_tier.tensors.foretelling import differing
from ckpt_tier.tensors.ranges import Cost
from tests.examples import examples
from tests.unit.formats.samples import saved
from tests.unit.tensors.test_catalogue import ranges

LARGE = 200
"""Tensors: a pickle and a directory of some 20 kB each."""


def state(step: int, **more: Any) -> dict[str, Any]:
    weights = {f"layers.{i}.weight": torch.full((1000,), step + i) for i in range(LARGE)}
    return {"model": weights, "k": torch.tensor(float(step)), "lr": 1 / step, "step": step, **more}


def value_and_cost(data: bytes, alike: Alike, path: str = "step_5.pt", key: str = "k") -> tuple[float | None, Cost]:
    cost = Cost()
    [chosen], _ = choose(ranges(data, cost), path, [key], alike)
    assert chosen.figures is not None
    return chosen.figures.value, cost


def test_from_the_third_file_on_the_directory_and_a_few_bytes_tell_all() -> None:
    alike = Alike()
    costs = []
    for step in range(1000, 1005):
        value, cost = value_and_cost(saved(state(step)), alike, f"step_{step}.pt")
        assert value == step
        costs.append(cost)
    assert costs[0].read_bytes > 200_000
    directory = 25_000
    assert all(cost.read_bytes < directory for cost in costs[2:])
    assert all(cost.requests <= 3 for cost in costs[2:])


def test_an_equal_pickle_is_not_read_again() -> None:
    alike = Alike()
    for value in (1.0, 2.0, 3.0):
        data = saved({"k": torch.tensor(value), **{str(i): torch.full((500,), value) for i in range(LARGE)}})
        found, cost = value_and_cost(data, alike)
        assert found == value
    assert cost.requests == 2


@pytest.mark.parametrize("step", [7, 70_000, 10**9])
def test_a_step_that_takes_more_bytes_than_the_last_is_read_right(step: int) -> None:
    alike = Alike()
    for other in (1000, 1001):
        value_and_cost(saved(state(other)), alike)
    assert value_and_cost(saved(state(step)), alike, key="step")[0] == step


def test_a_file_of_another_structure_is_read_as_any_other() -> None:
    alike = Alike()
    for step in (1000, 1001, 1002):
        value_and_cost(saved(state(step)), alike)
    other = {"extra": torch.ones(7), **state(1003), "model": {"one": torch.ones(3)}}
    assert value_and_cost(saved(other), alike)[0] == 1003
    renamed = state(1004)
    renamed["model"] = {name.replace("layers", "blocks"): value for name, value in renamed["model"].items()}
    assert value_and_cost(saved(renamed), alike, key="k")[0] == 1004
    old_format = saved(state(1005), _use_new_zipfile_serialization=False)
    assert value_and_cost(old_format, alike)[0] == 1005


def test_what_lies_where_a_pickle_is_foretold_is_not_believed_without_its_checksum() -> None:
    alike = Alike()
    for step in (1000, 1001):
        value_and_cost(saved(state(step)), alike)
    data = saved(state(1002))
    # A byte of a name, far from what differs between steps: only the whole pickle shows it.
    at = data.index(b"layers.100.weight")
    damaged = data[:at] + b"L" + data[at + 1 :]
    # It is not read, so it does no harm: the directory proves what was put together.
    assert value_and_cost(damaged, alike)[0] == 1002
    # What differs between steps is read, and there the damage shows.
    data = saved(state(1003))
    at = data.index(struct.pack(">d", 1 / 1003))
    with pytest.raises(IntegrityError, match="its pickle does not match its CRC32"):
        value_and_cost(data[: at + 5] + bytes([data[at + 5] ^ 1]) + data[at + 6 :], alike)


def test_a_record_that_is_damaged_is_told_and_the_others_have_figures() -> None:
    data = bytearray(saved({"a": torch.full((300,), 3.0), "b": torch.full((300,), 5.0)}))
    data[bytes(data).index(torch.full((300,), 5.0).numpy().tobytes()) + 1] ^= 1
    (a, b), _ = choose(ranges(bytes(data)), "x.pt", ["*"], Alike())
    assert a.figures is not None
    assert a.figures.mean == 3.0
    assert b.figures is None
    assert "CRC32" in b.problem
    assert b.exit_code == IntegrityError.exit_code


def test_small_neighbours_are_read_in_one_request() -> None:
    cost = Cost()
    data = saved({str(i): torch.full((10,), float(i)) for i in range(50)} | {"far": torch.zeros(500_000)})
    chosen, _ = choose(ranges(data, cost), "x.pt", ["?", "??"], Alike())
    assert [each.figures.mean for each in chosen if each.figures] == [float(i) for i in range(50)]
    assert cost.requests <= 3


def test_where_two_texts_differ_is_told_in_few_ranges_or_not_at_all() -> None:
    text = bytes(10_000)
    other = bytearray(text)
    other[5000] = 1
    [(begin, end)] = differing(text, bytes(other)) or []
    assert begin <= 5000 < end
    assert end - begin < 1000
    assert differing(text, bytes([1]) * 10_000) is None


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Files of five steps, with names in them that have the step, as torch takes them from a path."""
    folder = tmp_path_factory.mktemp("training")
    files = []
    for step in range(1000, 1005):
        path = folder / f"step_{step}.pt"
        torch.save(state(step), path)
        files.append(path.read_bytes())
    return files


def taught(files: Sequence[bytes]) -> Alike:
    alike = Alike()
    for data in files:
        choose(ranges(data), "step_5.pt", ["k"], alike)
    return alike


def seen(data: bytes, alike: Alike) -> dict[str, float | None]:
    """What is found of two tensors and two numbers; Rejected or IntegrityError where the file is damaged."""
    patterns = ["k", "model.layers.7.weight", "lr", "step"]
    chosen, held = choose(ranges(data), "step_5.pt", patterns, alike)
    assert {entry.name for entry in held.entries} >= {"lr", "step"}
    return {each.name: each.figures.mean for each in chosen if each.figures}


def test_a_file_that_says_the_same_as_those_before_it_is_not_taken_apart(training: list[bytes]) -> None:
    alike = taught(training[:2])
    for number, data in enumerate(training[2:], start=1002):
        assert alike.known(ranges(data), "step_5.pt") is not None
        assert seen(data, alike) == seen(data, Alike())
        assert seen(data, alike) == {"k": number, "model.layers.7.weight": number + 7, "lr": 1 / number, "step": number}


def test_all_that_is_told_of_it_is_what_taking_it_apart_tells(training: list[bytes]) -> None:
    known = taught(training[:2]).known(ranges(training[3]), "step_5.pt")
    assert known is not None
    fresh = catalogue(ranges(training[3]), "step_5.pt")
    assert dict(known.storages) == dict(fresh.storages)
    for field in set(fresh.__struct_fields__) - {"storages"}:
        assert getattr(known, field) == getattr(fresh, field), field


@given(st.data())
@examples(150)
def test_a_flipped_bit_anywhere_gives_an_error_or_changes_nothing(training: list[bytes], data: st.DataObject) -> None:
    whole = training[4]
    places = st.one_of(
        st.integers(whole.index(b"PK\x01\x02"), len(whole) - 1),  # the directory and its end
        st.integers(0, whole.index(b"PK\x03\x04", 4)),  # the pickle
        st.integers(0, len(whole) - 1),
    )
    at, bit = data.draw(places), data.draw(st.integers(0, 7))
    damaged = bytearray(whole)
    damaged[at] ^= 1 << bit
    expected = {"k": 1004.0, "model.layers.7.weight": 1011.0, "lr": 1 / 1004, "step": 1004.0}
    try:
        found = seen(bytes(damaged), taught(training[:2]))
    except IntegrityError:
        return
    assert found.items() <= expected.items()


def test_a_record_whose_checksum_is_wrong_amid_equal_ones_is_told(training: list[bytes]) -> None:
    data = bytearray(training[3])
    at = bytes(data).index(torch.tensor(1003.0).numpy().tobytes())
    data[at] ^= 1
    chosen, _ = choose(ranges(bytes(data)), "step_5.pt", ["k", "step"], taught(training[:2]))
    k, step = chosen
    assert k.figures is None
    assert "CRC32" in k.problem
    assert step.figures is not None
    assert step.figures.value == 1003


def test_a_directory_in_another_order_is_read_as_any_other(training: list[bytes]) -> None:
    data = training[3]
    start = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", start + 4)
    last = data.rindex(b"PK\x01\x02")
    turned = data[:start] + data[second:last] + data[start:second] + data[last:]
    alike = taught(training[:2])
    assert alike.known(ranges(turned), "step_5.pt") is None
    assert seen(turned, alike) == seen(data, Alike())


def test_a_directory_that_says_something_else_of_one_record_is_read_as_any_other(training: list[bytes]) -> None:
    data = bytearray(training[3])
    entry = bytes(data).index(b"step_1003/data/7", bytes(data).index(b"PK\x01\x02")) - 46
    assert data[entry : entry + 4] == b"PK\x01\x02"
    data[entry + 10] = 8  # compressed
    chosen, held = choose(ranges(bytes(data)), "step_5.pt", ["*"], taught(training[:2]))
    problems = [each.problem for each in chosen if each.problem]
    assert len(problems) == 1
    assert "can't be read by itself" in problems[0]
    assert dict(held.storages) == dict(catalogue(ranges(bytes(data)), "step_5.pt").storages)


def test_a_file_that_names_its_archive_in_two_ways_is_not_taken_for_one_that_is_known(training: list[bytes]) -> None:
    data = bytearray(training[3])
    at = bytes(data).rindex(b"step_1003/data/5")
    data[at + 5 : at + 9] = b"1009"
    alike = taught(training[:2])
    assert alike.known(ranges(bytes(data)), "step_5.pt") is None
    with pytest.raises(IntegrityError):
        seen(bytes(data), alike)


def test_a_step_of_more_digits_teaches_anew(tmp_path: Path, training: list[bytes]) -> None:
    alike = taught(training)
    for step in (99_999, 100_000, 100_001, 100_002):
        path = tmp_path / f"step_{step}.pt"
        torch.save(state(step), path)
        assert seen(path.read_bytes(), alike)["step"] == step
    assert alike.known(ranges(path.read_bytes()), "step_5.pt") is not None
