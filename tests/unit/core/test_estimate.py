import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.core.estimate import (
    Estimate,
    Keep,
    Training,
    estimate,
    largest_keep,
    least_every,
    least_every_that_all_fit,
    variants,
)

GB = 10**9
SIX = Training(steps=100_000, size=1_200_000_000, series=6, uplink=100 * 10**6, room=22 * GB)
LONG = Training(steps=757_500, size=1_200_000_000, series=6, uplink=100 * 10**6, room=22 * GB)

TRAININGS = st.builds(
    Training,
    steps=st.integers(1, 300),
    size=st.integers(1, 50),
    series=st.integers(1, 5),
    step_seconds=st.none() | st.floats(0.01, 10),
    uplink=st.integers(1, 100),
    room=st.integers(0, 20_000),
    price=st.none() | st.floats(0, 1),
)
STEPS = st.integers(1, 120)
KEEPS = st.integers(1, 30)


def test_100k_steps_every_5k_keep_3_take_3_6_gb_a_series_21_6_gb_in_all_and_28_8_gb_at_the_peak() -> None:
    seen = estimate(SIX, 5000, 3)
    assert seen.saves == 20
    assert (seen.hot_series_bytes, seen.hot_bytes, seen.peak_bytes) == (3_600_000_000, 21_600_000_000, 28_800_000_000)


def test_100k_steps_every_5k_keep_all_take_24_gb_a_series_and_144_gb_in_all() -> None:
    seen = estimate(SIX, 5000, "all")
    assert (seen.hot_series_bytes, seen.hot_bytes) == (24_000_000_000, 144_000_000_000)
    assert seen.peak_bytes == seen.hot_bytes == seen.cold_bytes


def test_757_500_steps_every_5k_are_151_checkpoints_of_181_gb_a_series_and_1_087_gb_in_all() -> None:
    seen = estimate(LONG, 5000, "all")
    assert (seen.saves, seen.cold_series_bytes, seen.cold_bytes) == (151, 181_200_000_000, 1_087_200_000_000)
    assert (seen.hot_series_bytes, seen.hot_bytes) == (181_200_000_000, 1_087_200_000_000)


def test_757_500_steps_every_10k_are_75_checkpoints_of_90_gb_a_series_and_540_gb_in_all() -> None:
    seen = estimate(LONG, 10_000, "all")
    assert (seen.saves, seen.cold_series_bytes, seen.cold_bytes) == (75, 90_000_000_000, 540_000_000_000)


def test_a_budget_of_22_gb_is_solved_by_keep_2() -> None:
    assert largest_keep(SIX, 5000) == largest_keep(LONG, 5000) == 2
    assert estimate(LONG, 5000, 2).fits
    assert not estimate(LONG, 5000, 3).fits


def test_time_on_the_uplink_and_cost_are_those_of_all_that_goes_to_the_cold_tier() -> None:
    priced = Training(steps=757_500, size=1_200_000_000, series=6, uplink=100 * 10**6, room=0, price=0.023)
    seen = estimate(priced, 5000, 3)
    assert seen.uplink_seconds == 10_872
    assert seen.cost_per_month == pytest.approx(25.0056)


def test_at_worst_the_steps_since_the_last_save_that_was_sent_are_lost() -> None:
    timed = Training(steps=757_500, size=1_200_000_000, series=6, uplink=100 * 10**6, room=0, step_seconds=0.3)
    seen = estimate(timed, 5000, 3)
    assert (seen.keeps_up, seen.lost_steps, seen.lost_seconds) == (True, 5000 + 240, 1500 + 72)
    assert least_every(timed) == 240
    unknown = estimate(LONG, 5000, 3)
    assert (unknown.keeps_up, unknown.lost_steps, unknown.lost_seconds) == (None, 5000, None)


