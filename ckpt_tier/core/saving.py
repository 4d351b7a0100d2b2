"""Whether to save now, and why: the rules of `[save]`, held against what was saved before. Pure.

A rule that asks for a save is enough. Before all of them stands `min_gap`, and only a request from outside is stronger
than that; after all of them the room on the disk, because a save that does not fit is cut short.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

import msgspec

from ckpt_tier.core.metrics import Best
from ckpt_tier.core.units import format_duration, format_size, parse_duration
from ckpt_tier.errors import UsageError

_STEPS = re.compile(r"\s*(\d[\d_]{0,20})\s*steps?\s*")


class Gap(msgspec.Struct, frozen=True):
    """A distance between two saves: one of the two is set."""

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "500 steps" or "10m"; raises UsageError."""
        if match := _STEPS.fullmatch(text):
            return cls(steps=int(match[1]))
        try:
            return cls(seconds=parse_duration(text))
        except UsageError as error:
            raise UsageError(f"{text!r} is no gap", fix='write it like "500 steps" or "10m"') from error


class SaveRules(msgspec.Struct, frozen=True):
    """`[save]`: when `Tier.should_save` says yes. `every` is steps, `interval` seconds."""

    every: int | None = None
    interval: float | None = None
    best: Best | None = None
    min_gap: Gap | None = None


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """One save as it is found on the hot tier; `saved_at` in seconds since the epoch, `size` in bytes."""

    step: int
    saved_at: float
    size: int
    metrics: Mapping[str, float] = {}


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What was saved before, as far as the next save depends on it.

    Attributes:
        step, at: of the last save, else from where on this training is known; seconds since the epoch.
        is_saved: whether it is a save.
        best: the best value of `SaveRules.best` among the saves; None before the first.
        size: bytes of the last save; None before the first.
    """

    step: int
    at: float
    is_saved: bool = False
    best: float | None = None
    size: int | None = None

    def after(self, step: int, now: float, best: float | None, size: int | None = None) -> Self:
        """With a save of `step` that is made now; `size` None if it is not known yet."""
        return msgspec.structs.replace(self, step=step, at=now, is_saved=True, best=best, size=size or self.size)

    def begun(self, step: int, now: float) -> Self:
        """Of a training that asks first at `step`, or that went back to it: what it did before is not known, and what
        lies ahead is of another branch. But the best is still the best there is."""
        return msgspec.structs.replace(self, step=max(step - 1, 0), at=now, is_saved=False)


class Decision(msgspec.Struct, frozen=True):
    """Whether to save now: true or false, and `str` gives the reason.

    `no_room`: it would be yes, if the disk had room for it.
    """

    save: bool
    reason: str
    no_room: bool = False

    def __bool__(self) -> bool:
        return self.save

    def __str__(self) -> str:
        return self.reason


def history_of(saves: Iterable[Saved], best: Best | None, step: int, now: float) -> History:
    """The history of a training that asks for the first time, at `step`."""
    every = sorted(saves, key=lambda each: (each.saved_at, each.step))
    history = History(step=step, at=now)
    for each in every:
        history = msgspec.structs.replace(
            history, size=each.size, best=better(best, each.metrics, history.best), step=each.step, at=each.saved_at
        )
    if every and every[-1].step <= step:
        return msgspec.structs.replace(history, is_saved=True)
    if any(each.step == step for each in every):  # gone back to a step that is there
        return msgspec.structs.replace(history, step=step, at=now, is_saved=True)
    return history.begun(step, now)


def better(best: Best | None, metrics: Mapping[str, float], than: float | None) -> float | None:
    """The better one of `than` and the value among `metrics`, as far as they are there and finite."""
    value = metrics.get(best.metric, math.nan) if best else math.nan
    if best is None or not math.isfinite(value):
        return than
    return value if than is None or best.is_better(value, than) else than


def decide(
    step: int,
    metrics: Mapping[str, float],
    rules: SaveRules,
    history: History,
    now: float,
    *,
    free: int | None = None,
    asked: str = "",
) -> Decision:
    """Whether to save at `step`, which is not before that of `history`.

    Args:
        now: seconds since the epoch.
        free: bytes free on the hot tier; None if that is not known.
        asked: who asked for a save from outside ("SIGUSR1"); empty if nobody did.
    """
    decision = _wanted(step, metrics, rules, history, now, asked)
    if decision and free is not None and history.size is not None and history.size > free:
        room = f"a save takes {format_size(history.size)}, {format_size(free)} are free"
        return Decision(False, f"no room: {room} ({decision})", no_room=True)
    return decision


def _wanted(
    step: int, metrics: Mapping[str, float], rules: SaveRules, history: History, now: float, asked: str
) -> Decision:
    if history.is_saved and step == history.step:
        return Decision(False, f"step {step} is saved already")
    if asked:
        return Decision(True, f"asked for by {asked}")
    # A time in the future is some machine's wrong clock: however far off, it must not keep training from saving.
    elapsed = abs(now - history.at)
    if too_early := _too_early(step, elapsed, rules.min_gap, history):
        return Decision(False, too_early)
    against = []
    for verdict in _verdicts(step, elapsed, metrics, rules, history):
        if verdict:
            return verdict
        against.append(verdict.reason)
    return Decision(False, "; ".join(against) or "no rule under [save] applies")


def _too_early(step: int, elapsed: float, gap: Gap | None, history: History) -> str:
    if gap is None or not history.is_saved:
        return ""
    if gap.steps is not None and step - history.step < gap.steps:
        return f"only {_steps(step - history.step)} since step {history.step} (min_gap {_steps(gap.steps)})"
    if gap.seconds is not None and elapsed < gap.seconds:
        return f"only {format_duration(elapsed)} since step {history.step} (min_gap {format_duration(gap.seconds)})"
    return ""


def _verdicts(
    step: int, elapsed: float, metrics: Mapping[str, float], rules: SaveRules, history: History
) -> Iterator[Decision]:
    """What each rule that there is says."""
    since = f"step {history.step}" if history.is_saved else "training began"
    if rules.best is not None and rules.best.metric in metrics:
        yield _by_metric(rules.best, metrics[rules.best.metric], history.best)
    if rules.every is not None:
        # Not "step % every": a training that asks at 4,998 and then at 5,003 means to save at 5,003.
        due = (history.step // rules.every + 1) * rules.every
        if step >= due:
            yield Decision(True, f"step {due} of every {_steps(rules.every)}")
        else:
            yield Decision(False, f"step {due} is the next of every {_steps(rules.every)}")
    if rules.interval is not None:
        told = f"{format_duration(elapsed)} since {since} (interval {format_duration(rules.interval)})"
        yield Decision(elapsed >= rules.interval, told)


def _by_metric(best: Best, value: float, before: float | None) -> Decision:
    told = f"{best.metric} {value:.6g}"
    if not math.isfinite(value):
        return Decision(False, f"{told} is not a finite number")
    if before is None:
        return Decision(True, f"{told} is the first")
    if best.is_better(value, before):
        return Decision(True, f"{told} is a new best ({best.mode}), before it was {before:.6g}")
    return Decision(False, f"{told} is no better than {before:.6g} ({best.mode})")


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count:,} steps"
