import threading

import pytest

from ckpt_tier.core.events import Event, Moved
from ckpt_tier.errors import CancelledError, IntegrityError, UnavailableError
from ckpt_tier.flow.meter import REPORT_BYTES, Bandwidth, Counting, file_meter
from ckpt_tier.flow.retry import LONGEST_WAIT, READ_ATTEMPTS, persistently
from tests.builders import START, SteppedClock


def test_a_bandwidth_holds_over_all_transfers_together() -> None:
    clock = SteppedClock()
    pace = Bandwidth(1_000_000, clock)
    for _ in range(100):
        pace.take(50_000)
    assert 4.5 <= clock.now() - START <= 5.2


def test_after_a_pause_a_transfer_may_not_burst_for_longer_than_a_quarter_second() -> None:
    clock = SteppedClock()
    pace = Bandwidth(1_000_000, clock)
    clock.time += 1000
    begun = clock.now()
    pace.take(1_250_000)
    assert clock.now() - begun == pytest.approx(1.0)


def test_without_a_limit_nothing_waits_and_a_stop_request_ends_the_transfer() -> None:
    clock = SteppedClock()
    Bandwidth(None, clock).take(10**12)
    assert clock.now() == START
    clock.cancelled = True
    with pytest.raises(CancelledError):
        Bandwidth(None, clock).take(1)


def test_a_delivery_says_once_that_the_last_of_its_bytes_has_gone_and_holds_the_bandwidth() -> None:
    clock, gone = SteppedClock(), []
    pace = Counting(Bandwidth(1_000_000, clock), 2_000_000, lambda: gone.append(clock.now()))
    pace.take(1_000_000)
    pace.take(999_999)
    assert not gone
    pace.take(1)
    assert len(gone) == 1
    pace.take(1_000_000)  # sent again after an error
    assert len(gone) == 1
    assert clock.now() - START == pytest.approx(3.0, abs=0.3)


def test_progress_is_reported_once_per_so_many_bytes_and_resumed_bytes_at_once() -> None:
    events: list[Event] = []
    meter = file_meter(events.append, Bandwidth(None, SteppedClock()), series="0", step=5, path="a.pt", size=10**9)
    threads = [threading.Thread(target=lambda: [meter.moved(2**20) for _ in range(8)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.moved_bytes == 32 * 2**20
    assert len(events) == 32 * 2**20 // REPORT_BYTES
    meter.resumed(7)
    assert events[-1] == Moved("0", 5, "a.pt", 10**9, 32 * 2**20, 7)


def failing(errors: list[Exception]) -> "tuple[list[int], object]":
    calls: list[int] = []

    def call() -> str:
        calls.append(1)
        if errors:
            raise errors.pop(0)
        return "done"

    return calls, call


def test_what_may_pass_is_tried_again_with_growing_waits_and_each_failure_is_told() -> None:
    clock = SteppedClock()
    calls, call = failing([UnavailableError(str(number)) for number in range(3)])
    told: list[tuple[str, int, float]] = []
    result = persistently(call, clock, 4, lambda error, number, wait: told.append((str(error), number, wait)))  # type: ignore[arg-type]
    assert result == "done"
    assert len(calls) == 4
    assert [(text, number) for text, number, _ in told] == [("0", 1), ("1", 2), ("2", 3)]
    assert clock.now() - START == pytest.approx(sum(wait for _, _, wait in told))
    assert all(0 <= wait <= LONGEST_WAIT for _, _, wait in told)


def test_the_last_failure_is_raised_as_it_is() -> None:
    calls, call = failing([UnavailableError(str(number)) for number in range(9)])
    with pytest.raises(UnavailableError, match=str(READ_ATTEMPTS - 1)):
        persistently(call, SteppedClock())  # type: ignore[arg-type]
    assert len(calls) == READ_ATTEMPTS


@pytest.mark.parametrize("error", [IntegrityError("damaged"), CancelledError("stop"), ValueError("bug")])
def test_what_will_not_pass_is_not_tried_again(error: Exception) -> None:
    calls, call = failing([error])
    with pytest.raises(type(error)):
        persistently(call, SteppedClock())  # type: ignore[arg-type]
    assert len(calls) == 1


def test_a_stop_request_ends_the_waiting() -> None:
    clock = SteppedClock()
    clock.cancelled = True
    calls, call = failing([UnavailableError("away")])
    with pytest.raises(CancelledError):
        persistently(call, clock)  # type: ignore[arg-type]
    assert len(calls) == 1
