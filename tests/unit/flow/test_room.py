"""`Tier.make_room`: a training asks, the worker evicts what is committed, and nothing else goes."""

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from ckpt_tier.flow.sync import Syncing
from ckpt_tier.hot.room import LONGEST, request, requested
from ckpt_tier.hot.space import Space
from tests.builders import SteppedClock, TwoTiers

NOW = 1_000_000.0


class WorkingClock(SteppedClock):
    """While a training sleeps, the worker works."""

    worker: Syncing | None = None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        worker, self.worker = self.worker, None
        if worker is not None and seconds:
            worker.advance()
        self.worker = worker


class Disk:
    """A small disk that holds nothing but the hot folder: only its size is made up."""

    def __init__(self, hot: Path, total: int) -> None:
        self.hot, self.total = hot, total

    def space(self, _: Path) -> Space:
        used = sum(path.stat().st_size for path in self.hot.rglob("*.pt"))
        return Space(total=self.total, free=self.total - used)


@pytest.fixture
def tiers(tmp_path: Path) -> Iterator[TwoTiers]:
    """Four committed checkpoints that retention keeps, on a disk with room for one byte more."""
    made = TwoTiers(tmp_path, WorkingClock(), keep_last=9)
    for step in range(4):
        made.write(step)
    made.sync()
    disk = Disk(made.hot, sum(path.stat().st_size for path in made.hot.rglob("*.pt")) + 1)
    with (
        mock.patch("ckpt_tier.hot.space.space", disk.space),
        mock.patch("ckpt_tier.flow.observe.space", disk.space),
    ):
        yield made


def make_room(tiers: TwoTiers, count: int, timeout: float = 20.0) -> bool:
    """Asked by a training while a worker is running."""
    with tiers.syncing() as worker:
        worker.list_cold()
        assert isinstance(tiers.clock, WorkingClock)
        tiers.clock.worker = worker
        try:
            return tiers.tier().make_room(count, timeout)
        finally:
            tiers.clock.worker = None


def test_the_oldest_committed_ones_go_until_there_is_room(tiers: TwoTiers) -> None:
    one = tiers.path(0).stat().st_size
    assert make_room(tiers, one + 100)
    assert tiers.hot_steps() == [2, 3]
    assert tiers.cold_steps() == [0, 1, 2, 3]


def test_where_there_is_room_nothing_goes_and_nobody_is_asked(tiers: TwoTiers) -> None:
    assert tiers.tier().make_room(1)
    assert tiers.hot_steps() == [0, 1, 2, 3]


def test_the_newest_stays_and_the_answer_is_no(tiers: TwoTiers) -> None:
    total = sum(path.stat().st_size for path in tiers.hot.rglob("*.pt"))
    assert not make_room(tiers, total, timeout=5)
    assert tiers.hot_steps() == [3]
    tiers.sync()
    assert tiers.hot_steps() == [3]


def test_more_than_the_whole_disk_is_refused_before_anything_goes(tiers: TwoTiers) -> None:
    assert not make_room(tiers, 10**9)
    assert tiers.hot_steps() == [0, 1, 2, 3]


def test_without_a_worker_the_answer_comes_at_once(tiers: TwoTiers) -> None:
    before = tiers.clock.now()
    assert not tiers.tier().make_room(2000, timeout=60)
    assert tiers.clock.now() == before
    assert list((tiers.hot / ".ckpt-tier/room").iterdir()) == []


def test_whatever_fails_is_said_and_never_raised(tiers: TwoTiers) -> None:
    (tiers.hot / ".ckpt-tier/room").write_text("in the way")
    assert not tiers.tier().make_room(2000)
    assert "no room was made" in (tiers.hot / ".ckpt-tier/hook-errors.log").read_text()


def test_requests_add_up_and_what_a_killed_process_left_runs_out(tmp_path: Path) -> None:
    with request(tmp_path, 100, NOW, 5), request(tmp_path, 20, NOW, 9):
        assert requested(tmp_path, NOW) == 120
        assert requested(tmp_path, NOW + 6) == 20
        assert requested(tmp_path, NOW - 2 * LONGEST) == 0
    assert requested(tmp_path, NOW) == 0


def test_looking_changes_nothing_and_asking_clears_away_what_has_run_out(tmp_path: Path) -> None:
    folder = tmp_path / ".ckpt-tier" / "room"
    with request(tmp_path, 100, NOW, 5):
        [left] = folder.iterdir()
    left.touch()  # as a kill leaves it
    (folder / "notes.txt").touch()

    assert requested(tmp_path, NOW + 6) == 0
    assert left.exists()
    with request(tmp_path, 20, NOW + 6, 5):
        assert not left.exists()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
