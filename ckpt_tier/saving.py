"""What `Tier.should_save` goes by: the rules, what was saved before, the room on the disk, and requests from outside.

`core.saving` decides. Here is what it takes to ask it some thousand times a second from a training loop: the hot tier
is looked through once, at the first question, and then what this process says and saves is counted along.
"""

from __future__ import annotations

import contextlib
import math
import operator
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ckpt_tier.core.metrics import finite
from ckpt_tier.core.nouns import check_step
from ckpt_tier.core.saving import Decision, History, Saved, SaveRules, better, decide, history_of
from ckpt_tier.core.states import State
from ckpt_tier.errors import ConfigError, UsageError
from ckpt_tier.hot.space import space
from ckpt_tier.wiring import Wiring

if TYPE_CHECKING:
    from types import FrameType

LOOK_AGAIN = 1.0
"""Seconds for which one look at the free space is good."""


class Saving:
    """One process's questions, of any thread. `complain` tells what a person should know; nothing here raises but
    `on_signal`."""

    def __init__(self, wiring: Wiring, complain: Callable[[str], None]) -> None:
        self._wiring = wiring
        self._complain = complain
        self._clock = wiring.clock
        self._histories: dict[str, History] = {}
        self._lock = threading.Lock()
        self._free: int | None = None
        self._look_at = -math.inf
        self._asked = ""
        self._handlers: dict[int, tuple[Any, Any]] = {}
        self._said = ""

    def should_save(self, step: int, series: str | None, values: Mapping[str, object]) -> Decision:
        """Whether to save now; `series=None` stands for all that lie in the hot folder. A yes counts as a save."""
        rules = self._wiring.config.save
        try:
            step = check_step(operator.index(step))
        except (UsageError, TypeError) as error:
            return self._no(f"should_save can't answer: {error}")
        if rules == SaveRules() and not self._handlers:
            return self._no("should_save always says no: no rule under [save] asks for a save; set every, say")
        metrics = {name: math.nan if (number := finite(value)) is None else number for name, value in values.items()}
        now = self._clock.now()
        with self._lock:
            history = self._history(series or "", step, now)
            decision = decide(step, metrics, rules, history, now, free=self._room(), asked=self._asked)
            if decision:
                self._asked = self._said = ""
                history = history.after(step, now, better(rules.best, metrics, history.best))
            self._histories[series or ""] = history
        if decision.no_room:
            self._say_once("no room", f"step {step} should be saved, and there is {decision}")
        return decision

    def saved(self, step: int, series: str, metrics: Mapping[str, float], size: int) -> None:
        """Counts a save along, whoever has asked for it. `size` in bytes."""
        rules, now = self._wiring.config.save, self._clock.now()
        with self._lock:
            for name in {"", series} & self._histories.keys():
                before = self._histories[name]
                best = better(rules.best, metrics, before.best)
                self._histories[name] = before.after(step, now, best, size)

    def on_signal(self, number: int) -> None:
        """Makes a signal ask for a save; see `Tier.save_on_signal`. Raises UsageError."""
        try:
            name, earlier = signal.Signals(number).name, signal.getsignal(number)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{number!r} is no signal", fix="give one, such as signal.SIGUSR1") from error
        if number in self._handlers and earlier is self._handlers[number][0]:
            return
        if earlier is None:
            raise UsageError(
                f"{name} can't ask for a save", "something outside Python handles it", "choose another signal"
            )

        def ask(received: int, frame: FrameType | None) -> None:
            # No lock, no log: this may run between any two lines of the thread that it interrupts.
            self._asked = name
            if callable(earlier):
                earlier(received, frame)

        try:
            signal.signal(number, ask)
        except (ValueError, OSError) as error:
            why = "the main thread has to call this, and some signals can't be caught"
            raise UsageError(f"{name} can't ask for a save: {error}", why) from error
        self._handlers[number] = (ask, earlier)

    def close(self) -> None:
        """Gives the signals back to whoever had them, where nobody has taken them since."""
        for number, (ours, earlier) in self._handlers.items():
            if signal.getsignal(number) is ours:
                with contextlib.suppress(ValueError):  # not the main thread: it stays, and asks nobody
                    signal.signal(number, earlier)
        self._handlers.clear()

    def _no(self, problem: str) -> Decision:
        self._say_once(problem, problem)
        return Decision(False, problem)

    def _say_once(self, kind: str, text: str) -> None:
        """Says what a person should hear of, and not again before something else was."""
        if self._said != kind:
            self._said = kind
            self._complain(text)

    def _history(self, series: str, step: int, now: float) -> History:
        history = self._histories.get(series)
        if history is None:
            try:
                saves = [each for each in self._saves() if series in ("", each[0])]
            except Exception as error:  # noqa: BLE001 (whatever it is, training goes on)
                self._complain(f"should_save does not know what was saved before: {error}")
                saves = []
            return history_of((each for _, each in saves), self._wiring.config.save.best, step, now)
        return history.begun(step, now) if step < history.step else history

    def _saves(self) -> Iterator[tuple[str, Saved]]:
        """(series, save) of what is on the hot tier, in the inbox or in the journal, but for what is no checkpoint."""
        from ckpt_tier.flow.observe import waiting
        from ckpt_tier.hot.scan import scan
        from ckpt_tier.journal.journal import peek

        with contextlib.suppress(ConfigError):  # an empty folder has no layout yet
            layout = self._wiring.layout
            rows, _ = peek(self._wiring.config.state_dir) or ([], None)
            bad = {(row.path, row.stamp) for row in rows if row.state in (State.REJECTED, State.LOST)}
            for row in rows:
                if (row.path, row.stamp) not in bad:
                    yield row.series, Saved(step=row.step, saved_at=row.saved_at, size=row.size, metrics=row.metrics)
            for ticket in waiting(self._wiring.inbox, layout):
                size = ticket.stamp.size
                yield (
                    ticket.series,
                    Saved(step=ticket.step, saved_at=ticket.saved_at, size=size, metrics=ticket.metrics),
                )
            for copy in scan(self._wiring.config.hot.path, layout).copies:
                if (copy.path, copy.stamp) not in bad:
                    yield copy.series, Saved(step=copy.step, saved_at=copy.mtime_ns / 1e9, size=copy.stamp.size)

    def _room(self) -> int | None:
        """Bytes free on the hot tier, as of the last second; None if it can't be told."""
        now = self._clock.monotonic()
        if now >= self._look_at + LOOK_AGAIN:
            self._look_at = now
            try:
                self._free = space(self._wiring.config.hot.path).free
            except OSError:
                self._free = None
        return self._free
