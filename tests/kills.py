"""Killing the program at its N-th touch of the world, inside one process: fast, repeatable, and everywhere.

`tests/crash` kills real processes.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest

from ckpt_tier.flow import evict, evict_set, fetch, ingest, line, placing, prune, reclaim, restore
from ckpt_tier.inbox import Inbox
from ckpt_tier.journal.journal import Journal
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.system import asking, streams

STRIDE = 7
"""Of so many moments to die at, a fast run has one. It is odd: touches come in pairs, before and after a call."""


def dying_at(counts: range, name: str = "count") -> pytest.MarkDecorator:
    """A test that dies at each of these touches."""
    return pytest.mark.parametrize(
        name, [pytest.param(count, marks=[pytest.mark.slow] if n % STRIDE else []) for n, count in enumerate(counts)]
    )


class Kill(BaseException):
    """Nobody catches it, as nobody catches a SIGKILL."""


TOUCHES: list[tuple[Any, str]] = [
    (FolderStore, "put"),
    (FolderStore, "upload"),
    (FolderStore, "stat"),
    (FolderStore, "get"),
    (FolderStore, "read"),
    (fetch, "write_all"),
    (FolderStore, "refresh"),
    (FolderStore, "delete"),
    (Journal, "put"),
    (Journal, "amend"),
    (Journal, "forget"),
    (Inbox, "resolve"),
    (Inbox, "release"),
    (Inbox, "release_spare"),
    (evict, "rename_no_replace"),
    (evict, "is_open_for_writing"),
    (evict, "lose"),
    (evict_set, "rename_no_replace"),
    (evict_set, "fsync_folder"),
    (evict_set, "_remove"),
    (ingest, "validate"),
    (ingest, "rename_no_replace"),
    (placing, "write_atomic"),
    (placing, "publish"),
    (restore, "hold"),
    (fetch, "flush"),
]


class Countdown:
    """Raises Kill at the N-th touch, and at each later one: the dead do nothing."""

    def __init__(self, count: int) -> None:
        self.left = count
        self._lock = threading.Lock()

    def tick(self) -> None:
        with self._lock:
            self.left -= 1
            if self.left < 0:
                raise Kill

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            result = call(*args, **kwargs)
            self.tick()
            return result

        return counted


class InTurn(ThreadPoolExecutor):
    """A pool that does its work at once and in turn: with it the N-th touch is the same in every run."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 (as the real one does)
            future.set_exception(error)
        return future


class AtOnce(threading.Thread):
    """A thread that has done its work when it has been started, in the one that started it."""

    def start(self) -> None:
        self.run()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, uploads, deletions and questions happen in the thread that decides."""
    with contextlib.ExitStack() as stack:
        for module in (streams, line, prune, reclaim):
            stack.enter_context(mock.patch.object(module, "ThreadPoolExecutor", InTurn))
        stack.enter_context(mock.patch.object(asking, "Thread", AtOnce))
        yield


@contextlib.contextmanager
def killed_at(count: int) -> Iterator[Countdown]:
    """Inside, the program dies at its touch number `count`; the Kill ends here. Two touches are one call: before it
    and after it."""
    countdown = Countdown(count)
    with contextlib.ExitStack() as stack:
        for owner, name in TOUCHES:
            stack.enter_context(mock.patch.object(owner, name, countdown.around(getattr(owner, name))))
        with contextlib.suppress(Kill):
            yield countdown
