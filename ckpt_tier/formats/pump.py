"""Turns a format's description, written as a walk through the file, into something that takes bytes as they come.

A walk is a generator: it yields what it wants next (`take` some bytes and get them, `skip` some, pass some `into` a
function) and so reads like the format itself, though the bytes arrive in blocks that know nothing of it.
"""

from collections.abc import Callable, Generator

import msgspec

from ckpt_tier.formats.check import Rejected

Sink = Callable[[memoryview], None]


class Want(msgspec.Struct, frozen=True):
    """The next `count` bytes: into `sink`, or kept and sent to the walk, or dropped."""

    count: int
    sink: Sink | None = None
    keep: bool = False


Walk = Generator[Want, bytes, None]


def take(count: int) -> Want:
    """The next `count` bytes are the value of the yield; keep it small, they are held in memory."""
    return Want(count, keep=True)


def skip(count: int) -> Want:
    """The next `count` bytes don't matter."""
    return Want(count)


def into(count: int, sink: Sink) -> Want:
    """The next `count` bytes go to `sink`, in blocks of any size."""
    return Want(count, sink)


class Pump:
    """Feeds a walk. Not thread-safe."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._kept = bytearray()
        self._left = 0
        self._want: Want | None = next(walk)
        self._left = self._want.count
        if self._left == 0:
            self._go_on()

    def feed(self, data: memoryview) -> None:
        """The next bytes in order; what comes after the walk's end is ignored."""
        while len(data) and self._want is not None:
            part = data[: self._left]
            if self._want.keep:
                self._kept += part
            elif self._want.sink is not None:
                self._want.sink(part)
            self._left -= len(part)
            data = data[len(part) :]
            if self._left == 0:
                self._go_on()

    def finish(self) -> None:
        """Raises Rejected when the walk is not at its end."""
        if self._want is not None:
            raise Rejected("truncated: the file ends before its last record does")

    def _go_on(self) -> None:
        while self._left == 0:
            kept = bytes(self._kept)
            self._kept.clear()
            try:
                self._want = self._walk.send(kept)
            except StopIteration:
                self._want = None
                return
            self._left = self._want.count
