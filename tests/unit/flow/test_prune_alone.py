"""Pruning the hot tier without a cold one: what counts, what goes, and what every kill leaves."""

import os
from pathlib import Path
from unittest import mock

import pytest

from ckpt_tier.errors import ConflictError, NoColdTierError
from ckpt_tier.flow import evict, prune_alone
from ckpt_tier.flow.whole import Whole
from ckpt_tier.hot.holds import hold
from ckpt_tier.pruning import HotPlan, Pruning
from ckpt_tier.system.locks import FileLock
from tests.builders import TwoTiers, flip_a_bit
from tests.kills import dying_at, killed_at


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    """Two series of five checkpoints; no cold tier; each series keeps two."""
    made = TwoTiers(tmp_path)
    made.set(cold={"url": ""})
    for series in "01":
        for step in range(5):
            made.write(step, series=series)
    return made


def plan(tiers: TwoTiers, series: str | None = None, *, rejected: bool = False) -> HotPlan:
    return Pruning(tiers.wiring()).hot_plan(series, rejected=rejected)


def going(tiers: TwoTiers, *, rejected: bool = False) -> list[tuple[str, int]]:
    return [(each.series, each.step) for each in plan(tiers, rejected=rejected).removals]


def delete(tiers: TwoTiers, what: HotPlan | None = None, *, rejected: bool = False) -> list[str]:
    """The paths that went."""
    what = what or plan(tiers, rejected=rejected)
    return [path for path, went in Pruning(tiers.wiring()).delete(what, tiers.events.append, rejected=rejected) if went]


def spoil(tiers: TwoTiers, step: int, series: str = "0") -> Path:
    """Damages a tensor: the structure is whole, a checksum is not."""
    path = tiers.path(step, series)
    flip_a_bit(path)
    tiers.touch(path)
    return path


def test_each_series_keeps_its_own_newest(tiers: TwoTiers) -> None:
    assert going(tiers) == [(series, step) for series in "01" for step in range(3)]
    assert len(delete(tiers)) == 6
    assert tiers.hot_steps("0") == tiers.hot_steps("1") == [3, 4]
    assert delete(tiers) == []


def test_only_the_series_that_was_named_is_looked_at(tiers: TwoTiers) -> None:
    assert [(r.series, r.step) for r in plan(tiers, "1").removals] == [("1", 0), ("1", 1), ("1", 2)]


def test_a_corrupt_one_is_never_counted_and_never_deleted(tiers: TwoTiers) -> None:
    newest, old = spoil(tiers, 4), spoil(tiers, 0)
    rulings = {r.step: r for r in plan(tiers, "0").rulings}
    assert [step for step, r in rulings.items() if not r.kept] == [1]
    assert rulings[4].reasons[0].startswith("not counted: rejected:")
    delete(tiers)
    assert tiers.hot_steps("0") == [0, 2, 3, 4]
    assert newest.exists()
    assert old.exists()


def test_with_rejected_a_corrupt_one_goes_once_a_newer_whole_one_stays(tiers: TwoTiers) -> None:
    spoil(tiers, 4)
    spoil(tiers, 0)
    os.utime(tiers.path(0), ns=(1, 1))
    plan(tiers)
    [old, newest] = plan(tiers, rejected=True).rulings
    assert (old.kept, newest.kept) == (False, True)
    assert newest.reasons[1] == "no later good checkpoint of its series is validated"
    delete(tiers, rejected=True)
    assert tiers.hot_steps("0") == [1, 2, 3, 4]


