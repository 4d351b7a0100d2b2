"""The report's figures, against numbers worked out by hand."""

import math

import pytest

from ckpt_tier.flow.listing import Listed
from ckpt_tier.report import figures
from ckpt_tier.report.data import Checkpoint, Point
from tests.unit.report.reports import NOW, row


def points(*rows: Listed, troubles: figures.Troubles | None = None) -> tuple[Checkpoint, ...]:
    return figures.checkpoints(rows, troubles or {}, ())


def test_a_checkpoint_is_told_by_where_it_lies() -> None:
    rows = [row(1), row(2, hot=True), row(3, lag=None), row(4, lag=None, state="hot")]
    assert [(c.step, c.kind) for c in points(*rows)] == [(1, "cold"), (2, "both"), (3, "waiting"), (4, "waiting")]


@pytest.mark.parametrize("state", ["rejected", "stalled", "lost"])
def test_a_state_beside_the_line_is_the_kind(state: str) -> None:
    assert points(row(1, lag=None, state=state))[0].kind == state


@pytest.mark.parametrize(("trouble", "state"), [("incomplete", "uploaded"), ("unreadable", "saved")])
def test_what_only_status_knows_is_the_kind_of_what_is_not_committed(trouble: str, state: str) -> None:
    rows = row(1, lag=None, state=state), row(2)
    assert [c.kind for c in points(*rows, troubles={("0", 1): trouble, ("0", 2): trouble})] == [trouble, "cold"]


def test_a_save_that_waits_is_no_trouble_where_another_save_of_its_step_is() -> None:
    rows = row(1, saved=9, lag=None, state="rejected"), row(1, saved=1, lag=None, state="validated")
    assert [c.kind for c in points(*rows, troubles={("0", 1): "rejected"})] == ["rejected", "waiting"]


def test_a_damaged_generation_is_told_from_a_good_one_of_the_same_step() -> None:
    rows = [row(1, generation="a" * 16), row(1, generation="b" * 16)]
    made = figures.checkpoints(rows, {}, [("0", 1, "b" * 16)])
    assert {c.generation: c.kind for c in made} == {"a" * 16: "cold", "b" * 16: "damaged"}


def test_with_the_cold_tier_away_the_journal_is_believed_on_what_is_committed() -> None:
    known = row(1, lag=None, state="committed")
    assert figures.checkpoints([known], {}, (), away=True)[0].kind == "both"
    assert figures.checkpoints([known], {}, ())[0].kind == "waiting"  # listed, and not there any more


def test_shares_of_one_step_are_one_checkpoint_of_the_worst_kind() -> None:
    shares = [row(1, lag=None, rank=0), row(1, lag=None, rank=1, state="rejected"), row(2, lag=None, rank=0)]
    assert [(c.step, c.kind, c.size_bytes) for c in points(*shares)] == [(1, "rejected", 2000), (2, "waiting", 1000)]


def test_lag_is_from_saved_to_committed() -> None:
    made = figures.lag(points(row(1, lag=10), row(2, lag=30), row(3, lag=500), row(4, saved=90, lag=None)), NOW)
    assert (made.count, made.median_seconds, made.worst_seconds, made.worst_step) == (3, 30, 500, 3)
    assert made.oldest_waiting_seconds == 90


def test_a_store_whose_clock_is_behind_gives_no_negative_lag() -> None:
    assert points(row(1, lag=-3))[0].lag_seconds == 0


def test_without_commits_there_is_no_lag() -> None:
    made = figures.lag(points(row(1, saved=5, lag=None)), NOW)
    assert (made.count, made.median_seconds, made.worst_seconds, made.oldest_waiting_seconds) == (0, None, None, 5)
    assert figures.lag((), NOW).oldest_waiting_seconds is None


def test_throughput_takes_the_smallest_buckets_that_are_not_too_many() -> None:
    hours = [row(i, saved=100_000 - 3600 * i, lag=0) for i in range(10)]
    made = figures.throughput(points(*hours))
    assert made.bucket_seconds == 900  # 9 h 0 min are 37 quarters of an hour, and 109 times five minutes
    assert [bucket.bytes for bucket in made.buckets] == [1000] * 10
    assert made.buckets[0].at == "2023-11-13T18:15:00.000000Z"  # 100,000 s before 22:13:20 is 18:26:40


def test_commits_in_one_bucket_are_added_up() -> None:
    made = figures.throughput(points(row(1, saved=10, lag=0), row(2, saved=9, lag=0)))
    assert [(bucket.count, bucket.bytes) for bucket in made.buckets] == [(2, 2000)]


def test_growth_adds_up_by_time_of_commit_and_not_of_saving() -> None:
    late = row(1, saved=1000, lag=900, size_bytes=5)
    made = figures.growth(points(late, row(2, saved=500, lag=100, size_bytes=7)))
    assert [(each.at[11:19], each.bytes) for each in made] == [("22:06:40", 7), ("22:11:40", 12)]


def test_what_manifests_claim_never_exceeds_a_number_that_can_be_written() -> None:
    huge = points(*(row(i, size_bytes=2**63 - 1) for i in (1, 2)))
    assert figures.growth(huge)[-1].bytes == 2**63 - 1
    assert figures.throughput(huge).buckets[0].bytes == 2**63 - 1


def test_a_curve_is_by_step_without_what_training_has_left() -> None:
    rows = [
        row(30, metrics={"loss": 1.5}),
        row(10, metrics={"loss": 3.0, "acc": 0.2}),
        row(20, metrics={"loss": 9.0}, abandoned=True),
        row(40, metrics={"loss": math.nan}),
    ]
    acc, loss = figures.curves(rows, {"acc": "max"})
    assert (loss.points, loss.best, loss.mode) == ((Point(10, 3.0), Point(30, 1.5)), Point(30, 1.5), "lowest")
    assert (acc.points, acc.mode) == ((Point(10, 0.2),), "max")


def test_of_a_step_that_was_saved_twice_the_later_value_counts() -> None:
    rows = [row(10, saved=100, metrics={"loss": 2.0}), row(10, saved=900, metrics={"loss": 5.0})]
    [curve] = figures.curves(rows, {})
    assert curve.points == (Point(10, 2.0),)


def test_the_best_is_the_highest_where_the_configuration_says_so() -> None:
    rows = [row(10, metrics={"acc": 0.9}), row(20, metrics={"acc": 0.4})]
    assert figures.curves(rows, {"acc": "max"})[0].best == Point(10, 0.9)
    assert figures.curves(rows, {"acc": "min"})[0].best == Point(20, 0.4)
