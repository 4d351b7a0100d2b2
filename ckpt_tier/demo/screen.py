"""What the demo shows: bars that move on a terminal, plain lines anywhere else."""

import contextlib
import time
from collections.abc import Iterator

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ckpt_tier.core.units import format_size

_PLAIN_EVERY = 2.0
"""Seconds between two lines where there is no terminal."""
_BAR = 32


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One look at training and both tiers; sizes in bytes."""

    step: int
    last_step: int
    loss: float | None
    saved_count: int
    saved_bytes: int
    hot_bytes: int
    budget: int
    committed: int


class Screen:
    """Writes to stdout. To be used by one thread."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live: Live | None = None
        self._last_plain = 0.0

    def say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style), soft_wrap=True)

    def proved(self, text: str) -> None:
        """A line with a ✓: something that was shown just now."""
        mark = Text("✓", "bold green")
        if not self._console.is_terminal:
            self._console.print(Text.assemble(mark, " ", text), soft_wrap=True)
            return
        line = Table.grid(padding=(0, 1))
        line.add_row(mark, text)
        self._console.print(line)

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """While it lasts, `show` moves the bars; they are gone afterwards."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, refresh_per_second=10, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def show(self, now: Progress) -> None:
        if self._live is not None:
            self._live.update(_bars(now))
        elif time.monotonic() - self._last_plain >= _PLAIN_EVERY and now.step:
            self._last_plain = time.monotonic()
            self.say(_line(now))


def _line(now: Progress) -> str:
    loss = f", loss {now.loss:.4f}" if now.loss is not None else ""
    return (
        f"  step {now.step} of {now.last_step}{loss}; hot tier {format_size(now.hot_bytes)} of "
        f"{format_size(now.budget)}; {now.committed} of {now.saved_count} saves committed"
    )


def _bars(now: Progress) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "training",
        ProgressBar(total=now.last_step, completed=now.step, width=_BAR),
        f"step {now.step} of {now.last_step}" + (f", loss {now.loss:.4f}" if now.loss is not None else ""),
    )
    table.add_row(
        "hot tier",
        ProgressBar(total=now.budget, completed=now.hot_bytes, width=_BAR, complete_style="yellow"),
        f"{format_size(now.hot_bytes)} of {format_size(now.budget)}, {format_size(now.saved_bytes)} saved so far",
    )
    table.add_row(
        "cold tier",
        ProgressBar(total=max(1, now.saved_count), completed=now.committed, width=_BAR, complete_style="green"),
        f"{now.committed} of {now.saved_count} saves committed, {now.saved_count - now.committed} in the queue",
    )
    return Group(Text(""), table)
