"""Pruning checkpoints of several ranks without a cold tier: what is whole, what is counted, and what goes as one."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from ckpt_tier.core.events import NotEvicted
from ckpt_tier.flow import prune_alone
from ckpt_tier.flow.whole import Whole
from ckpt_tier.hot.holds import hold
from ckpt_tier.pruning import Pruning
from tests.examples import examples
from tests.kills import killed_at
from tests.shares import EVERY, LATER, LAYOUTS, RANKS, Ranks, four_sets


@pytest.fixture(params=LAYOUTS)
def ranks(request: pytest.FixtureRequest, tmp_path: Path) -> Ranks:
    """Four whole sets, of which two are kept: in each of the layouts."""
    return four_sets(tmp_path, request.param)


@pytest.fixture
def files(tmp_path: Path) -> Ranks:
    """The same as files of one folder."""
    return four_sets(tmp_path)


def test_the_newest_whole_sets_stay_and_the_others_go_with_all_of_their_shares(ranks: Ranks) -> None:
    assert ranks.going() == {("0", 0), ("0", 1)}
    assert len(ranks.delete()) == 2 * RANKS
    assert ranks.there() == {2: EVERY, 3: EVERY}
    assert ranks.hidden() == []
    assert ranks.delete() == []


def test_every_series_keeps_its_own(files: Ranks) -> None:
    for step in range(3):
        files.save(step, "1")
    files.delete()
    assert files.there("0") == {2: EVERY, 3: EVERY}
    assert files.there("1") == {1: EVERY, 2: EVERY}


def test_after_a_rollback_the_newest_by_time_and_by_step_both_stay(ranks: Ranks) -> None:
    ranks.save(1)
    ranks.delete()
    assert ranks.there() == {1: EVERY, 2: EVERY, 3: EVERY}


def test_the_shares_of_one_checkpoint_have_one_verdict_and_the_generation_that_a_commit_would_give_it(
    files: Ranks,
) -> None:
    shares = files.rulings(0)
    assert [each.rank for each in shares] == EVERY
    assert len({(each.generation, each.kept, each.reasons) for each in shares}) == 1
    assert shares[0].generation


def test_a_set_that_lacks_a_rank_is_not_counted_and_stays(ranks: Ranks) -> None:
    lost = ranks.place(3, 1)
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    assert ranks.why(3) == "not counted: lacks rank 1 of 3: bring what is missing here, or correct [hot] ranks"
    ranks.delete()
    assert ranks.there() == {1: EVERY, 2: EVERY, 3: [0, 2]}


def test_an_old_set_in_part_stays_too(files: Ranks) -> None:
    files.place(0, 2).unlink()
    files.delete()
    assert files.there() == {0: [0, 1], 2: EVERY, 3: EVERY}


def test_a_set_with_a_corrupt_share_is_not_counted_and_stays(ranks: Ranks) -> None:
    ranks.spoil(3, 2)
    ranks.spoil(0, 0)
    assert ranks.why(3) == "not counted: rank 2 rejected: save the step again, or delete it yourself"
    ranks.delete()
    assert ranks.there() == {0: [1, 2], 1: EVERY, 2: EVERY, 3: [0, 1]}


def test_where_the_number_of_ranks_is_not_known_nothing_is_counted_and_the_reason_says_what_to_set(
    tmp_path: Path,
) -> None:
    ranks = Ranks(tmp_path, ranks=None)
    for step in range(4):
        ranks.save(step)
    assert ranks.why(0) == "not counted: how many ranks make a checkpoint is not known: set [hot] ranks"
    assert ranks.delete() == []
    ranks.tiers.set(hot={"ranks": RANKS})
    assert ranks.going() == {("0", 0), ("0", 1)}


def test_the_hooks_word_on_the_number_of_ranks_is_enough_once_its_links_are_gone(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path, ranks=None)
    ranks.tiers.set(cold={"url": str(ranks.tiers.cold)}, hot={"keep_last": 9})
    for step in range(4):
        ranks.save(step)
        for rank in range(RANKS):
            ranks.tiers.tier().saved(ranks.place(step, rank), step, series="0", rank=rank, world_size=RANKS)
    ranks.tiers.sync()
    ranks.tiers.set(cold={"url": ""}, hot={"keep_last": 2})
    assert ranks.going() == {("0", 0), ("0", 1)}


def test_a_number_of_ranks_that_was_corrected_holds_for_what_was_read_before(files: Ranks) -> None:
    files.tiers.set(hot={"ranks": 2})
    assert files.why(0) == "not counted: rank 2 there, and only 2 are said to be: correct [hot] ranks"
    files.tiers.set(hot={"ranks": RANKS})
    assert files.going() == {("0", 0), ("0", 1)}
    files.tiers.set(hot={"ranks": 4})
    assert files.going() == set()


def test_shares_that_were_saved_too_far_apart_are_no_set(files: Ranks) -> None:
    status = files.place(0, 1).stat()
    os.utime(files.place(0, 1), (status.st_mtime - 400, status.st_mtime - 400))
    assert files.why(0) == "not counted: its shares were saved 6 min 41 s apart: [hot] set_window is 2 min"
    files.tiers.set(hot={"set_window": 500.0})
    assert ("0", 0) in files.going()


def test_a_rank_that_lies_there_twice_leaves_its_set_uncounted_though_one_of_them_was_read_before(
    files: Ranks,
) -> None:
    files.plan()
    twin = files.tiers.hot / "gpu0/step_0_rank_01.pt"
    shutil.copy2(files.place(0, 1), twin)
    assert files.why(0) == "not counted: a rank has more than one file or folder of this step: keep the right one"
    files.delete()
    assert files.there() == {0: EVERY, 2: EVERY, 3: EVERY}


def test_a_set_that_a_rank_may_be_saving_again_just_now_waits(files: Ranks) -> None:
    plan = Pruning(files.tiers.wiring()).hot_plan()
    [told] = {each.reasons for each in plan.rulings if each.step == 3}
    assert told[0].startswith("not counted: waits ")
    assert {each.step for each in plan.removals} == {0}


def test_what_a_rank_is_still_writing_leaves_its_set_uncounted(files: Ranks) -> None:
    with files.place(3, 1).open("ab"):
        assert {each.reasons[0] for each in files.rulings(3) if each.rank != 1} == {"not counted: rank 1 not validated"}
        assert files.going() == {("0", 0)}


def handed_over(ranks: Ranks) -> contextlib.AbstractContextManager[object]:
    ranks.tiers.tier().saved(ranks.place(0, 1), 0, series="0", rank=1, world_size=RANKS)
    return contextlib.nullcontext()


def held(ranks: Ranks) -> contextlib.AbstractContextManager[object]:
    hold(ranks.tiers.hot, "0", 0, ranks.tiers.clock.now() + 2 * LATER)
    return contextlib.nullcontext()


def pointed_at(ranks: Ranks) -> contextlib.AbstractContextManager[object]:
    (ranks.tiers.hot / "best").symlink_to(ranks.place(0, 2))
    return contextlib.nullcontext()


def opened(ranks: Ranks) -> contextlib.AbstractContextManager[object]:
    place = ranks.place(0, 2)
    return (place / "a.pt" if place.is_dir() else place).open("rb")


@pytest.mark.parametrize("guard", [handed_over, held, pointed_at, opened])
def test_a_set_of_which_one_share_must_stay_loses_none(
    ranks: Ranks, guard: Callable[[Ranks], contextlib.AbstractContextManager[object]]
) -> None:
    with guard(ranks):
        ranks.delete()
    assert ranks.there() == {0: EVERY, 2: EVERY, 3: EVERY}
    assert ranks.hidden() == []


def test_what_stays_is_flushed_and_looked_at_before_any_share_goes(ranks: Ranks) -> None:
    with mock.patch.object(prune_alone, "fsync_file", side_effect=OSError(5, "Input/output error")):
        assert ranks.delete() == []
    assert len(ranks.there()) == 4


def test_nothing_more_goes_once_a_share_that_should_stay_is_taken_away_meanwhile(files: Ranks) -> None:
    real = prune_alone.Staying.why_not

    def taken_away(staying: prune_alone.Staying, going: Whole) -> str:
        if going.step == 1:
            files.place(3, 1).unlink()
        return real(staying, going)

    with mock.patch.object(prune_alone.Staying, "why_not", taken_away):
        files.delete()
    assert files.there() == {1: EVERY, 2: EVERY, 3: [0, 2]}
    assert files.said("step_3_rank_1.pt, which should stay, is gone")


def test_a_corrupt_share_goes_with_rejected_once_a_whole_set_was_saved_later(ranks: Ranks) -> None:
    old, newest = ranks.spoil(1, 1), ranks.spoil(3, 1)
    ranks.plan()
    assert ranks.going(rejected=True) == {("0", 1)}
    ranks.delete(rejected=True)
    assert not old.exists()
    assert newest.exists()
    assert ranks.there() == {0: EVERY, 1: [0, 2], 2: EVERY, 3: [0, 2]}


def test_a_corrupt_share_stays_where_what_was_saved_later_is_no_whole_set(files: Ranks) -> None:
    files.spoil(1, 1)
    for step in (2, 3):
        files.place(step, 0).unlink()
    files.plan()
    assert files.going(rejected=True) == set()


def test_a_corrupt_share_that_was_set_aside_does_not_stand_in_the_way_of_a_good_one_in_its_place(files: Ranks) -> None:
    files.spoil(0, 1)
    files.tiers.set(
        cold={"url": str(files.tiers.cold)},
        hot={"keep_last": 9},
        validate={"on_rejected": "aside"},
        upload={"attempts": 1},
    )
    files.tiers.sync()
    assert (files.tiers.hot / ".ckpt-tier/rejected/gpu0/step_0_rank_1.pt").exists()
    files.tiers.set(cold={"url": ""}, hot={"keep_last": 2})
    assert files.why(0) == "not counted: lacks rank 1 of 3: bring what is missing here, or correct [hot] ranks"
    files.share(0, 1, saved_at=files.place(0, 0).stat().st_mtime + 1)
    files.delete()
    assert files.there() == {2: EVERY, 3: EVERY}


def test_what_calls_a_set_off_is_said_once_and_not_for_each_rank(files: Ranks) -> None:
    with files.place(0, 1).open("rb"):
        files.delete()
    assert len(files.tiers.happened(NotEvicted)) == 1


shares = st.sampled_from(["good", "good", "good", "good", "missing", "corrupt", "late"])
histories = st.lists(
    st.tuples(st.integers(0, 7), st.lists(shares, min_size=RANKS, max_size=RANKS)), min_size=1, max_size=6
)


@examples(40, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories, keep_last=st.integers(1, 3), kill=st.integers(0, 80))
def test_whatever_is_deleted_the_newest_whole_sets_by_time_and_by_step_are_there_and_valid(
    history: list[tuple[int, list[str]]], keep_last: int, kill: int
) -> None:
    with tempfile.TemporaryDirectory() as root:
        ranks = Ranks(Path(root), keep_last=keep_last)
        saved: dict[int, tuple[float, list[str]]] = {}
        for step, how in history:
            ranks.tiers.clock.time += 1000.0
            for rank, each in enumerate(how):
                ranks.place(step, rank).unlink(missing_ok=True)
                if each != "missing":
                    late = 500.0 if each == "late" else 0.0
                    ranks.share(step, rank, saved_at=ranks.tiers.clock.time + late)
                if each == "corrupt":
                    ranks.spoil(step, rank)
            saved[step] = (ranks.tiers.clock.time + (500.0 if "late" in how else 0.0), how)
        good = {step: at for step, (at, how) in saved.items() if set(how) in ({"good"}, {"late"})}
        newest = set(sorted(good, key=lambda step: good[step])[-keep_last:]) | set(sorted(good)[-keep_last:])
        before = ranks.there()
        ranks.plan()
        with killed_at(kill):
            ranks.delete()
        ranks.recover()
        found = ranks.there()
        assert found.keys() >= newest
        for step, had in before.items():
            assert found.get(step, []) == had or (step in good and step not in newest and step not in found)
        ranks.delete()
        assert {step for step in good if step in ranks.there()} == newest
        assert {step: each for step, each in ranks.there().items() if step not in good} == {
            step: each for step, each in before.items() if step not in good
        }
