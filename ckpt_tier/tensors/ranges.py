"""A file that is read by few large ranges, each of which costs a request: what was read is kept for small reads nearby.

Of a checkpoint file that is two requests as a rule: its head and its end; of one with thousands of tensors four, since
neither its pickle nor its directory fits into those.
"""

import threading
from collections.abc import Callable, Iterable

import msgspec

from ckpt_tier.formats.check import Rejected

AHEAD = 128 * 2**10
"""Bytes of a request at the least: the pickle and the directory of some hundred tensors. S3 sends them in the time that
it takes to answer at all."""
BEHIND = 4096
"""Bytes that are read beyond a longer range: the small records of a torch archive that follow its pickle."""
_KEPT = 16 * 2**20
"""Bytes that are kept at the most."""
_COUNTING = threading.Lock()


class Cost(msgspec.Struct):
    """What reading has cost so far, in all files of a checkpoint."""

    requests: int = 0
    read_bytes: int = 0

    def count(self, read_bytes: int) -> None:
        """One more request. Safe from any thread."""
        with _COUNTING:
            self.requests += 1
            self.read_bytes += read_bytes


class Ranges:
    """A `formats.check.Reader` over `fetch(offset, length)`, which gives exactly that range. For one thread.

    `ahead`: bytes of a request at the least; 0 for whoever knows exactly what is wanted.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], bytes], cost: Cost) -> None:
        self.ahead = AHEAD
        self._size = size
        self._fetch = fetch
        self._cost = cost
        self._kept: list[tuple[int, bytes]] = []

    @property
    def size(self) -> int:
        return self._size

    def kept(self) -> tuple[tuple[int, bytes], ...]:
        """The small ones of the blocks that it keeps, for `keep` of another reader of the same file."""
        return tuple((begin, block) for begin, block in self._kept if len(block) <= AHEAD)

    def keep(self, blocks: Iterable[tuple[int, bytes]]) -> None:
        """Lets these blocks stand for what would else be read again."""
        self._kept += blocks

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes; raises Rejected when the file ends before, and what `fetch` raises."""
        if offset < 0 or length < 0 or offset + length > self._size:
            raise Rejected(f"truncated: bytes {offset} to {offset + length} are asked for, the file has {self._size}")
        for begin, block in self._kept:
            if begin <= offset and offset + length <= begin + len(block):
                return block[offset - begin : offset - begin + length]
        # Near the end of the file the request grows toward the front: directories are read from their end.
        begin = max(0, min(offset, self._size - self.ahead))
        behind = BEHIND if self.ahead and length + BEHIND <= _KEPT else 0
        end = min(self._size, max(offset + length + behind, begin + self.ahead))
        block = self._fetch(begin, end - begin)
        self._cost.count(len(block))
        if len(block) <= _KEPT:
            self._kept.append((begin, block))
            while sum(len(kept) for _, kept in self._kept) > _KEPT:
                del self._kept[0]
        return block[offset - begin : offset - begin + length]
