"""Flushing a file beside the writing of it."""

import threading
from collections.abc import Callable

import pytest

from ckpt_tier.system.flushing import flushed_beside


def test_it_flushes_in_another_thread_each_time_that_enough_was_written() -> None:
    flushed = threading.Semaphore(0)
    names: list[str] = []

    def flush() -> None:
        names.append(threading.current_thread().name)
        flushed.release()

    with flushed_beside(flush, 100) as wrote:
        wrote(60)
        assert not flushed.acquire(timeout=0.05)
        wrote(60)
        assert flushed.acquire(timeout=10)
        wrote(99)
        assert not flushed.acquire(timeout=0.05)
        wrote(1)
        assert flushed.acquire(timeout=10)
    assert len(names) == 2
    assert all(name.startswith("ckpt-tier-flush") for name in names)
    assert not [each for each in threading.enumerate() if each.name.startswith("ckpt-tier-flush")]


def test_writing_goes_on_while_a_flush_takes_its_time_and_its_end_is_waited_for() -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def flush() -> None:
        begun.set()
        go_on.wait(10)
        ended.set()

    with flushed_beside(flush, 1) as wrote:
        wrote(1)
        assert begun.wait(10)
        wrote(1)
        wrote(1)
        assert not ended.is_set()
        go_on.set()
    assert ended.is_set()


def test_a_flush_that_fails_ends_the_writing_at_the_next_report() -> None:
    failed = threading.Event()

    def flush() -> None:
        failed.set()
        raise OSError("the disk is gone")

    def write(wrote: Callable[[int], None]) -> None:
        wrote(1)
        failed.wait(10)
        for _ in range(10_000_000):
            wrote(1)
        pytest.fail("it was written to the end")

    with pytest.raises(OSError, match="gone"), flushed_beside(flush, 1) as wrote:
        write(wrote)


def test_a_flush_that_fails_last_is_raised_at_the_end_but_not_in_place_of_an_error_of_the_body() -> None:
    def fails_after(body: Exception | None) -> None:
        failed = threading.Event()

        def flush() -> None:
            failed.set()
            raise OSError("the disk is gone")

        with flushed_beside(flush, 1) as wrote:
            wrote(1)
            failed.wait(10)
            if body:
                raise body

    with pytest.raises(OSError, match="gone"):
        fails_after(None)
    with pytest.raises(KeyError):
        fails_after(KeyError("x"))
