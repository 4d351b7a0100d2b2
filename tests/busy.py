"""How many threads are at the same work at the same time."""

import threading
from types import TracebackType


class Busy:
    """Entered by each thread for as long as it works; `most` is how many of them there were at once."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._now -= 1
