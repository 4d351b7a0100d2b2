"""What `estimate` asks: what was given counts first, then what the training's own folder shows, then an assumption, and
what was not given is said. Changes nothing, and asks the cold tier nothing."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ckpt_tier.config import Config, default_state_dir
from ckpt_tier.config.model import HotConfig
from ckpt_tier.core.estimate import (
    Assumption,
    Estimate,
    Keep,
    Training,
    largest_keep,
    least_every_that_all_fit,
    variants,
)
from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.errors import UsageError
from ckpt_tier.flow.measure import Measured, measure
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.recognise import recognise
from ckpt_tier.hot.scan import Scan, scan
from ckpt_tier.hot.space import space
from ckpt_tier.journal.journal import Facts, peek

UPLINK = 100 * 10**6
"""Bytes per second, where none is known: about what a line of 1 Gbit/s carries."""


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller knows, each above 0; None stands for not given. Sizes in bytes, `interval` in seconds between
    saves, `uplink` in bytes per second, `price` of 10^9 bytes for a month; `budget` is what checkpoints may take on the
    hot tier."""

    steps: int | None = None
    every: int | None = None
    size: int | None = None
    keep: Keep | None = None
    series: int | None = None
    interval: float | None = None
    uplink: int | None = None
    price: float | None = None
    budget: int | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What there is.

    Attributes:
        folder: the hot folder, or, where there is none, the one whose disk is meant.
        config: of that hot folder; None if it has none.
        measured: None where there are no checkpoints, and then `why_not` says why, as a clause.
        problems: what could not be looked at, in whole clauses.
        upload_rate: bytes per second over the latest uploads; 0 before the first.
        free, total: bytes of the folder's disk.
    """

    folder: Path
    config: Config | None
    measured: Measured | None
    why_not: str
    problems: tuple[str, ...]
    upload_rate: int
    free: int
    total: int

    @property
    def hot(self) -> HotConfig:
        """`[hot]`, with its defaults where there is no configuration."""
        return self.config.hot if self.config else HotConfig(path=self.folder)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The estimates, and what they rest on. `largest_keep`: the most that fits the room, 0 if not even one does;
    `every_if_all`: the highest frequency at which all fit, None if not even one save does."""

    training: Training
    every: int
    keep: Keep
    estimates: tuple[Estimate, ...]
    largest_keep: int
    every_if_all: int | None
    assumptions: tuple[Assumption, ...]
    problems: tuple[str, ...]

    @property
    def asked(self) -> Estimate:
        """The estimate of what was asked for."""
        return next(each for each in self.estimates if (each.every, each.keep) == (self.every, self.keep))


def look(folder: Path | None, config: Config | None, *, env: Mapping[str, str], cwd: Path) -> Seen:
    """Looks at `folder`, else at the configuration's hot folder, else only at the disk of `cwd`.

    Raises UsageError if `folder` is none, ConfigError (the configured layout is wrong).
    """
    where = cwd / folder if folder else config.hot.path if config else cwd
    if folder and not where.is_dir():
        raise UsageError(f"there is no folder {folder}", fix="give the one that training saves into, or leave it out")
    if config and os.path.realpath(where) != os.path.realpath(config.hot.path):
        config = None
    hot = config.hot if config else HotConfig(path=where)
    seen, why_not = _scanned(hot) if folder or config else (None, "there is no configuration, and no FOLDER was given")
    state_dir = config.state_dir if config else default_state_dir(where, env)
    _, facts = peek(state_dir) or ([], Facts())
    disk = space(next(each for each in (where, *where.parents) if each.exists()))
    return Seen(
        folder=where,
        config=config,
        measured=measure(seen.copies) if seen else None,
        why_not=why_not,
        problems=seen.problems if seen else (),
        upload_rate=round(facts.upload_bytes_per_second),
        free=disk.free,
        total=disk.total,
    )


def answer(given: Given, seen: Seen) -> Answer:
    """Raises UsageError when something is neither given nor to be seen, or no checkpoint would ever be made."""
    said: list[Assumption] = []
    measured = seen.measured
    steps = given.steps or _shown(said, "steps", measured.newest_step if measured else None, seen)
    size = given.size or _shown(said, "size", measured.size if measured else None, seen)
    series = given.series or _series(said, measured)
    keeps_all = _asks_how_often(given, measured)
    every = given.every or (
        _solved(given, steps, size * series)
        if keeps_all
        else _shown(said, "every", measured.every if measured else None, seen)
    )
    if every > steps:
        raise UsageError(
            f"no checkpoint would be made in {steps:,} steps",
            f"the first is saved after {every:,}",
            "give a smaller --every, or more --steps",
        )
    training = Training(
        steps=steps,
        size=size,
        series=series,
        step_seconds=given.interval / every if given.interval else _step_seconds(said, measured, every),
        uplink=given.uplink or _uplink(said, seen),
        price=given.price,
        room=given.budget or _room(said, seen),
    )
    largest = largest_keep(training, every)
    solved: Keep = "all" if largest == steps // every else max(1, largest)
    keep: Keep = "all" if keeps_all else given.keep or (solved if given.budget else _keep(said, seen))
    return Answer(
        training=training,
        every=every,
        keep=keep,
        estimates=variants(training, every, keep),
        largest_keep=largest,
        every_if_all=least_every_that_all_fit(steps, training.save_bytes, training.room),
        assumptions=tuple(said),
        problems=seen.problems,
    )


