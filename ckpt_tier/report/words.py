"""The report's sentences, in the words of `status`."""

from collections.abc import Sequence

from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.flow.status import FAR_OFF, Newest, Status, is_crowded
from ckpt_tier.report.data import Lag, Report


def plural(count: int, thing: str) -> str:
    """ "1 checkpoint", "12 checkpoints"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def summary(now: Status) -> str:
    """What would be lost now, and whether a person is needed."""
    return f"{loss(now)} {needs(now)}"


def loss(now: Status) -> str:
    """What would be lost if this machine died now."""
    if not now.series:
        return "There are no checkpoints yet, neither hot nor cold."
    if now.cold.error:
        return "Nobody can tell what would be lost if this machine died now: the cold tier is away."
    if not now.cold.url:
        return "If this machine died now, everything would be lost: there is no cold tier."
    newest = [series.newest_committed for series in now.series if series.newest_committed]
    bare = [series.name for series in now.series if not series.newest_committed]
    if not newest:
        return "If this machine died now, everything would be lost: nothing is committed yet."
    told = f"If this machine died now, everything saved after {_newest(newest)} would be lost"
    if bare:
        names = f"series {bare[0]}" if len(bare) == 1 else f"{len(bare):,} series"
        told += f", and all of {names}: nothing of it is committed yet"
    return f"{told}."


def _newest(newest: Sequence[Newest]) -> str:
    steps = sorted({each.step for each in newest})
    age = format_duration(max(each.age_seconds for each in newest))
    if len(newest) == 1:
        return f"step {steps[0]} ({age} ago)"
    if len(steps) == 1:
        return f"step {steps[0]} of each series (up to {age} ago)"
    return f"steps {steps[0]} to {steps[-1]} (the newest committed of each series, up to {age} ago)"


def needs(now: Status) -> str:
    """Whether a person is needed."""
    told = []
    if now.attention:
        count = len(now.attention)
        told.append("1 checkpoint needs a person" if count == 1 else f"{count:,} checkpoints need a person")
    if is_crowded(now):
        told.append("the disk is filling up")
    text = " and ".join(told) or "nothing needs a person"
    return f"{text[0].upper()}{text[1:]}."


def disk(now: Status) -> str:
    """How much is free, and when the disk is full."""
    space = now.disk
    told = f"{format_size(space.free_bytes)} of {format_size(space.total_bytes)} are free"
    if space.free_bytes < space.min_free_bytes:
        told += f", less than min_free ({format_size(space.min_free_bytes)})"
    return f"{told}; {forecast(now)}."


def forecast(now: Status) -> str:
    """When the disk is full, as a clause."""
    full = now.disk.full_in_seconds
    if now.uplink.saved_bytes_per_second is None:
        return "no forecast: too little was saved lately to tell a rate"
    if full is None:
        return "it is not filling up: evictions keep pace"
    if full > FAR_OFF:
        return "at this rate it is full in more than a month"
    return f"full in {format_duration(full)} at this rate"


def uplink(now: Status) -> str:
    """Whether uploads keep up with the training."""
    saved, sent = now.uplink.saved_bytes_per_second, now.uplink.uploaded_bytes_per_second
    if sent is None:
        return "No upload was measured on this machine yet."
    told = f"Uploads reach {format_size(sent)}/s"
    if saved is None or now.uplink.keeps_up is None:
        return f"{told}."
    verdict = "keep up" if now.uplink.keeps_up else "are too slow"
    return f"{told}, training saves {format_size(saved)}/s: they {verdict}."


def lag(said: Lag) -> str:
    """The median, the worst, and what still waits."""
    told = []
    if said.median_seconds is not None and said.worst_seconds is not None:
        told.append(
            f"Half of the checkpoints were in the cold tier within {format_duration(said.median_seconds)} of being "
            f"saved; the slowest, step {said.worst_step} of series {said.worst_series}, took "
            f"{format_duration(said.worst_seconds)}."
        )
    if said.oldest_waiting_seconds is not None:
        told.append(f"The oldest one that waits was saved {format_duration(said.oldest_waiting_seconds)} ago.")
    return " ".join(told) or "Nothing is committed yet."


def worker(now: Status) -> str:
    """Which process works on the queue."""
    if now.worker.running:
        return f"{now.worker.what or 'running'}, process {now.worker.pid} on {now.worker.host}"
    return "none is running: `ckpt-tier sync --watch` takes up what comes, `ckpt-tier sync` does one pass"


def written(made: Report, size: int) -> str:
    """What the command says of the page."""
    return f"{made.page}: {plural(len(made.checkpoints), 'checkpoint')}, {format_size(size)}"
