"""What a folder of real files shows of its training."""

import os
from pathlib import Path

import pytest

from ckpt_tier.flow.measure import Measured, measure
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.scan import scan

EPOCH = 1_577_836_800


def save(root: Path, path: str, size: int, at: float) -> None:
    file = root / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x" * size)
    os.utime(file, (EPOCH + at, EPOCH + at))


def seen(root: Path, pattern: str = "model_gpu{series}/model_step_{step}.pt") -> Measured | None:
    return measure(scan(root, Layout.parse(pattern)).copies)


def test_size_frequency_pace_and_series_are_those_of_the_files(tmp_path: Path) -> None:
    for series in "012":
        for step in (5000, 10_000, 15_000):
            save(tmp_path, f"model_gpu{series}/model_step_{step}.pt", 120, step * 0.3)
    assert seen(tmp_path) == Measured(
        checkpoints=9, size=120, series=3, newest_step=15_000, every=5000, step_seconds=pytest.approx(0.3), held=1080
    )


def test_a_truncated_file_and_a_pause_of_the_training_change_nothing(tmp_path: Path) -> None:
    for step in (0, 5000, 10_000, 15_000, 20_000):
        pause = 90_000 if step == 20_000 else 0
        save(tmp_path, f"model_gpu0/model_step_{step}.pt", 7 if step == 20_000 else 120, step * 0.3 + pause)
    found = seen(tmp_path)
    assert found is not None
    assert (found.size, found.every, found.step_seconds) == (120, 5000, pytest.approx(0.3))


def test_shares_of_several_ranks_are_one_checkpoint(tmp_path: Path) -> None:
    for step in (100, 200):
        for rank in range(4):
            save(tmp_path, f"s{step}/rank{rank}.pt", 30, step)
    found = seen(tmp_path, "s{step}/rank{rank}.pt")
    assert found is not None
    assert (found.checkpoints, found.size, found.series) == (2, 120, 1)


def test_files_that_were_copied_here_do_not_tell_the_time_between_saves(tmp_path: Path) -> None:
    for step in (5000, 10_000):
        save(tmp_path, f"model_gpu0/model_step_{step}.pt", 120, step / 1000)
    found = seen(tmp_path)
    assert found is not None
    assert (found.every, found.step_seconds) == (5000, None)


def test_one_checkpoint_has_a_size_and_no_frequency(tmp_path: Path) -> None:
    save(tmp_path, "model_gpu0/model_step_5000.pt", 120, 0)
    found = seen(tmp_path)
    assert found is not None
    assert (found.size, found.every, found.step_seconds) == (120, None, None)


def test_an_empty_folder_shows_nothing(tmp_path: Path) -> None:
    assert seen(tmp_path) is None
