"""Several questions at the same time, and an interrupt that waits for none of them."""

import contextlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest

from ckpt_tier.system.asking import answers, computing
from tests.busy import Busy


@pytest.fixture
def silent() -> Iterator[threading.Event]:
    """Set at the end of the test, so that no thread is left behind that waits for it."""
    event = threading.Event()
    yield event
    event.set()


def wait_until(reached: threading.Barrier | threading.Event) -> None:
    assert reached.wait(30) is not False


def wait_for_the_left_behind() -> None:
    for thread in threading.enumerate():
        if thread.name == "ckpt-tier-ask":
            thread.join(30)


def test_the_answers_come_in_the_order_of_the_questions_whatever_order_they_were_given_in() -> None:
    turns = [threading.Event() for _ in range(5)]
    turns[4].set()

    def ask(question: int) -> str:
        wait_until(turns[question])  # the last first
        if question:
            turns[question - 1].set()
        return f"answer {question}"

    assert list(answers(ask, range(5), 5)) == [f"answer {number}" for number in range(5)]


def test_each_answer_is_there_as_soon_as_it_and_all_before_it_have_come(silent: threading.Event) -> None:
    def ask(question: int) -> int:
        if question == 2:
            wait_until(silent)
        return question

    found = answers(ask, range(4), 4)
    assert [next(found), next(found)] == [0, 1]
    silent.set()
    assert list(found) == [2, 3]


def test_never_more_than_allowed_are_asked_at_the_same_time_and_all_are_asked_once() -> None:
    busy, asked = Busy(), []

    def ask(question: int) -> None:
        with busy:
            asked.append(question)
            time.sleep(0.01)

    list(answers(ask, range(20), 4))
    assert sorted(asked) == list(range(20))
    assert 1 < busy.most <= 4


def test_a_single_question_needs_no_thread_and_none_has_no_answer() -> None:
    assert list(answers(lambda _: threading.current_thread(), ["one"], 4)) == [threading.current_thread()]
    assert list(answers(lambda _: threading.current_thread(), [], 4)) == []


def test_after_an_error_no_thread_is_left() -> None:
    both = threading.Barrier(2, timeout=30)

    def ask(question: int) -> None:
        both.wait()
        if question == 0:
            raise ValueError("the first")
        time.sleep(0.2)

    threads = set(threading.enumerate())
    with pytest.raises(ValueError, match="the first"):
        list(answers(ask, range(2), 2))
    assert set(threading.enumerate()) == threads


def test_the_first_error_is_raised_after_the_answers_before_it_and_the_rest_is_not_asked() -> None:
    failed = threading.Event()
    asked = []

    def ask(question: int) -> int:
        asked.append(question)
        if question == 1:
            wait_until(failed)
            raise ValueError("the second")
        if question == 2:
            failed.set()
            raise ValueError("the third, earlier")
        return question

    found = answers(ask, range(1000), 3)
    assert next(found) == 0
    with pytest.raises(ValueError, match="the second"):
        next(found)
    assert len(asked) < 20


def test_an_error_that_is_an_answer_is_not_raised() -> None:
    found = list(answers(ValueError, ["one", "two"], 2))
    assert [str(error) for error in found] == ["one", "two"]


def test_a_signal_ends_the_wait_at_once_and_nothing_more_is_asked(silent: threading.Event) -> None:
    two = threading.Barrier(3, timeout=30)
    asked = []

    def ask(question: int) -> None:
        asked.append(question)
        two.wait()
        silent.wait(60)

    def interrupt() -> None:
        two.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(answers(ask, range(10), 2))
    assert time.monotonic() - begun < 10
    silent.set()
    wait_for_the_left_behind()
    assert sorted(asked) == [0, 1]


def test_an_interrupt_of_whoever_looks_at_an_answer_waits_for_no_other(silent: threading.Event) -> None:
    asked = []

    def ask(question: int) -> int:
        asked.append(question)
        if question:
            silent.wait(60)
        return question

    def look() -> None:
        for _ in answers(ask, range(10), 2):
            raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        look()
    assert time.monotonic() - begun < 10
    silent.set()
    wait_for_the_left_behind()
    assert len(asked) <= 3


def test_an_interrupted_process_ends_without_the_threads_that_wait() -> None:
    script = """
        import signal, threading, _thread
        from ckpt_tier.system.asking import answers

        two = threading.Barrier(2)

        def ask(question):
            two.wait()
            if question == 0:
                _thread.interrupt_main()
            threading.Event().wait()

        try:
            list(answers(ask, range(2), 2))
        except KeyboardInterrupt:
            print("interrupted")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def test_a_pool_that_computes_is_waited_for_at_its_end_and_after_an_error() -> None:
    for error in (None, ValueError()):
        done = threading.Event()

        def work(done: threading.Event = done) -> None:
            time.sleep(0.05)
            done.set()

        with contextlib.suppress(ValueError), computing(2, "computes") as pool:
            pool.submit(work)
            if error:
                raise error
        assert done.is_set()


def test_a_pool_that_computes_is_not_waited_for_after_an_interrupt_and_begins_nothing_more(
    silent: threading.Event,
) -> None:
    futures = []

    def compute() -> None:
        with computing(1, "computes") as pool:
            futures.extend(pool.submit(silent.wait) for _ in range(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute()
    assert not futures[0].done()
    assert futures[1].cancelled()
