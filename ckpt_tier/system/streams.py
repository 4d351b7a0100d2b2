"""The same work in several threads: a fixed number of them, or as many as pay.

One stream over a line with a long way fills a fraction of it, and a second one on a machine whose processors are the
limit only takes turns with the first. So what moves large files begins with few streams and adds more while each of
them is slow and the last addition has helped; and the next file begins with as many as have helped.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

FULL_STREAM = 85_000_000
"""Bytes per second: what S3 is said to give one request, so that a faster one is not held up by its way.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-design-patterns.html"""
LOOK_EVERY = 0.5
"""Seconds over which a rate is measured: long beside a round trip, short beside a transfer that is worth it."""
GAIN = 1.1
"""An addition has helped if all streams together are so many times as fast as before."""

T = TypeVar("T")


def streams_at_first() -> int:
    """As many as there are processors to serve them; two at the least, so that one sends while the other is answered,
    and four at the most, since more are added where they pay."""
    return max(2, min(4, os.cpu_count() or 1))


class Width:
    """How many streams a line was found to be worth: the next transfer over it begins with as many. For any thread."""

    def __init__(self, streams: int) -> None:
        self.streams = streams


class Streams:
    """How many streams a transfer has: as many as the line was found to be worth, then twice as many, and again, while
    that pays; never more than `most`.

    `moved` may be called from any thread, the rest from one.
    """

    def __init__(self, width: Width, most: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.count = min(width.streams, most)
        self.most = most
        self._width = width
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._moved = 0
        self._looked_at = monotonic()
        self._rate = 0.0
        self._may_grow = self.count < most

    def moved(self, count: int) -> None:
        """`count` more bytes went over one of the streams."""
        with self._lock:
            self._moved += count

    @property
    def look_after(self) -> float | None:
        """Seconds until `grow` is to be called again; None for never."""
        return LOOK_EVERY if self._may_grow else None

    def grow(self) -> int:
        """Takes note of what the last addition has brought, and adds streams, if that may pay; how many."""
        now = self._monotonic()
        with self._lock:
            moved, self._moved = self._moved, 0
        rate, self._looked_at = moved / max(now - self._looked_at, 1e-9), now
        if not self._may_grow or rate == 0:  # nothing has come yet, so nothing is known
            return 0
        before, self._rate = self._rate, rate
        has_helped = rate > GAIN * before
        if has_helped:
            self._width.streams = self.count
        each_is_slow = rate < FULL_STREAM * self.count
        added = min(self.count, self.most - self.count) if has_helped and each_is_slow else 0
        self.count += added
        self._may_grow = added > 0
        return added


def in_streams(
    work: Callable[[T], object],
    claim: Callable[[], T | None],
    streams: Streams,
    stopped: threading.Event | None = None,
) -> None:
    """`work` of each thing that `claim` gives, in as many threads as `streams` says, until there is None for any of
    them; both are called from those threads, or from this one where there is to be one only. Raises the first error
    once all threads have ended.

    After an error, or an interrupt of the calling thread, nothing more is claimed, and `stopped` is set for whoever can
    end what is under way.
    """
    stop = stopped or threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            while not stop.is_set() and (thing := claim()) is not None:
                work(thing)
        except BaseException as error:
            errors.append(error)
            stop.set()
            raise

    if streams.most == 1:
        run()
        return
    with ThreadPoolExecutor(streams.most, thread_name_prefix="ckpt-tier-stream") as pool:
        try:
            under_way = {pool.submit(run) for _ in range(streams.count)}
            while under_way and not errors:
                _, under_way = wait(under_way, streams.look_after, FIRST_EXCEPTION)
                if under_way:
                    under_way |= {pool.submit(run) for _ in range(streams.grow())}
        except BaseException:
            stop.set()
            raise
    if errors:
        raise errors[0]


def at_once(work: Callable[[T], object], things: Sequence[T], most: int) -> None:
    """`work` of each thing, of up to `most` at the same time; a single one is done in this thread. Raises the first
    error once what was under way has ended; the rest is not begun."""
    waiting = iter(things)
    count = min(most, max(1, len(things)))
    in_streams(work, lambda: next(waiting, None), Streams(Width(count), count))
