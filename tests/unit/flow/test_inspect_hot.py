"""What `init` says of the checkpoints that it finds: real files, whole and damaged."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ckpt_tier.errors import CancelledError
from ckpt_tier.flow.inspect_hot import FILES_AT_ONCE, Inspected, inspect_hot
from ckpt_tier.formats.check import Level
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.scan import HotCopy, scan
from tests.builders import checkpoint, flip_a_bit

TENSORS = {"weight": torch.arange(63.0).reshape(9, 7), "bias": torch.ones(7)}


def torch_file(root: Path, step: int) -> Path:
    path = root / f"step_{step}.pt"
    path.write_bytes(checkpoint(step))
    return path


def safetensors_file(root: Path, step: int) -> Path:
    path = root / f"step_{step}.safetensors"
    save_file(TENSORS, path)
    return path


def found(root: Path, layout: str) -> list[HotCopy]:
    """As `init` finds them: by scanning."""
    return list(scan(root, Layout.parse(layout)).copies)


def inspected(root: Path, layout: str = "step_{step}.pt", level: Level = Level.FULL) -> list[Inspected]:
    return list(inspect_hot(root, found(root, layout), level, lambda: None))


def problems(verdicts: list[Inspected]) -> dict[int, str]:
    return {verdict.copy.step: verdict.problem for verdict in verdicts}


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip_the_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("level", [Level.FAST, Level.FULL, pytest.param(Level.DEEP, marks=pytest.mark.slow)])
def test_whole_checkpoints_are_good_and_nothing_is_written(tmp_path: Path, level: Level) -> None:
    torch_file(tmp_path, 1)
    safetensors_file(tmp_path, 1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for layout in ("step_{step}.pt", "step_{step}.safetensors"):
        assert problems(inspected(tmp_path, layout, level)) == {1: ""}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("level", [Level.FAST, Level.FULL])
@pytest.mark.parametrize("damage", [truncate, cut_in_half, empty, zero])
def test_a_file_that_is_cut_short_empty_or_zeroed_is_corrupt_by_its_structure_alone(
    tmp_path: Path, damage: Callable[[Path], None], level: Level
) -> None:
    torch_file(tmp_path, 1)
    damage(torch_file(tmp_path, 2))
    safetensors_file(tmp_path, 1)
    damage(safetensors_file(tmp_path, 2))
    for layout in ("step_{step}.pt", "step_{step}.safetensors"):
        good, bad = inspected(tmp_path, layout, level)
        assert good.problem == ""
        assert bad.copy.step == 2
        assert bad.problem
        assert not bad.in_progress


def test_a_flipped_bit_is_seen_by_its_checksum_and_not_by_the_structure_alone(tmp_path: Path) -> None:
    flip_a_bit(torch_file(tmp_path, 1))
    [verdict] = inspected(tmp_path, level=Level.FULL)
    assert "CRC" in verdict.problem
    assert problems(inspected(tmp_path, level=Level.FAST)) == {1: ""}


def test_a_flipped_bit_in_the_header_of_a_safetensors_file_is_seen(tmp_path: Path) -> None:
    flip_the_header(safetensors_file(tmp_path, 1))
    [verdict] = inspected(tmp_path, "step_{step}.safetensors", Level.FAST)
    assert "header" in verdict.problem


@pytest.mark.slow
def test_a_nan_is_no_reason_to_call_a_file_corrupt(tmp_path: Path) -> None:
    torch.save({"mask": torch.tensor([1.0, float("nan"), float("-inf")])}, tmp_path / "step_1.pt")
    assert problems(inspected(tmp_path, level=Level.DEEP)) == {1: ""}


def test_of_a_folder_the_file_that_is_corrupt_is_named(tmp_path: Path) -> None:
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}/global").mkdir(parents=True)
        (tmp_path / f"checkpoint-{step}/model.pt").write_bytes(checkpoint(step))
        (tmp_path / f"checkpoint-{step}/global/optimizer.pt").write_bytes(checkpoint(step, seed=5))
    empty(tmp_path / "checkpoint-2/global/optimizer.pt")
    good, bad = inspected(tmp_path, "checkpoint-{step}/")
    assert good.problem == ""
    assert bad.problem.startswith("global/optimizer.pt: ")


def test_what_is_gone_since_it_was_found_is_in_progress_and_not_corrupt(tmp_path: Path) -> None:
    torch_file(tmp_path, 1)
    path = torch_file(tmp_path, 2)
    copies = found(tmp_path, "step_{step}.pt")
    path.unlink()
    good, gone = inspect_hot(tmp_path, copies, Level.FULL, lambda: None)
    assert (good.problem, good.in_progress) == ("", False)
    assert gone.in_progress
    assert "gone" in gone.problem


def test_what_may_not_be_opened_has_a_verdict_and_keeps_no_other_from_having_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = torch_file(tmp_path, 1)
    torch_file(tmp_path, 2)
    real = os.open

    def refuse(path: Path, flags: int, *more: int) -> int:
        if path == shut:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *more)

    # Root is refused nothing, so this can't be provoked.
    monkeypatch.setattr(os, "open", refuse)
    assert problems(inspected(tmp_path)) == {1: "it could not be opened: Permission denied", 2: ""}


def test_what_is_written_while_it_is_read_is_in_progress_and_not_corrupt(tmp_path: Path) -> None:
    path = torch_file(tmp_path, 1)
    [verdict] = inspect_hot(tmp_path, found(tmp_path, "step_{step}.pt"), Level.FULL, lambda: cut_in_half(path))
    assert verdict.in_progress
    assert "changed while it was read" in verdict.problem


def test_verdicts_come_in_the_order_of_the_copies_each_as_it_is_reached(tmp_path: Path) -> None:
    steps = list(range(3 * FILES_AT_ONCE))
    for step in steps:
        torch_file(tmp_path, step)
    copies = found(tmp_path, "step_{step}.pt")
    copies.reverse()
    assert [verdict.copy for verdict in inspect_hot(tmp_path, copies, Level.FULL, lambda: None)] == copies


def test_a_stop_ends_it_and_the_files_that_were_not_reached_are_not_read(tmp_path: Path) -> None:
    for step in range(20 * FILES_AT_ONCE):
        torch_file(tmp_path, step)
    asked = []

    def stop() -> None:
        asked.append(True)
        time.sleep(0.05)  # so that not all of them are through before the first error is heard
        raise CancelledError("stopped by the test")

    with pytest.raises(CancelledError):
        list(inspect_hot(tmp_path, found(tmp_path, "step_{step}.pt"), Level.FULL, stop))
    assert len(asked) < 20 * FILES_AT_ONCE


def test_an_empty_folder_has_nothing_to_say(tmp_path: Path) -> None:
    assert inspected(tmp_path) == []
