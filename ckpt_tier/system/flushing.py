"""A large file flushed while it is written, not only at its end."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor


@contextlib.contextmanager
def flushed_beside(flush: Callable[[], object], every: int) -> Iterator[Callable[[int], None]]:
    """Calls `flush` in a second thread whenever `every` more bytes were written, of which it hears by what is yielded,
    from any thread. So little is left to be flushed at the end, and dirty pages that others on the machine would have
    to wait for don't pile up.

    What `flush` raises is raised by the next report, or at the end of the body. The thread has ended then.
    """
    lock = threading.Lock()
    unflushed = 0
    due, over = threading.Event(), threading.Event()

    def wrote(count: int) -> None:
        nonlocal unflushed
        with lock:
            unflushed += count
            if unflushed < every:
                return
            unflushed = 0
        if flushing.done():
            flushing.result()
        due.set()

    def work() -> None:
        while due.wait() and not over.is_set():
            due.clear()
            flush()

    with ThreadPoolExecutor(1, thread_name_prefix="ckpt-tier-flush") as pool:
        flushing = pool.submit(work)
        try:
            yield wrote
        finally:
            over.set()
            due.set()
    flushing.result()
