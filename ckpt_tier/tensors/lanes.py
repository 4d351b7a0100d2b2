"""A few threads that read, and that an error or Ctrl-C stops between two requests."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ckpt_tier.formats.check import Reader
from ckpt_tier.system.asking import computing

LANES = 4
"""Beyond a few, the line or the processors are full."""

T = TypeVar("T")
U = TypeVar("U")


class Lanes:
    """Does the same with many things. See `in_lanes`."""

    def __init__(self, pool: ThreadPoolExecutor, ends: threading.Event) -> None:
        self._pool = pool
        self._ends = ends

    def each(self, do: Callable[[T], U], things: Iterable[T]) -> list[U]:
        """`do` of each thing, in their order. Raises the first error."""
        return list(self._pool.map(do, things))

    def stoppable(self, reader: Reader) -> Reader:
        """`reader`, which reads no more once these lanes end."""
        return _Stoppable(reader, self._ends)


@contextlib.contextmanager
def in_lanes() -> Iterator[Lanes]:
    """Their end waits for what is under way, except after Ctrl-C, and drops the rest."""
    ends = threading.Event()
    with computing(LANES, "ckpt-tier-lane") as pool:
        try:
            yield Lanes(pool, ends)
        except BaseException:
            ends.set()
            raise


class _Ended(Exception):  # noqa: N818 (nobody sees it: the error that ended the lanes is raised)
    pass


class _Stoppable:
    def __init__(self, reader: Reader, ends: threading.Event) -> None:
        self._reader = reader
        self._ends = ends

    @property
    def size(self) -> int:
        return self._reader.size

    def read_at(self, offset: int, length: int) -> bytes:
        if self._ends.is_set():
            raise _Ended
        return self._reader.read_at(offset, length)
