"""What an event says, as one line; the same words on a terminal and in a log."""

import msgspec

from ckpt_tier.core import events
from ckpt_tier.core.events import Event
from ckpt_tier.core.units import format_duration, format_size

DETAIL, INFO, WARNING = range(3)
"""How much a line matters: details are for -v, warnings are shown even with -q."""


class Line(msgspec.Struct, frozen=True):
    """One line for people: `head` is the word to search a log for."""

    weight: int
    head: str
    text: str

    def __str__(self) -> str:
        return f"{self.head} {self.text}" if self.head else self.text


def seconds(elapsed: float) -> str:
    """A span as a stopwatch shows it: "0.2 s", "12.0 s", "3 min 20 s"."""
    return f"{elapsed:.1f} s" if elapsed < 60 else format_duration(elapsed)


def rate(count: int, elapsed: float) -> str:
    """Bytes over a span; empty where the span is too short to tell."""
    return f"{format_size(round(count / elapsed))}/s" if elapsed > 0.05 and count else ""


def plural(count: int, thing: str) -> str:
    """ "1 checkpoint", "12 checkpoints", "1,200 checkpoints"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def line(event: Event) -> Line | None:
    """The event as a line; None for what only moves a progress bar."""
    match event:
        case events.Found():
            if not (event.to_validate or event.to_upload):
                return None
            size = f", {format_size(event.upload_bytes)}" if event.upload_bytes else ""
            text = f"{event.checkpoints} on the hot tier, {event.to_upload} to upload{size}"
            return Line(DETAIL, "found", text)
        case events.Validated():
            took = seconds(event.elapsed_seconds)
            return Line(DETAIL, "valid", f"{_which(event)} {event.path} {format_size(event.size_bytes)} in {took}")
        case events.Rejected():
            return Line(WARNING, "rejected", f"{_which(event)} {event.path}: {event.reason}")
        case events.Committed():
            took = "was there already" if event.adopted else f"in {seconds(event.elapsed_seconds)}"
            return Line(INFO, "committed", f"{_which(event)} {format_size(event.size_bytes)} {took}")
        case events.Evicted():
            return Line(INFO, "evicted", f"{_which(event)} {format_size(event.size_bytes)}: {event.reason}")
        case events.NotEvicted():
            return Line(WARNING, "not evicted", f"{_which(event)} {event.path}: {event.reason}")
        case events.Retrying():
            again = f"attempt {event.attempt} failed, the next in {seconds(event.wait_seconds)}"
            return Line(INFO, "retrying", f"{_which(event)} {again}: {event.reason}")
        case events.Stalled():
            return Line(WARNING, "stalled", f"{_which(event)} {event.reason}; tried again at {event.retry_at[:19]}Z")
        case events.Lost():
            return Line(WARNING, "lost", f"{_which(event)} {event.path}: {event.reason}")
        case events.Changed():
            return Line(INFO, "changed", f"{_which(event)} {event.path}: {event.reason}")
        case events.Restored():
            what = f"fetched {format_size(event.fetched_bytes)}" if event.fetched_bytes else "already there, identical"
            return Line(INFO, "restored", f"{_which(event)} {what} in {seconds(event.elapsed_seconds)}")
        case events.PassedOver():
            return Line(WARNING, "passed over", f"{_which(event)} {event.reason}")
        case events.Note():
            return Line(INFO, "note", event.text)
        case events.Warned():
            return Line(WARNING, "warning", event.text + (f" ({event.fix})" if event.fix else ""))
    return None


def _which(event: Event) -> str:
    return f"series={event.series} step={event.step}"  # type: ignore[attr-defined]
