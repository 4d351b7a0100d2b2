"""Reading an object's bytes once, in order, through answers that may break off."""

import contextlib
from collections.abc import Callable

from ckpt_tier.store.protocol import Store


class Reading:
    """The bytes from `position` to `end` of one object, each given to `take` once. To be used by one thread.

    `take` may set `end` to less: then the reading ends there, and the rest of the block is of no interest.
    """

    def __init__(self, store: Store, key: str, position: int, end: int, take: Callable[[memoryview], object]) -> None:
        self._store = store
        self._key = key
        self.position = position
        self.end = end
        self._take = take

    def go_on(self, most: int | None = None) -> None:
        """Reads to the end, or `most` bytes, in one request. After an error another call goes on behind what was taken.

        Raises what `ckpt_tier.store.protocol.Store.read` raises, and what `take` does.
        """
        length = self.end - self.position
        length = length if most is None else min(length, most)
        with contextlib.closing(self._store.read(self._key, self.position, length)) as blocks:
            for block in blocks:
                self._take(block)
                self.position = min(self.end, self.position + len(block))
                if self.is_done:
                    return

    @property
    def is_done(self) -> bool:
        return self.position >= self.end
