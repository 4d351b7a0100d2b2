"""A few threads that read, and that an error or Ctrl-C stops between two requests."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from ckpt_tier.formats.check import Reader

LANES = 4
"""Beyond a few, the line or the processors are full."""

T = TypeVar("T")
U = TypeVar("U")


class Lanes:
    """Does the same with many things. Its end waits for what is under way, and drops the rest."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(LANES)
        self._ends = threading.Event()

    def each(self, do: Callable[[T], U], things: Iterable[T]) -> list[U]:
        """`do` of each thing, in their order. Raises the first error."""
        return list(self._pool.map(do, things))

    def stoppable(self, reader: Reader) -> Reader:
        """`reader`, which reads no more once these lanes end."""
        return _Stoppable(reader, self._ends)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None:
            self._ends.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


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
