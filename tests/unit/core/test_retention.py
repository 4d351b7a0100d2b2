import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.core.retention import (
    NEWEST,
    NO_POLICY,
    Checkpoint,
    KeepBest,
    KeepEvery,
    KeepFor,
    KeepLast,
    Policy,
    newest,
)


class Copy(msgspec.Struct, frozen=True):
    step: int
    saved_at: float


COPIES = st.lists(st.builds(Copy, st.integers(0, 20), st.integers(0, 20).map(float)), unique=True)


def test_without_a_rollback_the_newest_are_the_last_so_many() -> None:
    copies = [Copy(step, float(step)) for step in (10, 30, 20, 40)]
    assert newest(copies, 2) == [Copy(40, 40.0), Copy(30, 30.0)]


def test_after_a_rollback_the_newest_by_either_order_are_protected() -> None:
    before = [Copy(step, float(step)) for step in (740, 745, 750, 755)]
    after = [Copy(600, 1000.0), Copy(605, 1001.0)]
    assert set(newest(before + after, 2)) == {Copy(605, 1001.0), Copy(600, 1000.0), Copy(755, 755.0), Copy(750, 750.0)}


@given(COPIES, st.integers(0, 5))
def test_the_newest_by_time_and_by_step_are_always_among_them(copies: list[Copy], count: int) -> None:
    kept = newest(copies, count)
    assert len(set(kept)) == len(kept) <= 2 * count
    assert set(kept) <= set(copies)
    if copies and count:
        assert max(copies, key=lambda c: (c.saved_at, c.step)) in kept
        assert max(copies, key=lambda c: (c.step, c.saved_at)) in kept


@given(COPIES, st.integers(0, 5))
def test_the_order_in_which_copies_are_found_does_not_matter(copies: list[Copy], count: int) -> None:
    assert newest(copies, count) == newest(copies[::-1], count)


@given(COPIES, st.integers(0, 5))
def test_keeping_more_never_drops_what_fewer_would_keep(copies: list[Copy], count: int) -> None:
    assert set(newest(copies, count)) <= set(newest(copies, count + 1))


# Rules and policies

NOW = 1_000_000.0
DAY = 86_400.0


def checkpoint(step: int, saved_at: float | None = None, **fields: object) -> Checkpoint:
    plain = Checkpoint(series="0", step=step, saved_at=float(step) if saved_at is None else saved_at)
    return msgspec.structs.replace(plain, **fields)


def kept(policy: Policy, checkpoints: list[Checkpoint], now: float = NOW) -> list[int]:
    return [verdict.checkpoint.step for verdict in policy.judge(checkpoints, now) if verdict.kept]


def test_without_rules_everything_is_kept_and_says_so() -> None:
    verdicts = Policy().judge([checkpoint(1), checkpoint(2)], NOW)
    assert [(v.kept, v.reasons) for v in verdicts] == [(True, (NO_POLICY,))] * 2


def test_steps_that_a_number_divides_are_kept_with_step_0_and_the_newest() -> None:
    steps = [checkpoint(step) for step in range(0, 35, 5)]
    assert kept(Policy((KeepEvery(10),)), steps) == [0, 10, 20, 30]
    assert kept(Policy((KeepEvery(20),)), steps) == [0, 20, 30]


def test_the_best_are_kept_by_either_mode_and_of_equals_the_newer() -> None:
    losses = {1: 0.5, 2: 0.1, 3: 0.3, 4: 0.1, 5: 0.9}
    steps = [checkpoint(step, metrics={"loss": loss}) for step, loss in losses.items()]
    assert kept(Policy((KeepBest("loss", "min", 1),)), steps) == [4, 5]
    assert kept(Policy((KeepBest("loss", "min", 3),)), steps) == [2, 3, 4, 5]
    assert kept(Policy((KeepBest("loss", "max", 1),)), steps) == [5]


def test_a_checkpoint_without_the_metric_is_never_best_and_not_removed_for_that_alone() -> None:
    steps = [checkpoint(1), checkpoint(2, metrics={"loss": math.nan}), checkpoint(3, metrics={"loss": 9.0})]
    steps += [checkpoint(4, metrics={"loss": -math.inf}), checkpoint(5, metrics={"accuracy": 1.0}), checkpoint(6)]
    assert kept(Policy((KeepBest("loss", "min", 5),)), steps) == [3, 6]
    assert kept(Policy((KeepBest("loss", "min", 5), KeepLast(3))), steps) == [3, 4, 5, 6]


def test_what_was_saved_within_a_time_of_the_newest_save_is_kept_however_long_ago_that_was() -> None:
    steps = [checkpoint(step, saved_at=step * DAY) for step in range(10)]
    assert kept(Policy((KeepFor(2 * DAY),)), steps, now=9 * DAY) == [7, 8, 9]
    assert kept(Policy((KeepFor(2 * DAY),)), steps, now=900 * DAY) == [7, 8, 9]


def test_a_clock_far_ahead_makes_nothing_old() -> None:
    steps = [*(checkpoint(step, saved_at=step * DAY) for step in range(5)), checkpoint(5, saved_at=9000 * DAY)]
    assert kept(Policy((KeepFor(DAY),)), steps, now=5 * DAY) == [3, 4, 5]
    assert kept(Policy((KeepFor(DAY),)), steps[:1] + steps[-1:], now=-DAY) == [0, 5]


