"""The same work in several threads: a fixed number of them, or as many as pay."""

import threading
import time

import pytest

from ckpt_tier.system.streams import FULL_STREAM, Streams, Width, at_once, in_streams, streams_at_first
from tests.busy import Busy


class Watchmaker:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def after(streams: Streams, clock: Watchmaker, bytes_per_second: float) -> int:
    """What is added after half a second at that rate."""
    clock.seconds += 0.5
    streams.moved(round(bytes_per_second * 0.5))
    return streams.grow()


def test_all_are_done_and_never_more_than_allowed_at_the_same_time() -> None:
    busy, done = Busy(), []

    def work(thing: int) -> None:
        with busy:
            time.sleep(0.01)
            done.append(thing)

    at_once(work, range(20), 4)
    assert sorted(done) == list(range(20))
    assert 1 < busy.most <= 4


def test_a_single_one_needs_no_thread() -> None:
    threads = []
    at_once(lambda _: threads.append(threading.current_thread()), ["one"], 4)
    at_once(lambda _: threads.append(threading.current_thread()), [], 4)
    assert threads == [threading.current_thread()]


def test_the_first_error_is_raised_and_the_rest_not_begun() -> None:
    begun = []

    def work(thing: int) -> None:
        begun.append(thing)
        if thing == 3:
            raise ValueError("the third")
        time.sleep(0.01)

    with pytest.raises(ValueError, match="the third"):
        at_once(work, range(1000), 2)
    assert len(begun) < 20


def test_after_an_error_whoever_can_end_what_is_under_way_is_told() -> None:
    stopped = threading.Event()

    def work(thing: int) -> None:
        if thing == 1:
            raise ValueError("the second")
        assert stopped.wait(30)

    waiting = iter(range(2))
    with pytest.raises(ValueError, match="the second"):
        in_streams(work, lambda: next(waiting, None), Streams(Width(2), 2), stopped)


def test_while_each_is_slow_and_the_last_addition_has_helped_their_number_doubles() -> None:
    clock = Watchmaker()
    streams = Streams(Width(2), 16, clock)
    assert [after(streams, clock, rate) for rate in (20e6, 40e6, 80e6)] == [2, 4, 8]
    assert streams.count == 16
    assert after(streams, clock, 160e6) == 0
    assert streams.look_after is None


def test_an_addition_that_did_not_help_is_the_last() -> None:
    clock = Watchmaker()
    streams = Streams(Width(2), 16, clock)
    assert [after(streams, clock, rate) for rate in (20e6, 21e6, 80e6)] == [2, 0, 0]
    assert streams.look_after is None


def test_streams_that_are_not_held_up_by_their_way_stay_as_many() -> None:
    clock = Watchmaker()
    streams = Streams(Width(2), 16, clock)
    assert after(streams, clock, 2 * FULL_STREAM) == 0
    assert streams.look_after is None


def test_before_the_first_byte_nothing_is_known() -> None:
    clock = Watchmaker()
    streams = Streams(Width(2), 16, clock)
    assert after(streams, clock, 0) == 0
    assert streams.look_after is not None
    assert after(streams, clock, 20e6) == 2


def test_there_are_never_more_than_the_most() -> None:
    clock = Watchmaker()
    streams = Streams(Width(4), 6, clock)
    assert after(streams, clock, 20e6) == 2
    assert Streams(Width(4), 1, clock).count == 1


def test_at_first_there_are_few() -> None:
    assert 2 <= streams_at_first() <= 4


def test_the_next_transfer_begins_with_as_many_as_have_helped() -> None:
    clock, width = Watchmaker(), Width(2)
    first = Streams(width, 16, clock)
    assert [after(first, clock, rate) for rate in (20e6, 40e6, 80e6, 81e6)] == [2, 4, 8, 0]
    assert first.count == 16
    second = Streams(width, 16, clock)
    assert second.count == 8
    assert [after(second, clock, rate) for rate in (80e6, 160e6)] == [8, 0]
    assert Streams(width, 16, clock).count == 16
    assert Streams(width, 3, clock).count == 3


def test_on_a_line_that_bears_no_more_however_many_transfers_there_are_they_begin_with_few() -> None:
    clock, width = Watchmaker(), Width(2)
    for _ in range(5):
        streams = Streams(width, 16, clock)
        assert streams.count == 2
        assert [after(streams, clock, rate) for rate in (20e6, 21e6)] == [2, 0]
        assert streams.look_after is None


def test_what_is_added_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckpt_tier.system.streams.LOOK_EVERY", 0.01)
    streams = Streams(Width(1), 2)
    both = threading.Barrier(2, timeout=30)

    def work(thing: int) -> None:
        streams.moved(1)
        if thing < 2:
            both.wait()  # one alone would wait for ever

    waiting = iter(range(10))
    in_streams(work, lambda: next(waiting, None), streams)
    assert streams.count == 2
    assert next(waiting, None) is None