def test_a_slow_uplink_has_a_backlog_at_the_peak_and_what_can_be_lost_grows() -> None:
    slow = Training(steps=100_000, size=1_200_000_000, series=6, uplink=10**6, room=0, step_seconds=0.3)
    seen = estimate(slow, 5000, 3)
    behind = 19 * (7_200_000_000 - 1_500_000_000)
    assert seen.backlog_bytes == -(-behind // 1_200_000_000) * 1_200_000_000
    assert seen.peak_bytes == 28_800_000_000 + seen.backlog_bytes
    assert (seen.keeps_up, seen.lost_steps, seen.lost_seconds) == (False, None, None)


@given(TRAININGS, STEPS, KEEPS)
def test_keeping_one_more_never_takes_less_and_all_takes_the_most(training: Training, every: int, keep: int) -> None:
    less, more, most = (estimate(training, every, each) for each in (keep, keep + 1, "all"))
    assert less.hot_bytes <= more.hot_bytes <= most.hot_bytes
    assert less.peak_bytes <= more.peak_bytes <= most.peak_bytes == most.hot_bytes == most.cold_bytes
    assert less.hot_bytes <= less.peak_bytes


@given(TRAININGS, STEPS, KEEPS)
def test_saving_less_often_never_takes_more(training: Training, every: int, keep: int) -> None:
    often, seldom = estimate(training, every, keep), estimate(training, every + 1, keep)
    assert often.cold_bytes >= seldom.cold_bytes
    assert often.uplink_seconds >= seldom.uplink_seconds
    assert often.peak_bytes >= seldom.peak_bytes
    assert often.backlog_bytes >= seldom.backlog_bytes


@given(TRAININGS, STEPS)
def test_the_solution_for_a_budget_is_the_largest_that_fits(training: Training, every: int) -> None:
    most = largest_keep(training, every)
    saves = training.steps // every
    assert 0 <= most <= saves
    assert most == 0 or estimate(training, every, most).fits
    assert most == saves or not estimate(training, every, most + 1).fits
    assert estimate(training, every, "all").fits is (most == saves)


@given(TRAININGS, STEPS, KEEPS)
def test_an_uplink_that_keeps_up_has_no_backlog(training: Training, every: int, keep: int) -> None:
    seen = estimate(training, every, keep)
    if seen.keeps_up is not False:
        assert seen.backlog_bytes == 0
    least = least_every(training)
    if least is not None:
        assert estimate(training, least, keep).keeps_up
        assert least == 1 or estimate(training, least - 1, keep).keeps_up is False


@given(
    saves=st.integers(1, 12),
    keep=st.integers(1, 4),
    series=st.integers(1, 3),
    interval=st.integers(1, 12),
    sending=st.integers(1, 12),
    newest_first=st.booleans(),
)
def test_a_training_that_is_played_through_never_holds_more_than_the_peak(
    saves: int, keep: int, series: int, interval: int, sending: int, newest_first: bool
) -> None:
    # One file of 12 bytes takes `sending` seconds of a line that does nothing else; a step takes a second.
    training = Training(steps=saves * interval, size=12 * sending, series=series, step_seconds=1.0, uplink=12, room=0)
    held = _most_held(saves, keep, series, interval, sending, newest_first=newest_first)
    seen = estimate(training, interval, keep)
    assert held * training.size <= seen.peak_bytes
    if seen.keeps_up:
        assert held * training.size == seen.peak_bytes


def _most_held(saves: int, keep: int, series: int, interval: int, sending: int, *, newest_first: bool) -> int:
    """The most files on the hot tier, played through save by save; what is being sent is not interrupted."""
    waiting: list[int] = []
    sent: list[int] = []
    done_at = most = 0
    for save in range(saves):
        now = save * interval
        while waiting and done_at < now:
            done_at = max(done_at, now - interval) + sending
            sent = [waiting.pop(-1 if newest_first else 0)]
        under_way = sent if done_at > now else []
        kept = range(max(0, save - keep), save)
        more = sum(each not in kept for each in (*waiting, *under_way))
        most = max(most, (len(kept) + 1) * series + more)
        waiting += [save] * series
    return most


@given(TRAININGS, STEPS, st.one_of(KEEPS, st.just("all")))
def test_what_was_asked_for_is_among_the_variants_once(training: Training, every: int, keep: Keep) -> None:
    found: tuple[Estimate, ...] = variants(training, every, keep)
    assert [each for each in found if (each.every, each.keep) == (every, keep)] == [estimate(training, every, keep)]
    assert len({(each.every, each.keep) for each in found}) == len(found)


def test_a_frequency_that_would_save_nothing_is_not_shown() -> None:
    assert {each.every for each in variants(SIX, 60_000, 3)} == {30_000, 60_000}


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.integers(0, 10**6))
def test_how_often_to_save_is_the_highest_frequency_that_fits_up_to_two_digits(
    steps: int, save_bytes: int, room: int
) -> None:
    every = least_every_that_all_fit(steps, save_bytes, room)
    if every is None:
        assert room < save_bytes
        return
    assert 1 <= steps // every <= room // save_bytes
    step = 10 ** max(0, len(str(every)) - 2)
    assert every <= step or steps // (every - step) > room // save_bytes or every == steps
