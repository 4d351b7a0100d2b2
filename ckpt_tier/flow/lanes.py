"""Which stream brings which pieces of a file: each a long run of its own, since every request costs its start, and one
that is added later takes over half of what the slowest has still to do."""

import threading
from collections.abc import Iterator, Sequence

WORTH_HALVING = 8
"""Pieces: of less, half is not worth the request that it takes, nor the connection that ends early for it."""


class Lane:
    """Consecutive pieces that one stream brings: it is at the piece `at`, and ends before `end`."""

    def __init__(self, at: int, end: int) -> None:
        self.at = at
        self.end = end


class Lanes:
    """A file's missing pieces. Safe to use from several threads."""

    def __init__(self, missing: Sequence[int], streams: int) -> None:
        """`missing`: indices, ascending. `streams`: among how many they are shared out at first."""
        self._lock = threading.Lock()
        self._waiting = list(_runs(missing, -(-len(missing) // streams)))[::-1]
        self._begun: list[Lane] = []

    def claim(self) -> Lane | None:
        """A lane that nobody has; None if no more is to be had."""
        with self._lock:
            lane = self._waiting.pop() if self._waiting else self._half_of_the_longest()
            if lane is not None:
                self._begun.append(lane)
            return lane

    def advance(self, lane: Lane) -> bool:
        """The lane's piece is done. False if it was the last of it."""
        with self._lock:
            lane.at += 1
            return lane.at < lane.end

    def _half_of_the_longest(self) -> Lane | None:
        longest = max(self._begun, key=lambda lane: lane.end - lane.at, default=None)
        if longest is None or longest.end - longest.at < WORTH_HALVING:
            return None
        middle = (longest.at + longest.end + 1) // 2
        half, longest.end = Lane(middle, longest.end), middle
        return half


def _runs(missing: Sequence[int], most: int) -> Iterator[Lane]:
    """Ascending indices as lanes of consecutive ones, each of at most `most`."""
    lane = None
    for index in missing:
        if lane is None or index != lane.end or lane.end - lane.at == most:
            if lane is not None:
                yield lane
            lane = Lane(index, index)
        lane.end += 1
    if lane is not None:
        yield lane