def test_all_reasons_are_given_for_and_against() -> None:
    policy = Policy((KeepLast(1), KeepEvery(10), KeepBest("loss", "min", 1), KeepFor(5.0)))
    steps = [checkpoint(7), checkpoint(13), checkpoint(20, metrics={"loss": 1.0})]
    removed, _, best = policy.judge(steps, NOW)
    assert best.reasons == (
        "one of the newest 1",
        "a multiple of 10 steps",
        "one of the 1 best by loss (min)",
        "saved within 5 s of the newest",
    )
    assert (removed.kept, removed.reasons) == (
        False,
        (
            "not one of the newest 1",
            "no multiple of 10 steps",
            "not one of the 1 best by loss (min)",
            "saved more than 5 s before the newest",
        ),
    )


def test_a_branch_that_training_has_left_never_counts_as_the_newest() -> None:
    steps = [checkpoint(600), checkpoint(605, saved_at=2000.0), checkpoint(755, saved_at=1000.0, abandoned=True)]
    assert kept(Policy((KeepLast(1),)), steps) == [605]
    assert kept(Policy((KeepLast(1), KeepBest("loss", "min", 1))), [*steps[:1], steps[2]]) == [600]


def test_where_every_branch_was_left_the_newest_still_stays() -> None:
    steps = [checkpoint(step, abandoned=True) for step in (1, 2)]
    assert kept(Policy((KeepBest("loss", "min"),)), steps) == [2]


def test_each_series_is_judged_by_itself() -> None:
    steps = [checkpoint(1), checkpoint(2), checkpoint(1, series="1"), checkpoint(3)]
    verdicts = Policy((KeepLast(1),)).judge(steps, NOW)
    assert [v.kept for v in verdicts] == [False, False, True, True]


METRICS = st.dictionaries(st.sampled_from(["loss", "acc"]), st.floats(allow_nan=True), max_size=2)
HISTORIES = st.lists(
    st.builds(
        Checkpoint,
        series=st.sampled_from(["0", "1"]),
        step=st.integers(0, 12),
        saved_at=st.integers(0, 30).map(float),
        generation=st.uuids().map(str),
        metrics=METRICS,
        abandoned=st.booleans(),
    ),
    max_size=15,
)
POLICIES = st.builds(
    Policy,
    st.lists(
        st.builds(KeepLast, st.integers(1, 4))
        | st.builds(KeepEvery, st.integers(1, 6))
        | st.builds(KeepBest, st.sampled_from(["loss", "acc"]), st.sampled_from(["min", "max"]), st.integers(1, 3))
        | st.builds(KeepFor, st.integers(0, 20).map(float)),
        max_size=4,
    ).map(tuple),
)


@given(POLICIES, HISTORIES, st.integers(0, 30).map(float))
def test_whatever_the_policy_the_newest_of_each_series_is_kept_by_either_order(
    policy: Policy, history: list[Checkpoint], now: float
) -> None:
    verdicts = policy.judge(history, now)
    assert [v.checkpoint for v in verdicts] == history
    for series in {each.series for each in history}:
        mine = [v for v in verdicts if v.checkpoint.series == series]
        alive = [v for v in mine if not v.checkpoint.abandoned] or mine
        last = max((v.checkpoint.saved_at, v.checkpoint.step) for v in alive)
        top = max((v.checkpoint.step, v.checkpoint.saved_at) for v in alive)
        assert any(v.kept for v in alive if (v.checkpoint.saved_at, v.checkpoint.step) == last)
        assert any(v.kept for v in alive if (v.checkpoint.step, v.checkpoint.saved_at) == top)


@given(POLICIES, HISTORIES, st.integers(0, 30).map(float))
def test_a_policy_keeps_what_its_rules_keep_and_gives_the_reason_of_each(
    policy: Policy, history: list[Checkpoint], now: float
) -> None:
    alone = [Policy((rule,)).judge(history, now) for rule in policy.rules]
    for place, verdict in enumerate(policy.judge(history, now)):
        assert verdict.reasons
        each = [judged[place] for judged in alone]
        assert verdict.kept == (any(v.kept for v in each) or not policy.rules)
        if policy.rules and verdict.reasons != (NEWEST,):
            keeping = [v.reasons[0] for v in each if v.kept and v.reasons != (NEWEST,)]
            against = [v.reasons[0] for v in each]
            assert list(verdict.reasons) == (keeping if verdict.kept else against)


@given(POLICIES, HISTORIES, st.integers(0, 30).map(float))
def test_once_the_removable_are_gone_nothing_more_is_removable(
    policy: Policy, history: list[Checkpoint], now: float
) -> None:
    left = [verdict.checkpoint for verdict in policy.judge(history, now) if verdict.kept]
    assert all(verdict.kept for verdict in policy.judge(left, now))


@given(POLICIES, HISTORIES, st.integers(0, 30).map(float))
def test_the_order_of_the_list_changes_no_verdict(policy: Policy, history: list[Checkpoint], now: float) -> None:
    forward = {v.checkpoint.generation: v for v in policy.judge(history, now)}
    backward = {v.checkpoint.generation: v for v in policy.judge(history[::-1], now)}
    assert {g: (v.kept, v.reasons) for g, v in forward.items()} == {g: (v.kept, v.reasons) for g, v in backward.items()}
