import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ckpt_tier.errors import CancelledError
from ckpt_tier.system.clock import StopRequest, SystemClock, random_id


def test_a_stop_request_ends_every_sleep_at_once() -> None:
    stop = StopRequest()
    clock = SystemClock(stop)
    clock.sleep(0)
    clock.sleep(-1)
    threading.Timer(0.05, stop.make).start()
    begun = time.monotonic()
    with pytest.raises(CancelledError):
        clock.sleep(60)
    assert time.monotonic() - begun < 10
    with pytest.raises(CancelledError):
        clock.sleep(0)


def test_a_stop_request_ends_the_sleeps_of_all_threads() -> None:
    stop = StopRequest()
    with ThreadPoolExecutor(8) as pool:
        sleeps = [pool.submit(stop.wait, 60) for _ in range(8)]
        time.sleep(0.05)
        stop.make()
        assert all(sleep.result(10) for sleep in sleeps)


def test_a_wait_without_a_request_ends_when_its_time_is_over() -> None:
    stop = StopRequest()
    begun = time.monotonic()
    assert not stop.wait(0.05)
    assert time.monotonic() - begun >= 0.05
    assert not stop.made


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_signal_at_any_moment_of_a_wait_ends_it() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    try:
        for _ in range(200):
            stop = StopRequest()
            signal.signal(signal.SIGVTALRM, lambda *_, stop=stop: stop.make())
            signal.setitimer(signal.ITIMER_VIRTUAL, random.uniform(1e-5, 3e-4))
            while not stop.wait(0):
                pass
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def test_a_stop_request_gives_its_descriptor_back() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(100):
        StopRequest().make()
    assert descriptors() == before


def test_the_clock_is_the_machines() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 5
    assert clock.monotonic() <= clock.monotonic()


def test_random_ids_differ() -> None:
    assert len({random_id() for _ in range(100)}) == 100
    assert all(len(random_id()) == 16 for _ in range(10))
