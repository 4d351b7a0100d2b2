"""Several questions at the same time, to whoever may take long to answer, or never does.

A question only reads, so nobody needs to wait for its end. A pool of `concurrent.futures` waits all the same, when its
block is left and once more when the process ends: after Ctrl-C for as long as a silent server may take. So the threads
here are daemons, and whoever is interrupted leaves them behind.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

import msgspec

_LOOK_UP_EVERY = 0.5
"""Seconds. A signal that comes just before a wait begins does not end it, and is seen when it ends by itself."""

Q = TypeVar("Q")
A = TypeVar("A")


class _Failed(msgspec.Struct):
    """Stands for an answer."""

    error: BaseException


class _Questions(Generic[Q, A]):
    """Questions that several threads take in turn, and the answers that one thread waits for."""

    def __init__(self, ask: Callable[[Q], A], questions: Sequence[Q]) -> None:
        self.over = threading.Event()
        self._ask = ask
        self._count = len(questions)
        # An interrupted wait for a SimpleQueue leaves no lock in disorder.
        self._waiting: SimpleQueue[tuple[int, Q]] = SimpleQueue()
        self._answered: SimpleQueue[tuple[int, A | _Failed]] = SimpleQueue()
        for numbered in enumerate(questions):
            self._waiting.put(numbered)

    def ask_in_turn(self) -> None:
        """Asks one after the other, until there are no more, or one of them has failed in any thread."""
        while not self.over.is_set():
            try:
                number, question = self._waiting.get_nowait()
            except Empty:
                return
            try:
                self._answered.put((number, self._ask(question)))
            except BaseException as error:  # noqa: BLE001 (raised again by the one who asked)
                self.over.set()
                self._answered.put((number, _Failed(error)))

    def answers(self) -> Iterator[A]:
        """The answers in the order of the questions, up to the first that failed, whose error is raised: all before it
        were taken before it, and so have an answer."""
        early: dict[int, A | _Failed] = {}
        for number in range(self._count):
            while number not in early:
                with contextlib.suppress(Empty):
                    came, answer = self._answered.get(timeout=_LOOK_UP_EVERY)
                    early[came] = answer
            answer = early.pop(number)
            if isinstance(answer, _Failed):
                raise answer.error
            yield answer


def answers(ask: Callable[[Q], A], questions: Sequence[Q], most: int) -> Iterator[A]:
    """`ask` of each question, of up to `most` at the same time, from threads of their own; a single question is asked
    in this thread. Yields the answers in the order of the questions, each as soon as it and all before it have come.

    Raises the first error, by that order, once what was under way has ended; the rest is not asked. An interrupt of the
    calling thread (KeyboardInterrupt), or of the one who leaves the iterator before its end, is not held up by what is
    under way: that ends by itself, unheard. So `ask` must only read.
    """
    if len(questions) == 1:
        yield ask(questions[0])
        return
    asked = _Questions(ask, questions)
    threads: list[Thread] = []
    try:
        for _ in range(min(most, len(questions))):
            thread = Thread(target=asked.ask_in_turn, name="ckpt-tier-ask", daemon=True)
            thread.start()
            threads.append(thread)
        yield from asked.answers()
    except Exception:
        asked.over.set()
        for thread in threads:
            while thread.is_alive():
                thread.join(_LOOK_UP_EVERY)
        raise
    finally:
        asked.over.set()


@contextlib.contextmanager
def computing(most: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool for those who ask and compute with what they are told, inside libraries that do not bear to have their
    threads ended with the interpreter: so these are no daemons.

    Its end waits for what is under way, and drops the rest; after an interrupt (see `answers`) it waits for nothing.
    Whoever ends the process then must do so at once, with `os._exit`, or Python waits all the same.
    """
    pool = ThreadPoolExecutor(most, thread_name_prefix=name)
    waits = True
    try:
        yield pool
    except BaseException as error:
        waits = isinstance(error, Exception)
        raise
    finally:
        pool.shutdown(wait=waits, cancel_futures=True)
