"""Several threads that read."""

import threading

import pytest

from ckpt_tier.tensors.lanes import in_lanes
from tests.unit.tensors.test_catalogue import ranges


def test_answers_come_in_the_order_of_the_things() -> None:
    with in_lanes() as lanes:
        assert lanes.each(lambda x: x * x, range(100)) == [x * x for x in range(100)]


def test_an_error_stops_what_others_are_reading_between_two_requests() -> None:
    requests = []
    begun = threading.Event()

    def read(number: int) -> None:
        if number == 0:
            begun.wait()
            raise ValueError("damaged")
        reader = lanes.stoppable(ranges(b"x" * 100))
        while len(requests) < 10_000_000:
            requests.append(reader.read_at(0, 1))
            begun.set()

    with pytest.raises(ValueError, match="damaged"), in_lanes() as lanes:
        lanes.each(read, range(50))
    assert len(requests) < 10_000_000
