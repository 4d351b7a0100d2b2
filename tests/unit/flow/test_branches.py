"""Training goes back and on from there: the old branch is left behind, and nothing of it is lost."""

from pathlib import Path

import pytest

from ckpt_tier.core.branches import Branch, branch_of
from ckpt_tier.core.events import PassedOver
from ckpt_tier.errors import NotFoundError
from ckpt_tier.pruning import Pruning
from tests.builders import TwoTiers, checkpoint


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    """Steps 1 to 6 on the old branch; training goes back to 3 and saves 4 and 5 again."""
    made = TwoTiers(tmp_path, keep_last=2)
    for step in range(1, 7):
        made.write(step, seed=1)
        made.sync()
    return made


def rolled_back(tiers: TwoTiers) -> None:
    tiers.clock.time += 60
    Pruning(tiers.wiring()).abandon(3, None)
    tiers.clock.time += 60
    for step in (4, 5):
        tiers.write(step, seed=2)
        tiers.sync()


def latest(tiers: TwoTiers, to: str = "latest") -> tuple[int, bytes]:
    [back] = tiers.restored(step=None, to=tiers.root / to)
    return back.step, back.files[0].read_bytes()


def test_latest_follows_the_new_branch_and_says_what_was_passed_over(tiers: TwoTiers) -> None:
    tiers.clock.time += 60
    [left] = Pruning(tiers.wiring()).abandon(3, None)
    assert (left.series, left.after_step, left.checkpoints) == ("0", 3, 3)
    assert latest(tiers) == (3, checkpoint(3, 1))
    passed = tiers.happened(PassedOver)
    assert [(e.step, e.reason) for e in passed if isinstance(e, PassedOver)] == [
        (step, "abandoned: training went back to step 3") for step in (6, 5, 4)
    ]


def test_after_the_rollback_the_newest_is_the_one_saved_last_on_the_new_branch(tiers: TwoTiers) -> None:
    rolled_back(tiers)
    assert latest(tiers) == (5, checkpoint(5, 2))
    [series] = tiers.operations().status().series
    assert series.newest_committed is not None
    assert series.newest_committed.step == 5


def test_every_generation_of_both_branches_can_still_be_restored(tiers: TwoTiers) -> None:
    rolled_back(tiers)
    listed = [row for row in tiers.operations().checkpoints() if row.committed_at]
    assert [(row.step, row.abandoned) for row in sorted(listed, key=lambda row: (row.step, row.saved_at or ""))] == [
        (1, False),
        (2, False),
        (3, False),
        (4, True),
        (4, False),
        (5, True),
        (5, False),
        (6, True),
    ]
    for row in listed:
        to = tiers.root / f"{row.step}-{row.generation}"
        [back] = tiers.restored(step=row.step, generation=row.generation, to=to)
        assert back.files[0].read_bytes() == checkpoint(row.step, 1 if row.abandoned or row.step < 4 else 2)


def test_hot_retention_keeps_the_newest_of_the_new_branch_and_lets_the_old_ones_go(tiers: TwoTiers) -> None:
    assert tiers.hot_steps() == [5, 6]
    rolled_back(tiers)
    assert tiers.hot_steps() == [4, 5]
    assert tiers.path(5).read_bytes() == checkpoint(5, 2)


def test_cold_retention_does_not_count_the_old_branch(tiers: TwoTiers) -> None:
    rolled_back(tiers)
    tiers.set(cold={"keep_last": 2})
    rulings = Pruning(tiers.wiring()).cold_plan(dry_run=True).rulings
    kept = [(ruling.step, ruling.generation) for ruling in rulings if ruling.kept]
    alive = {row.generation for row in tiers.operations().checkpoints() if row.committed_at and not row.abandoned}
    assert [step for step, _ in kept] == [4, 5]
    assert {generation for _, generation in kept} <= alive


def test_what_was_not_committed_yet_is_on_the_old_branch_too(tiers: TwoTiers) -> None:
    tiers.write(7, seed=1)
    tiers.clock.time += 60
    Pruning(tiers.wiring()).abandon(3, None)
    tiers.sync()
    assert latest(tiers)[0] == 3


def test_it_can_be_taken_back(tiers: TwoTiers) -> None:
    tiers.clock.time += 60
    Pruning(tiers.wiring()).abandon(3, "0")
    [left] = Pruning(tiers.wiring()).take_back(3, None)
    assert left.checkpoints == 3
    assert latest(tiers)[0] == 6
    with pytest.raises(NotFoundError, match="nothing was abandoned after step 3"):
        Pruning(tiers.wiring()).take_back(3, None)


def test_a_step_that_is_not_there_can_not_be_gone_back_to(tiers: TwoTiers) -> None:
    with pytest.raises(NotFoundError, match="nearest steps"):
        Pruning(tiers.wiring()).abandon(3_000, None)


def test_where_everything_is_abandoned_the_newest_of_all_is_better_than_nothing(tiers: TwoTiers) -> None:
    from ckpt_tier.cold.branches import write_branch

    write_branch(tiers.wiring().cold.manifests, Branch("0", 0, tiers.clock.time + 60))
    assert latest(tiers)[0] == 6


def test_a_branch_holds_later_steps_saved_before_it_was_left_and_no_others() -> None:
    branch = Branch("a", after=5, before=100.0)
    assert branch_of([branch], "a", 6, 99.0) == branch
    assert branch_of([branch], "a", 5, 99.0) is None
    assert branch_of([branch], "a", 6, 100.0) is None
    assert branch_of([branch], "b", 6, 99.0) is None
