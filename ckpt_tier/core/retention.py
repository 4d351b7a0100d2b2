"""Which checkpoints of one series retention keeps, and every reason why. Pure: values in, values out.

A policy is a few rules, each a small value. A checkpoint that any rule keeps is kept; one that no rule keeps is
removable. Whatever the rules, the newest is kept, and a policy without rules keeps everything. Pins and holds are
stronger than any policy and are looked at by the callers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

import msgspec

from ckpt_tier.core.units import format_duration

NO_POLICY = "there is no retention policy"
NEWEST = "the newest"


class Dated(Protocol):
    """What it takes to say which of some checkpoints is the newest."""

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


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy decides by. Only what is valid: neither rejected nor unfinished saves are ever counted.

    Attributes:
        saved_at: seconds since the epoch.
        abandoned: it lies on a branch that training has left; such a one never counts as the newest.
    """

    series: str
    step: int
    saved_at: float
    generation: str = ""
    metrics: Mapping[str, float] = {}
    abandoned: bool = False


class Rule(Protocol):
    """One reason to keep checkpoints."""

    def keeps(self, checkpoints: Sequence[Checkpoint], now: float) -> Mapping[int, str]:
        """Which of one series' checkpoints the rule keeps, by their place in the list, and why."""
        ...

    @property
    def else_reason(self) -> str:
        """Why the rule does not keep another one."""
        ...


class KeepLast(msgspec.Struct, frozen=True):
    """Keeps the newest `count` by time of saving and by step."""

    count: int

    def keeps(self, checkpoints: Sequence[Checkpoint], now: float) -> Mapping[int, str]:
        return dict.fromkeys(_newest_places(checkpoints, self.count), f"one of the newest {self.count}")

    def __str__(self) -> str:
        return f"keep_last = {self.count}"

    @property
    def else_reason(self) -> str:
        return f"not one of the newest {self.count}"


class KeepEvery(msgspec.Struct, frozen=True):
    """Keeps the steps that `steps` divides, as trainers mean "every 50,000 steps"; step 0 is one of them."""

    steps: int

    def keeps(self, checkpoints: Sequence[Checkpoint], now: float) -> Mapping[int, str]:
        reason = f"a multiple of {self.steps:,} steps"
        return {place: reason for place, each in enumerate(checkpoints) if each.step % self.steps == 0}

    def __str__(self) -> str:
        return f"keep_every = {self.steps}"

    @property
    def else_reason(self) -> str:
        return f"no multiple of {self.steps:,} steps"


class KeepBest(msgspec.Struct, frozen=True):
    """Keeps the `count` best by a metric; of equals the newer. One without the metric, or for which it is no finite
    number, is never among the best; other rules may keep it."""

    metric: str
    mode: Literal["min", "max"]
    count: int = 1

    def keeps(self, checkpoints: Sequence[Checkpoint], now: float) -> Mapping[int, str]:
        sign = 1 if self.mode == "min" else -1
        known = [
            (sign * value, -each.saved_at, -each.step, each.generation, place)
            for place, each in enumerate(checkpoints)
            if math.isfinite(value := each.metrics.get(self.metric, math.nan))
        ]
        return {place: f"one of the {self._best}" for *_, place in sorted(known)[: self.count]}

    def __str__(self) -> str:
        return f"keep_best = {self.metric}, {self.mode}, {self.count}"

    @property
    def else_reason(self) -> str:
        return f"not one of the {self._best}"

    @property
    def _best(self) -> str:
        return f"{self.count} best by {self.metric} ({self.mode})"


class KeepFor(msgspec.Struct, frozen=True):
    """Keeps what was saved within `seconds` of the newest save of its series.

    Of the newest save, not of now: a training that pauses for a month does not lose its history to the calendar, and
    pruning twice removes what pruning once does. A time in the future is some machine's wrong clock and does not
    count as the newest; where there is no other, nothing is called old.
    """

    seconds: float

    def keeps(self, checkpoints: Sequence[Checkpoint], now: float) -> Mapping[int, str]:
        times = (checkpoints[place].saved_at for place in _alive(checkpoints))
        latest = max((saved_at for saved_at in times if saved_at <= now), default=-math.inf)
        reason = f"saved within {self._span} of the newest"
        return {place: reason for place, each in enumerate(checkpoints) if each.saved_at >= latest - self.seconds}

    def __str__(self) -> str:
        return f"keep_for = {format_duration(self.seconds)}"

    @property
    def else_reason(self) -> str:
        return f"saved more than {self._span} before the newest"

    @property
    def _span(self) -> str:
        return format_duration(self.seconds)


class Verdict(msgspec.Struct, frozen=True):
    """What a policy says of one checkpoint: all reasons to keep it, or all reasons why none applies."""

    checkpoint: Checkpoint
    kept: bool
    reasons: tuple[str, ...]


class Policy(msgspec.Struct, frozen=True):
    """Rules combined by "or". Without any, everything is kept."""

    rules: tuple[KeepLast | KeepEvery | KeepBest | KeepFor, ...] = ()

    def judge(self, checkpoints: Sequence[Checkpoint], now: float) -> list[Verdict]:
        """A verdict for each, in the order given; each series is judged by itself. `now` in seconds since the epoch."""
        verdicts: dict[int, Verdict] = {}
        places: dict[str, list[int]] = {}
        for place, each in enumerate(checkpoints):
            places.setdefault(each.series, []).append(place)
        for members in places.values():
            judged = self._judge_series([checkpoints[place] for place in members], now)
            verdicts |= dict(zip(members, judged, strict=True))
        return [verdicts[place] for place in range(len(checkpoints))]

    def _judge_series(self, checkpoints: Sequence[Checkpoint], now: float) -> list[Verdict]:
        if not self.rules:
            return [Verdict(each, True, (NO_POLICY,)) for each in checkpoints]
        kept_by = [rule.keeps(checkpoints, now) for rule in self.rules]
        last = set(_newest_places(checkpoints, 1))
        against = tuple(rule.else_reason for rule in self.rules)
        verdicts = []
        for place, each in enumerate(checkpoints):
            reasons = tuple(kept[place] for kept in kept_by if place in kept)
            if place in last and not reasons:
                reasons = (NEWEST,)
            verdicts.append(Verdict(each, bool(reasons), reasons or against))
        return verdicts


class _Placed(msgspec.Struct, frozen=True):
    step: int
    saved_at: float
    place: int


def _newest_places(checkpoints: Sequence[Checkpoint], count: int) -> list[int]:
    """Where the newest `count` stand, the same whatever the order of the list."""
    alive = sorted(_alive(checkpoints), key=lambda place: checkpoints[place].generation)
    placed = [_Placed(checkpoints[place].step, checkpoints[place].saved_at, place) for place in alive]
    return [each.place for each in newest(placed, count)]


def _alive(checkpoints: Sequence[Checkpoint]) -> Sequence[int]:
    """Where those stand that may be the newest: on training's own branch, or all if none is on it."""
    alive = [place for place, each in enumerate(checkpoints) if not each.abandoned]
    return alive or range(len(checkpoints))