def test_after_a_rollback_the_newest_by_time_and_by_step_both_stay(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.touch(tiers.path(1))
    last = max(tiers.path(step).stat().st_mtime_ns for step in range(5)) + 10**9
    os.utime(tiers.path(1), ns=(last, last))
    assert [step for series, step in going(tiers) if series == "0"] == [0, 2]


def test_what_the_hook_handed_over_stays(tiers: TwoTiers) -> None:
    tiers.tier().saved(tiers.path(0), 0, series="0")
    tiers.write(5)
    tiers.write(6)
    ruling = plan(tiers, "0").rulings[0]
    assert (ruling.kept, ruling.reasons[-1]) == (True, prune_alone.HANDED_OVER)


def test_what_is_held_open_or_pointed_at_stays(tiers: TwoTiers) -> None:
    hold(tiers.hot, "0", 0, tiers.clock.now() + 60)
    (tiers.hot / "best.pt").symlink_to(tiers.path(1))
    with tiers.path(2).open("rb"):
        delete(tiers)
        assert tiers.hot_steps("0") == [0, 1, 2, 3, 4]


def test_what_changed_just_now_is_neither_counted_nor_deleted(tiers: TwoTiers) -> None:
    tiers.set(hot={"settle": 60.0})
    tiers.clock.time = tiers.path(4).stat().st_mtime
    assert going(tiers) == []


def test_what_was_read_once_is_not_read_again(tiers: TwoTiers) -> None:
    plan(tiers)
    with mock.patch("ckpt_tier.flow.ingest.validate", side_effect=AssertionError):
        assert len(delete(tiers)) == 6


def test_nothing_more_goes_once_one_that_should_stay_is_taken_away_meanwhile(tiers: TwoTiers) -> None:
    asked = []
    real = prune_alone.Staying.why_not

    def taken_after_the_first(staying: prune_alone.Staying, going: Whole) -> str:
        asked.append(going)
        if len(asked) == 2:
            tiers.path(4).unlink()
        return real(staying, going)

    with mock.patch.object(prune_alone.Staying, "why_not", taken_after_the_first):
        delete(tiers)
    assert tiers.hot_steps("0") == [1, 2, 3]
    assert tiers.hot_steps("1") == [3, 4]
    assert any("model_step_4.pt, which should stay, is gone" in str(event) for event in tiers.events)


def test_what_stays_is_on_the_disk_before_anything_goes(tiers: TwoTiers) -> None:
    done: list[str] = []
    with (
        mock.patch.object(prune_alone, "fsync_file", lambda path: done.append(path.name)),
        mock.patch.object(evict, "rename_no_replace", side_effect=OSError(5, "stopped here")),
    ):
        delete(tiers)
    assert {"model_step_3.pt", "model_step_4.pt"} <= set(done)


def test_a_disk_that_does_not_flush_deletes_nothing(tiers: TwoTiers) -> None:
    with mock.patch.object(prune_alone, "fsync_file", side_effect=OSError(5, "Input/output error")):
        assert delete(tiers) == []
    assert tiers.hot_steps("0") == [0, 1, 2, 3, 4]


def test_every_checksum_is_read_though_uploads_are_checked_fast(tiers: TwoTiers) -> None:
    tiers.set(validate={"level": "fast"})
    spoil(tiers, 4)
    assert {r.step for r in plan(tiers, "0").rulings if r.reasons[0].startswith("not counted")} == {4}


def test_a_cold_tier_that_is_added_later_misses_nothing_of_what_was_pruned_or_deleted(tiers: TwoTiers) -> None:
    plan(tiers)
    tiers.path(3).unlink()
    delete(tiers)
    tiers.set(cold={"url": str(tiers.cold)})
    assert tiers.sync().attention() is None
    assert tiers.cold_steps() == [2, 4]


def test_two_prunes_at_once_are_one_too_many(tiers: TwoTiers) -> None:
    with FileLock(tiers.hot / ".ckpt-tier/worker.lock", "test").acquire(""), pytest.raises(ConflictError):
        plan(tiers)


def test_what_needs_a_cold_tier_says_that_there_is_none(tiers: TwoTiers) -> None:
    for asked in (tiers.sync, tiers.operations().plan, tiers.operations().entries, Pruning(tiers.wiring()).cold_plan):
        with pytest.raises(NoColdTierError):
            asked()  # type: ignore[operator]
    assert tiers.operations().status().cold.url == ""
    assert len(tiers.operations().checkpoints()) == 10


@dying_at(range(0, 34, 2))
def test_a_prune_killed_anywhere_leaves_the_newest_whole_ones_and_the_next_one_ends_it(
    tiers: TwoTiers, count: int
) -> None:
    corrupt = spoil(tiers, 1, "1")
    files = {path: path.read_bytes() for path in tiers.hot.rglob("*.pt")}
    plan(tiers)
    with killed_at(count):
        delete(tiers)
    names = {path: path for path in tiers.hot.rglob("*.pt")}
    assert all(names[path].read_bytes() == files[path] for path in names)
    for series in "01":
        assert {3, 4} <= set(tiers.hot_steps(series))
    for _ in range(2):  # the first gives what was on its way out its name back, and reads what the journal forgot
        delete(tiers)
    assert tiers.hot_steps("0") == [3, 4]
    assert tiers.hot_steps("1") == [1, 3, 4]
    assert corrupt.exists()
    assert not list(tiers.hot.rglob("*.evicting"))


def test_an_interrupted_deletion_whose_name_is_taken_again_is_left_to_a_person(tiers: TwoTiers) -> None:
    hidden = tiers.path(0).with_name(".model_step_0.pt.0123456789abcdef.evicting")
    hidden.write_bytes(b"the older one")
    delete(tiers)
    assert hidden.exists()
    assert any("there is no cold tier" in str(event) for event in tiers.events)
