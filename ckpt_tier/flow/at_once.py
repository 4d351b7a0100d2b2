"""The same work for many small things, a few at the same time."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

JOBS = 4
"""Pieces in flight, and so the most that a kill can waste: four small checkpoints or files at the same time, or one
large."""

T = TypeVar("T")


def at_once(work: Callable[[T], object], things: Sequence[T], most: int) -> None:
    """`work` of each thing, of up to `most` at the same time; a single one is done in this thread. Raises the first
    error once what was under way has ended; the rest is not begun."""
    if len(things) < 2:
        for thing in things:
            work(thing)
        return
    with ThreadPoolExecutor(most, thread_name_prefix="at-once") as pool:
        futures = [pool.submit(work, thing) for thing in things]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for future in futures:
        if not future.cancelled():
            future.result()
