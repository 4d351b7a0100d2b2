"""Two checkpoints compared, from either tier and from paths."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_tier import comparing
from ckpt_tier.comparing import compare
from ckpt_tier.errors import IntegrityError, NotFoundError
from ckpt_tier.inspection import Checkpoint, Inspection, at_path
from ckpt_tier.tensors.compared import Comparison
from tests.builders import TwoTiers


def file(path: Path, state: Any) -> Checkpoint:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return at_path(path)


def of(tmp_path: Path, before: Any, after: Any, **how: Any) -> Comparison:
    return compare(file(tmp_path / "a.pt", before), file(tmp_path / "b.pt", after), **how)


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    tiers = TwoTiers(tmp_path)
    for step in (5, 10, 15):
        tiers.write(step)
    tiers.sync()
    return tiers


def test_added_removed_and_changed_are_told_apart(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        {"kept": torch.ones(9), "moved": torch.ones(9), "gone": torch.ones(3), "lr": 0.1, "old": "x"},
        {"kept": torch.ones(9), "moved": torch.ones(9) * 2, "new": torch.ones(2, 2), "lr": 0.2, "seed": [1, 2]},
    )
    assert found.equal is False
    assert (found.equal_tensors, found.unread_tensors) == (1, 1)
    [moved] = found.changed
    assert moved.change is not None
    assert (moved.name, moved.change.norm, moved.change.relative) == ("moved", 3.0, 1.0)
    assert [(each.name, each.shape) for each in found.added] == [("new", (2, 2))]
    assert [(each.name, each.size_bytes) for each in found.removed] == [("gone", 12)]
    assert [(each.before, each.after) for each in found.changed_values] == [("0.1", "0.2")]
    assert [(each.name, each.value) for each in found.added_values] == [("seed", "[1, 2]")]
    assert [each.name for each in found.removed_values] == ["old"]


def test_what_nobody_can_compare_leaves_the_answer_open(tmp_path: Path) -> None:
    state = {"w": torch.ones(3), "s": torch.eye(3).to_sparse()}
    found = of(tmp_path, state, state)
    assert found.equal is None
    assert [each.name for each in found.undecided] == ["s"]


def test_long_values_are_compared_in_whole(tmp_path: Path) -> None:
    losses = [i / 7 for i in range(1000)]
    assert of(tmp_path, {"losses": losses}, {"losses": list(losses)}).equal is True
    [changed] = of(tmp_path, {"losses": losses}, {"losses": [*losses[:-1], 0.0]}).changed_values
    assert changed.before == changed.after


def test_sets_are_equal_whatever_their_order(tmp_path: Path) -> None:
    one, other = set(), set()
    one.update([0, 8, 16])
    other.update([16, 8, 0])
    assert list(one) != list(other)
    assert of(tmp_path, {"s": one}, {"s": other}).equal is True
    assert of(tmp_path, {"s": one}, {"s": other - {8}}).equal is False


def test_the_order_is_new_nan_first_then_by_relative_change(tmp_path: Path) -> None:
    one = torch.ones(4)
    found = of(
        tmp_path,
        {"a": one, "b": one, "c": one, "zero": one * 0, "nan": one},
        {"a": one * 1.1, "b": one * 3, "c": one * 2, "zero": one, "nan": one * torch.nan},
    )
    assert [each.name for each in found.changed] == ["nan", "zero", "b", "c", "a"]


def test_tied_tensors_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    measured = comparing.measured
    monkeypatch.setattr(comparing, "measured", lambda *sides: asked.append(1) or measured(*sides))
    before, after = torch.randn(50), torch.randn(50)
    found = of(tmp_path, {"in": before, "out": before}, {"in": after, "out": after})
    assert [each.name for each in found.changed] == ["in", "out"]
    assert len(asked) == 1


def test_a_filter_looks_at_nothing_else(tmp_path: Path) -> None:
    before, after = ({"a": torch.ones(3) * x, "b": torch.ones(3) * x, "x": x} for x in (1, 2))
    found = of(tmp_path, before, after, pattern="a")
    assert [each.name for each in found.changed] == ["a"]
    assert found.changed_values == ()
    with pytest.raises(NotFoundError, match="no name in either checkpoint matches 'z'"):
        of(tmp_path, before, after, pattern="z")


def test_files_that_are_not_looked_into_are_compared_by_their_bytes(tmp_path: Path) -> None:
    for folder, text in (("a", "one"), ("b", "two")):
        file(tmp_path / folder / "model.pt", {"w": torch.ones(3)})
        (tmp_path / folder / "config.json").write_text(text)
        (tmp_path / folder / "same.json").write_text("{}")
    (tmp_path / "b" / "more.json").write_text("{}")
    found = compare(at_path(tmp_path / "a"), at_path(tmp_path / "b"))
    assert (found.changed_files, found.added_files, found.removed_files) == (("config.json",), ("more.json",), ())
    assert (found.equal, found.equal_tensors) == (False, 1)


def test_shards_that_were_cut_otherwise_hold_the_same_model(tmp_path: Path) -> None:
    model = {f"layer.{i}": torch.randn(20) for i in range(4)}
    names = list(model)
    for folder, cuts in (("a", [names[:2], names[2:]]), ("b", [names[:1], names[1:3], names[3:]])):
        for number, chosen in enumerate(cuts):
            file(tmp_path / folder / f"model-{number}-of-{len(cuts)}.pt", {name: model[name] for name in chosen})
    assert compare(at_path(tmp_path / "a"), at_path(tmp_path / "b")).equal is True


def test_the_same_checkpoint_in_both_tiers_is_equal_and_only_one_is_looked_into(tiers: TwoTiers) -> None:
    inspection = Inspection(tiers.wiring())
    hot, cold = inspection.checkpoint(15, tier="hot"), inspection.checkpoint(15, tier="cold")
    found = compare(hot, cold)
    assert (found.equal, found.unread_tensors, found.after.requests) == (True, 1, 0)
    again = compare(inspection.checkpoint(15, tier="hot"), cold, read=True)
    assert (again.equal, again.unread_tensors) == (True, 0)


def test_two_steps_of_the_cold_tier(tiers: TwoTiers) -> None:
    inspection = Inspection(tiers.wiring())
    found = compare(*(inspection.checkpoint(step, tier="cold") for step in (5, 10)))
    assert (found.before.step, found.after.step) == (5, 10)
    assert [each.name for each in found.changed] == ["model.w"]


def test_damage_ends_it_and_leaves_no_thread_behind(tmp_path: Path) -> None:
    first = file(tmp_path / "a.pt", {str(i): torch.randn(300_000) for i in range(40)})
    file(tmp_path / "b.pt", {str(i): torch.randn(300_000) for i in range(40)})
    data = bytearray((tmp_path / "b.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "b.pt").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"tensor \d+ of b\.pt is damaged"):
        compare(first, at_path(tmp_path / "b.pt"))
    assert [thread for thread in threading.enumerate() if "ThreadPool" in thread.name] == []


def test_a_nan_is_no_trouble_for_the_document(tmp_path: Path) -> None:
    import msgspec

    found = of(tmp_path, {"w": torch.zeros(2)}, {"w": torch.tensor([torch.nan, torch.inf])})
    [changed] = json.loads(msgspec.json.encode(found))["changed"]
    assert changed["change"]["norm"] == 0
    assert (changed["change"]["nan_after"], changed["change"]["inf_after"]) == (1, 1)
