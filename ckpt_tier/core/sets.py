"""Which shares make one checkpoint. Pure, and the same for everybody who sees the same shares.

Shares of different saves are never mixed. Those with a save id belong together when they have the same; those without,
when they were saved within the window. Never when the passes of the training contradict: a process that was started
only after another had saved belongs to a later pass. What can't be told apart waits, and is reported.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec

from ckpt_tier.core.nouns import Pass


class Share(Protocol):
    """One rank's share of a step, as far as this decision goes."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    @property
    def save_id(self) -> str | None: ...

    @property
    def saved(self) -> float:
        """Seconds since the epoch."""
        ...

    @property
    def during(self) -> Pass | None: ...

    @property
    def member_id(self) -> str: ...


S = TypeVar("S", bound=Share)


class Waiting(msgspec.Struct, frozen=True):
    """The set is not whole: why, as a clause. `ambiguous`: time alone will not help."""

    why: str
    ambiguous: bool = False


def set_of(mine: S, shares: Iterable[S], *, window: float, now: float) -> tuple[S, ...] | Waiting:
    """The whole set that `mine` belongs to, by rank; or what it waits for.

    `shares` are all that are known of the step, `mine` among them; `window` in seconds. Shares that were found by
    scanning are only told apart by time, so their set is settled once nobody can join it any more, at `now`.
    """
    known = sorted(shares, key=lambda each: each.saved)
    company = _company(mine, known, window)
    twice = sorted(rank for rank, candidates in company.items() if len(candidates) > 1)
    if twice:
        why = f"{say_ranks(twice)} saved it more than once, and nobody can tell which belong together"
        return Waiting(why, ambiguous=True)
    missing = [rank for rank in range(mine.world_size) if rank not in company]
    if missing:
        others = sorted({each.rank for each in known if _is_near(mine, each, window)}.intersection(missing))
        if others:
            why = f"{say_ranks(others)} saved it in another pass of the training than rank {mine.rank}"
            return Waiting(f"{why}, as far as anybody can tell without a save id", ambiguous=True)
        return waiting_for(missing, mine.world_size)
    whole = tuple(next(iter(company[rank].values())) for rank in range(mine.world_size))
    if any(_company(share, known, window) != company for share in whole):
        return Waiting("its shares can't be told from those of another save", ambiguous=True)
    open_until = max(share.saved for share in whole) + window
    if mine.save_id is None and any(share.during is None for share in whole) and now < open_until:
        return Waiting(f"waits {open_until - now:.0f} s, in case a rank saves it again")
    return whole


def waiting_for(missing: Sequence[int], world_size: int) -> Waiting:
    """What is said of a set that lacks these ranks."""
    return Waiting(f"waits for {say_ranks(missing)} of {world_size}")


def _company(mine: S, shares: Iterable[S], window: float) -> dict[int, dict[str, S]]:
    """By rank and member: what may belong to the same save. Of the same bytes saved again, the last."""
    by_rank: defaultdict[int, dict[str, S]] = defaultdict(dict)
    for share in shares:
        if _may_belong(mine, share, window):
            by_rank[share.rank][share.member_id] = share
    return dict(by_rank)


def _may_belong(one: S, other: S, window: float) -> bool:
    return _is_near(one, other, window) and not _passes_differ(one, other)


def _is_near(one: Share, other: Share, window: float) -> bool:
    """Whether two shares have the same save id, or none and nearly the same time."""
    if (one.world_size, one.save_id) != (other.world_size, other.save_id):
        return False
    return one.save_id is not None or abs(one.saved - other.saved) <= window


def _passes_differ(one: S, other: S) -> bool:
    for first, second in ((one, other), (other, one)):
        if first.during is not None and first.during.started_at > second.saved:
            return True
    return one.during is not None and other.during is not None and one.during.number != other.during.number


def say_ranks(ranks: Sequence[int]) -> str:
    """ "rank 1", "ranks 1, 2"; of many the first eight."""
    shown = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
    return f"rank {shown}" if len(ranks) == 1 else f"ranks {shown}"
