"""Which checkpoints of one series retention keeps. Pure: values in, values out."""

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Dated(Protocol):
    """What retention needs to know of a checkpoint."""

    @property
    def step(self) -> int: ...

    @property
    def saved_at(self) -> float:
        """Seconds since the epoch."""
        ...


D = TypeVar("D", bound=Dated)


def newest(checkpoints: Iterable[D], count: int) -> list[D]:
    """The `count` newest by time of saving, and the `count` newest by step: where a rollback makes the two orders
    disagree, both are protected. Without a rollback these are the same `count` checkpoints."""
    every = list(checkpoints)
    by_time = sorted(every, key=lambda c: (c.saved_at, c.step), reverse=True)[:count]
    by_step = sorted(every, key=lambda c: (c.step, c.saved_at), reverse=True)[:count]
    return by_time + [c for c in by_step if c not in by_time]