def _asks_how_often(given: Given, measured: Measured | None) -> bool:
    """Whether the budget is to say how often to save. Without a retention and a frequency, all that are saved are meant
    to be kept; with a number to keep, the frequency makes no difference to the room."""
    if not given.budget or given.every:
        return False
    return given.keep == "all" or (given.keep is None and not (measured and measured.every))


def _solved(given: Given, steps: int, save_bytes: int) -> int:
    if given.interval:
        raise UsageError(
            "--interval says the time between two saves, but not how many steps that is",
            "without --every the budget says how often to save",
            "give --every, or leave --interval out",
        )
    every = least_every_that_all_fit(steps, save_bytes, given.budget or 0)
    if every is None:
        raise UsageError(
            f"not even one save fits {format_size(given.budget or 0)}",
            f"all series together save {format_size(save_bytes)}",
            "give a larger --budget",
        )
    return every


def _scanned(hot: HotConfig) -> tuple[Scan | None, str]:
    """The hot folder, and why there is nothing to measure if that is so."""
    nothing = f"{hot.path} holds no checkpoints yet"
    if not hot.path.is_dir():
        return None, f"the hot folder {hot.path} is not there"
    if hot.layout != "auto":
        return scan(hot.path, Layout.parse(hot.layout)), nothing
    found = recognise(hot.path)
    return found.scan, f"the layout of {hot.path} was not recognised: {found.why_not}" if found.why_not else nothing


_WORDS = {
    "steps": ("{:,}, the newest there is", "757500"),
    "every": ("{:,} steps between two checkpoints", "5000"),
    "size": ("{}, the median of what is there", "1.2GB"),
}
"""By option: how to say what was measured, and an example."""


def _shown(said: list[Assumption], name: str, value: int | None, seen: Seen) -> int:
    words, example = _WORDS[name]
    if not value:
        why = "two checkpoints of a series would show it" if seen.measured else seen.why_not
        raise UsageError(f"--{name} is missing", why, f"give it, such as --{name} {example}")
    said.append(Assumption(name, words.format(format_size(value) if name == "size" else value), "measured"))
    return value


def _series(said: list[Assumption], measured: Measured | None) -> int:
    count = measured.series if measured else 1
    said.append(Assumption("series", f"{count:,}", "measured" if measured else "assumed"))
    return count


def _step_seconds(said: list[Assumption], measured: Measured | None, every: int) -> float | None:
    pace = measured.step_seconds if measured else None
    if pace is None:
        said.append(Assumption("interval", "saves are far enough apart for the uplink", "assumed"))
    else:
        said.append(Assumption("interval", f"{format_duration(pace * every)} between saves", "measured"))
    return pace


def _uplink(said: list[Assumption], seen: Seen) -> int:
    limit = seen.config.upload.bandwidth if seen.config else None
    if limit and limit <= (seen.upload_rate or limit):
        said.append(Assumption("uplink", f"{format_size(limit)}/s, [upload] bandwidth", "configured"))
        return limit
    rate = seen.upload_rate or UPLINK
    said.append(Assumption("uplink", f"{format_size(rate)}/s", "measured" if seen.upload_rate else "assumed"))
    return rate


def _room(said: list[Assumption], seen: Seen) -> int:
    held = seen.measured.held if seen.measured else 0
    spare = seen.hot.min_free.bytes_of(seen.total)
    room = max(0, seen.free + held - spare)
    there = f"{format_size(seen.free)} free" + (f" and {format_size(held)} of checkpoints" if held else "")
    said.append(Assumption("budget", f"{format_size(room)}: {there}, less min_free ({format_size(spare)})", "measured"))
    return room


def _keep(said: list[Assumption], seen: Seen) -> int:
    more = ", and what the other rules of [hot] keep comes on top" if len(seen.hot.retention.rules) > 1 else ""
    said.append(Assumption("keep", f"{seen.hot.keep_last:,}{more}", "configured" if seen.config else "assumed"))
    return seen.hot.keep_last
