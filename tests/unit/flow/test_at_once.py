"""Many small things, a few at the same time."""

import threading
import time

import pytest

from ckpt_tier.flow.at_once import at_once


def test_all_are_done_and_never_more_than_allowed_at_the_same_time() -> None:
    lock, now, most, done = threading.Lock(), 0, 0, []

    def work(thing: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
            done.append(thing)

    at_once(work, range(20), 4)
    assert sorted(done) == list(range(20))
    assert 1 < most <= 4


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
