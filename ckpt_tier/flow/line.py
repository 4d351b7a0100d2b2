"""The deliveries under way, so many at a time that a kill wastes little."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from ckpt_tier.flow.meter import Counting, Pace
from ckpt_tier.journal.journal import Journal
from ckpt_tier.journal.saves import Save

JOBS = 4
"""Pieces in flight, and so the most that a kill can waste: four small checkpoints or files at the same time, or one
large. What is only committed still, after the last of its bytes has gone, takes no place in the line."""


class Line:
    """The line to the cold tier. To be used by one thread; each delivery has a thread of its own."""

    def __init__(self, journal: Journal, pace: Pace) -> None:
        self._journal = journal
        self._pace = pace
        self._pool = ThreadPoolExecutor(2 * JOBS, thread_name_prefix="upload")
        self._deliveries: dict[int, Future[Save | None]] = {}
        self._widths: dict[int, int] = {}
        self._news = threading.Event()

    def close(self) -> None:
        """Returns once no delivery is under way any more; none begins after that."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def rows(self) -> tuple[int, ...]:
        """The journal's rows that are being delivered."""
        return tuple(self._deliveries)

    def has_place_for(self, save: Save) -> bool:
        """Whether the save can be delivered now."""
        used = sum(self._widths.values())
        return used + _width(save) <= JOBS and not self.is_under_way(save)

    def begin(self, save: Save, deliver: Callable[[Pace], Save | None]) -> None:
        """Delivers in a thread. `deliver` returns the row as it ends, None if it was stopped."""
        self._widths[save.id] = _width(save)
        pace = Counting(self._pace, save.size, lambda: self._leaves(save))
        delivery = self._pool.submit(deliver, pace)
        delivery.add_done_callback(lambda _: self._news.set())
        self._deliveries[save.id] = delivery

    def _leaves(self, save: Save) -> None:
        """The last of its bytes has gone."""
        self._widths[save.id] = 0
        self._news.set()

    @property
    def has_ended(self) -> bool:
        """Whether a delivery has ended since the last call of `ended`."""
        return any(delivery.done() for delivery in self._deliveries.values())

    def ended(self) -> Iterator[Save]:
        """The rows of the deliveries that have ended since the last call. Raises what a delivery raised."""
        for row, delivery in list(self._deliveries.items()):
            if delivery.done():
                del self._deliveries[row], self._widths[row]
                save = delivery.result()
                if save is not None:
                    yield save

    def wait(self, seconds: float) -> None:
        """Returns when a delivery ends or leaves a place free, at the latest after so many seconds."""
        self._news.wait(seconds)
        self._news.clear()

    def is_under_way(self, save: Save) -> bool:
        """Whether the same bytes, saved twice, are being sent for their other row: then this one adopts them."""
        rows = [self._journal.get(row) for row in self._deliveries]
        return any((r.series, r.step, r.member) == (save.series, save.step, save.member) for r in rows if r)


def _width(save: Save) -> int:
    """How many pieces of the save are in flight at the same time: a large file fills the line alone."""
    return min(JOBS, sum(len(file.pieces.crcs) if file.pieces else 1 for file in save.files))
