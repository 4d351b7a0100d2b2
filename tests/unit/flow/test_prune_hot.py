"""Pruning the hot tier: what goes with which proof, and what every kill leaves."""

from pathlib import Path

import pytest

from ckpt_tier.errors import ConflictError
from ckpt_tier.pruning import HotPlan, Pruning
from tests.builders import TwoTiers
from tests.kills import dying_at, killed_at, one_thread
from tests.unit.flow.test_prune import filled, prepared, prune


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    """Six steps on both tiers, of which the cold one has pruned 1 and 2, and the hot one will keep two."""
    return pruned(prepared(tmp_path))


def pruned(made: TwoTiers) -> TwoTiers:
    made.set(hot={"keep_last": 6})
    filled(made)
    prune(made)
    made.set(hot={"keep_last": 2})
    return made


def delete(tiers: TwoTiers, plan: HotPlan | None = None, *, rejected: bool = False) -> list[str]:
    """The paths that went."""
    pruning = Pruning(tiers.wiring())
    plan = plan or pruning.hot_plan(rejected=rejected)
    return [path for path, went in pruning.delete(plan, tiers.events.append, rejected=rejected) if went]


def test_what_sync_would_evict_goes_now_and_the_only_copy_of_what_was_pruned_stays(tiers: TwoTiers) -> None:
    plan = Pruning(tiers.wiring()).hot_plan()
    assert [(r.step, r.kept) for r in plan.rulings] == [
        (0, False),
        (1, True),
        (2, True),
        (3, False),
        (4, True),
        (5, True),
    ]
    assert "the only copy" in plan.rulings[1].reasons[0]
    assert len(delete(tiers, plan)) == 2
    assert tiers.hot_steps() == [1, 2, 4, 5]
    tiers.sync()
    assert tiers.cold_steps() == [0, 3, 4, 5]


def test_what_the_hot_policy_keeps_is_not_deleted_though_it_was_pruned(tiers: TwoTiers) -> None:
    tiers.set(hot={"keep_last": 5})
    assert len(delete(tiers)) == 1
    assert tiers.hot_steps() == [1, 2, 3, 4, 5]


def test_what_is_not_committed_waits_and_says_for_what(tiers: TwoTiers) -> None:
    tiers.write(6)
    tiers.write(7)
    tiers.write(8)
    plan = Pruning(tiers.wiring()).hot_plan()
    [waiting] = [r for r in plan.rulings if r.step == 6]
    assert (waiting.kept, waiting.reasons[-1]) == (True, "waits for validation and commit")


def test_nothing_is_deleted_while_the_worker_is_at_it(tiers: TwoTiers) -> None:
    with tiers.syncing(), pytest.raises(ConflictError):
        delete(tiers)
    assert tiers.hot_steps() == [0, 1, 2, 3, 4, 5]


def cut(tiers: TwoTiers, step: int) -> Path:
    """A truncated file, which no validation passes."""
    path = tiers.write(step)
    path.write_bytes(path.read_bytes()[:500])
    tiers.touch(path)
    return path


@pytest.mark.parametrize("aside", [False, True])
def test_a_rejected_file_goes_once_a_later_good_one_is_committed(tiers: TwoTiers, aside: bool) -> None:
    tiers.set(validate={"on_rejected": "aside" if aside else "keep"})
    cut(tiers, 6)
    tiers.sync()
    plan = Pruning(tiers.wiring()).hot_plan(rejected=True)
    [ruling] = plan.rulings
    assert (ruling.step, ruling.kept) == (6, True)
    assert ruling.reasons[1] == "no later good checkpoint of its series is committed"
    assert delete(tiers, rejected=True) == []
    tiers.write(7)
    tiers.sync()
    [ruling] = Pruning(tiers.wiring()).hot_plan(rejected=True).rulings
    assert (ruling.kept, ruling.reasons[1].startswith("step 7, saved")) == (False, True)
    [path] = delete(tiers, rejected=True)
    assert not (tiers.hot / path).exists()
    assert {"6": "rejected"}.items() & {str(k): v for k, v in tiers.states().items()}.items() == set()
    assert tiers.sync().attention() is None


def test_a_rejected_file_that_was_written_again_meanwhile_stays(tiers: TwoTiers) -> None:
    path = cut(tiers, 6)
    tiers.sync()
    tiers.write(7)
    tiers.sync()
    plan = Pruning(tiers.wiring()).hot_plan(rejected=True)
    tiers.write(6)
    assert delete(tiers, plan, rejected=True) == []
    assert path.exists()


@dying_at(range(0, 36, 3))
def test_a_hot_prune_killed_anywhere_leaves_whole_files_and_the_next_start_ends_it(tiers: TwoTiers, count: int) -> None:
    path = cut(tiers, 6)
    tiers.tier().saved(path, 6, series="0")
    tiers.write(7)
    tiers.sync()
    whole = {path.name: path.read_bytes() for path in path.parent.glob("*.pt")}
    with one_thread(), killed_at(count):
        delete(tiers)
        delete(tiers, rejected=True)
    for left in path.parent.glob("*.pt"):
        assert left.read_bytes() == whole[left.name]
    assert {7} <= set(tiers.hot_steps())
    for _ in range(2):  # the first gives what was on its way out its name back, which its plan could not see
        delete(tiers)
        delete(tiers, rejected=True)
    done = tiers.sync()
    assert done.attention() is None
    assert tiers.unsent() == []
    assert not list(tiers.hot.rglob("*.evicting"))
    assert {1, 2} <= set(tiers.hot_steps())
    assert 6 not in tiers.hot_steps()
