import threading
import time

import pytest

from ckpt_tier.errors import CancelledError
from ckpt_tier.system.clock import SystemClock, random_id


def test_a_stop_request_ends_every_sleep_at_once() -> None:
    stop = threading.Event()
    clock = SystemClock(stop)
    clock.sleep(0)
    clock.sleep(-1)
    threading.Timer(0.05, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(CancelledError):
        clock.sleep(60)
    assert time.monotonic() - begun < 10
    with pytest.raises(CancelledError):
        clock.sleep(0)


def test_the_clock_is_the_machines() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 5
    assert clock.monotonic() <= clock.monotonic()


def test_random_ids_differ() -> None:
    assert len({random_id() for _ in range(100)}) == 100
    assert all(len(random_id()) == 16 for _ in range(10))
