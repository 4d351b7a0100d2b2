"""Events on a terminal: a bar per running transfer, a line for the whole, and above them what is worth reading."""

import threading
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from ckpt_tier.cli.paper import plain
from ckpt_tier.cli.words import DETAIL, INFO, WARNING, Line, line, plural
from ckpt_tier.core.events import (
    Changed,
    Committed,
    Event,
    Found,
    Lost,
    Moved,
    Note,
    Rejected,
    Restored,
    Retrying,
    Stalled,
    Validated,
)
from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.system.clock import Clock

_COLOURS = {
    "rejected": "red", "lost": "red", "stalled": "yellow", "warning": "yellow", "passed over": "yellow",
    "not evicted": "yellow", "committed": "green", "restored": "green",
}  # fmt: skip


class Screen:
    """Receives events from any thread, between `__enter__` and `__exit__`.

    Attributes:
        verb: what the line for the whole is called: "uploading", "restoring".
    """

    def __init__(self, clock: Clock, verb: str, *, verbose: bool, quiet: bool) -> None:
        self._clock = clock
        self._verb = verb
        self._least = WARNING if quiet else DETAIL if verbose else INFO
        # A commit or an eviction is what the bars are for: as lines they come with -v.
        self._calm = not verbose
        self._lock = threading.Lock()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None, style="bright_black", complete_style="cyan", finished_style="green"),
            TextColumn("{task.fields[told]}", justify="right"),
            console=Console(highlight=False),
            transient=True,
            expand=True,
            disable=quiet,
        )
        self._transfers: dict[str, TaskID] = {}
        self._moved: dict[str, int] = {}
        self._whole: TaskID | None = None
        self._begun = clock.monotonic()
        self._moved_bytes = 0
        self._done = 0
        self._to_validate = 0
        self._to_upload = 0
        self._checked = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._follow(event)
            said = line(event)
            if said is not None and self._is_worth_a_line(event, said):
                self._print(said)

    def _is_worth_a_line(self, event: Event, said: Line) -> bool:
        if self._calm and said.weight < WARNING and not isinstance(event, Note | Changed | Retrying):
            return False
        return said.weight >= self._least and not isinstance(event, Found)

    def _print(self, said: Line) -> None:
        colour = _COLOURS.get(said.head, "bright_black")
        text = Text.assemble((said.head, colour), " ", plain(said.text))
        self._progress.console.print(text, soft_wrap=False)

    def _follow(self, event: Event) -> None:
        match event:
            case Found():
                self._to_validate, self._to_upload = event.to_validate, event.to_upload
            case Validated() | Rejected():
                self._checked += 1
                self._to_validate = max(0, self._to_validate - 1)
                if isinstance(event, Rejected):
                    self._to_upload = max(0, self._to_upload - 1)
            case Moved():
                self._move(event)
            case Committed() | Restored():
                self._done += 1
                self._to_upload = max(0, self._to_upload - 1)
                self._end(event.series, event.step)
            case Stalled() | Lost() | Changed() | Retrying():
                self._end(event.series, event.step)
            case _:
                return
        self._tell_whole()

    def _move(self, event: Moved) -> None:
        name = f"{event.series} {event.step} {event.path}"
        there = event.moved_bytes + event.stored_bytes
        self._moved_bytes += max(0, event.moved_bytes - self._moved.get(name, 0))
        self._moved[name] = event.moved_bytes
        told = f"{format_size(there)} of {format_size(event.size_bytes)}"
        if name not in self._transfers:
            description = escape(f"  {_shortened(plain(event.path))}")
            self._transfers[name] = self._progress.add_task(description, total=event.size_bytes, told=told)
        self._progress.update(self._transfers[name], completed=there, told=told)

    def _end(self, series: str, step: int) -> None:
        for name in [name for name in self._transfers if name.startswith(f"{series} {step} ")]:
            self._progress.remove_task(self._transfers.pop(name))
            self._moved.pop(name, None)

    def _tell_whole(self) -> None:
        total = self._done + self._to_upload
        if total == 0 and self._to_validate == 0 and not self._transfers:
            if self._whole is not None:
                self._progress.update(self._whole, visible=False)
            return
        elapsed = self._clock.monotonic() - self._begun
        speed = f"{format_size(round(self._moved_bytes / elapsed))}/s" if elapsed > 1 and self._moved_bytes else ""
        left = format_duration(elapsed / self._done * self._to_upload) + " left" if self._done and elapsed > 3 else ""
        checking = f"{self._to_validate:,} to check" if self._to_validate else ""
        count = f"{self._done:,} of {plural(total, 'checkpoint')}" if total else ""
        told = ", ".join(part for part in (checking, count, speed, left if self._to_upload else "") if part)
        if self._whole is None:
            self._whole = self._progress.add_task(self._verb, total=total or None, told=told)
        self._progress.update(self._whole, total=total or None, completed=self._done, told=told, visible=True)


def _shortened(path: str, room: int = 44) -> str:
    return path if len(path) <= room else f"…{path[-room + 1 :]}"
