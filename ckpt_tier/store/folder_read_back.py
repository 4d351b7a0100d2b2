"""A file's pieces read back past the cache, by whoever asks or beside what it does meanwhile."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ckpt_tier.errors import IntegrityError
from ckpt_tier.store.protocol import READ_BLOCK, Watch
from ckpt_tier.system.digests import crc64nvme
from ckpt_tier.system.durable import forget_cached

Cut = list[tuple[int, int, int]]
"""(offset, length, CRC) of neighbouring pieces."""


def good_pieces(descriptor: int, cut: Cut, tick: Callable[[], None]) -> int:
    """How many of the pieces, from the first on, the file has, by reading what is flushed past the cache. `tick` is
    called after each block and may raise."""
    if cut:
        forget_cached(descriptor, cut[0][0], span(cut))
    size = os.fstat(descriptor).st_size
    buffer = memoryview(bytearray(min(READ_BLOCK, max(size, 1))))
    for number, (offset, length, expected) in enumerate(cut):
        if offset + length > size:
            return number
        crc = 0
        for position in range(offset, offset + length, READ_BLOCK):
            block = buffer[: offset + length - position]
            count = os.preadv(descriptor, [block], position)
            crc = crc64nvme(block[:count], crc)
            tick()
        if crc != expected:
            return number
    return len(cut)


def prove(descriptor: int, path: Path, cut: Cut, tick: Callable[[], None]) -> None:
    """Reads flushed pieces back; raises IntegrityError when they are not what was written. `tick` as above."""
    if good_pieces(descriptor, cut, tick) != len(cut):
        raise IntegrityError(
            f"{path} came back with other bytes than were written",
            "",
            "check the disk or mount; it is written anew",
        )


@contextlib.contextmanager
def proving_beside(descriptor: int, path: Path, cut: Cut, watch: Watch) -> Iterator[None]:
    """Reads flushed pieces back in a second thread while the body runs, and raises at its end what `prove` raises. An
    error of the body comes before that, and ends the reading. Either way the thread has ended.

    `watch` is called by the first thread alone: for an `ApartStore` it is one conversation.
    """
    if not cut:
        yield
        return
    has_read, no_more = threading.Event(), threading.Event()

    def tick() -> None:
        has_read.set()
        if no_more.is_set():
            raise _NobodyWaits

    with ThreadPoolExecutor(1, thread_name_prefix="ckpt-tier-read-back") as pool:
        reading = pool.submit(prove, descriptor, path, cut, tick)
        reading.add_done_callback(lambda _: has_read.set())
        try:
            yield
            while not reading.done():
                # Without a timeout: a mount that hangs must not look alive.
                has_read.wait()
                has_read.clear()
                watch.moved(0)
        finally:
            no_more.set()
    reading.result()


def span(cut: Cut) -> int:
    """Bytes of the pieces together."""
    return sum(length for _, length, _ in cut)


class _NobodyWaits(Exception):  # noqa: N818 (nobody sees it: the error that ended the body is raised)
    pass
