"""The cache of figures: what comes back, what is forgotten, and what a broken file does."""

from pathlib import Path

import pytest

from ckpt_tier.tensors import figures_cache
from ckpt_tier.tensors.chosen import Chosen
from ckpt_tier.tensors.figures_cache import FILE_NAME, FiguresCache
from ckpt_tier.tensors.statistics import of_number

A, B = "a" * 64, "b" * 64


def chosen(value: float) -> tuple[Chosen, ...]:
    return (Chosen(name="lr", dtype="float", figures=of_number(value, verified=True)),)


def test_what_was_stored_comes_back_for_the_same_content_and_globs_alone(tmp_path: Path) -> None:
    cache = FiguresCache(tmp_path / "state")
    assert cache.load([A], ["*"]) == {}
    cache.store([(A, chosen(1.0)), (B, ())], ["*", "x"])
    assert cache.load([A, B], ["x", "*"]) == {A: chosen(1.0), B: ()}
    assert cache.load([A], ["*"]) == {}


def test_a_broken_file_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    cache = FiguresCache(tmp_path)
    assert cache.load([A], ["*"]) == {}
    cache.store([(A, chosen(1.0))], ["*"])
    assert cache.load([A], ["*"]) == {A: chosen(1.0)}


def test_what_was_put_in_first_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_cache, "MOST_BYTES", 1000)
    cache = FiguresCache(tmp_path)
    contents = [f"{number:064x}" for number in range(20)]
    for number, content in enumerate(contents):
        cache.store([(content, chosen(float(number)))], ["*"])
    left = list(cache.load(contents, ["*"]))
    assert 0 < len(left) < 20
    assert left == contents[-len(left) :]


def test_a_folder_that_can_not_be_written_costs_only_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    FiguresCache(tmp_path / "file").store([(A, chosen(1.0))], ["*"])
