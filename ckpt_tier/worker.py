"""`sync --watch`: the queue at work until it is told to stop. Timers, signals and the outer catch; the rest is
`ckpt_tier.flow.sync`."""

import math
import os
import signal
import traceback
from collections.abc import Callable
from types import FrameType

from ckpt_tier.config import Config
from ckpt_tier.core.events import Emit, Note, Warned
from ckpt_tier.errors import CancelledError, CkptTierError, ConfigError, ConflictError, UnavailableError
from ckpt_tier.flow.rounds import Rounds
from ckpt_tier.flow.sweep import is_due, sweep
from ckpt_tier.flow.sync import Syncing
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.spawn import rotate_log
from ckpt_tier.system.clock import StopRequest, SystemClock
from ckpt_tier.system.locks import anyone_present
from ckpt_tier.tier import TRAINING_LOCK
from ckpt_tier.wiring import Wiring

TICK = 0.5
"""Seconds between two looks at an idle hot folder: a settled file is taken up within two seconds."""
RELIST_EVERY = 600.0
"""Seconds after which the cold tier is listed anew: somebody else may have changed it."""
POLITENESS = 15
"""Added to the nice value of a worker that was started for a training: the data loader's work comes first."""
AWAY_WAIT = 30.0
"""Seconds until a cold tier that did not answer is asked again."""
REST = 3600.0
"""Seconds until housekeeping that failed is tried again."""


class Signals:
    """What may be asked of the worker while it works: to stop, and by SIGHUP to read the configuration again."""

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop
        self.reload = False

    def install(self) -> None:
        """Takes SIGHUP over. For the main thread."""
        signal.signal(signal.SIGHUP, self._reload)

    def pause(self, seconds: float) -> None:
        """Waits, until something is asked."""
        for _ in range(math.ceil(seconds / TICK)):
            if self.reload or self.stop.wait(TICK):
                return

    def _reload(self, _: int, __: FrameType | None) -> None:
        self.reload = True


def watch(read_config: Callable[[], Config], emit: Emit, signals: Signals, *, for_training: bool) -> None:
    """Works until asked to stop; with `for_training` also until no training uses the folder and nothing is due.

    Raises ConfigError and ConflictError at the start only. Later on a configuration that can't be read or used leaves
    the old one in force, and what is away or taken by somebody else is asked for again and again.
    """
    if for_training:
        os.nice(POLITENESS)
    config = read_config()
    older: Config | None = None
    has_worked = False

    def works() -> None:
        nonlocal older, has_worked
        older, has_worked = None, True

    while True:
        wiring = Wiring(config, SystemClock(signals.stop))
        try:
            _work(wiring, emit, signals, works, for_training=for_training)
            if not signals.reload:
                return
        except CancelledError:
            return
        except ConfigError as error:
            if older is None:
                raise
            emit(Warned(text=f"the configuration can't be used, the old one stays in force: {error}", fix=error.fix))
            config, older = older, None
            continue
        except UnavailableError as error:
            emit(Warned(text=f"the cold tier is away: {error}", fix=error.fix))
            signals.pause(AWAY_WAIT)
        except ConflictError as error:  # somebody took the lock while the configuration was read
            if not has_worked:
                raise
            emit(Warned(text=f"waiting: {error}", fix=error.fix))
            signals.pause(AWAY_WAIT)
        if signals.stop.made:
            return
        if signals.reload:
            signals.reload = False  # before reading: what is written after that comes with a signal of its own
            try:
                config, older = read_config(), older or config
                emit(Note(text="the configuration was read again"))
            except ConfigError as error:
                emit(
                    Warned(text=f"the configuration can't be read, the old one stays in force: {error}", fix=error.fix)
                )


def _work(wiring: Wiring, emit: Emit, signals: Signals, works: Callable[[], None], *, for_training: bool) -> None:
    """The queue at work until asked to stop or to reload; `works` is called whenever the cold tier was listed."""
    training_lock = wiring.config.hot.path / HIDDEN / TRAINING_LOCK
    with wiring.syncing(emit, "ckpt-tier sync --watch") as syncing:
        house = _House(syncing, wiring, emit)
        relist_at = 0.0
        while not signals.reload:
            if for_training and not wiring.config.hot.path.is_dir():
                emit(Warned(text=f"the hot folder {wiring.config.hot.path} was removed: ending"))
                return
            now = wiring.clock.monotonic()
            if now >= relist_at:
                is_listed = _listed(syncing, emit)
                relist_at = now + (RELIST_EVERY if is_listed else AWAY_WAIT)
                if is_listed:
                    works()
            busy = _advanced(syncing, emit, wiring)
            if syncing.cold_error is not None and relist_at > now + AWAY_WAIT:
                relist_at = now + AWAY_WAIT
                emit(Warned(text=f"the cold tier is away: {syncing.cold_error}", fix=syncing.cold_error.fix))
            if not busy:
                if for_training and syncing.is_done and not anyone_present(training_lock):
                    emit(Note(text="no training uses the folder and the queue is empty: ending"))
                    return
                if syncing.cold_error is None:
                    house.keep()
                wiring.clock.sleep(TICK)
            house.rotate_log()


class _House:
    """What is done while nothing else is due, one small thing at a time."""

    def __init__(self, syncing: Syncing, wiring: Wiring, emit: Emit) -> None:
        self._parts = syncing.parts
        self._layout = wiring.layout
        self._rounds = Rounds(syncing.parts, syncing.send_again)
        self._emit = emit
        self._rest_until = 0.0
        self._rotate_at = 0.0

    def keep(self) -> None:
        """Goes on a little. Whatever fails, the queue does not."""
        clock = self._parts.clock
        if clock.monotonic() < self._rest_until:
            return
        try:
            if is_due(self._parts):
                sweep(self._parts, self._layout)
            else:
                self._rounds.step()
        except CancelledError:
            raise
        except CkptTierError as error:
            self._emit(Warned(text=f"housekeeping is put off: {error}", fix=error.fix))
            self._rest_until = clock.monotonic() + REST
        except Exception as error:  # noqa: BLE001 (said in full, and tried again)
            trace = "".join(traceback.format_exception(error))
            self._emit(Warned(text=f"unexpected, in housekeeping: {error!r}\n{trace}", fix="please report this"))
            self._rest_until = clock.monotonic() + REST

    def rotate_log(self) -> None:
        """For every turn, busy or idle: what is at work writes the most."""
        clock = self._parts.clock
        if clock.monotonic() < self._rotate_at:
            return
        try:
            rotate_log(self._parts.config.state_dir)
        except OSError as error:
            self._rotate_at = clock.monotonic() + REST
            self._emit(Warned(text=f"worker.log can't be rotated: {error}", fix="look at the disk and at its folder"))


def _advanced(syncing: Syncing, emit: Emit, wiring: Wiring) -> bool:
    """One step, whatever happens: a worker that dies of one bad file would leave all the others undone."""
    try:
        return syncing.advance()
    except CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 (said in full, and tried again)
        trace = "".join(traceback.format_exception(error))
        emit(Warned(text=f"unexpected, and tried again: {error!r}\n{trace}", fix="please report this"))
        wiring.clock.sleep(AWAY_WAIT)
        return True


def _listed(syncing: Syncing, emit: Emit) -> bool:
    try:
        syncing.list_cold()
    except UnavailableError as error:
        syncing.cold_is_away(error)
        emit(Warned(text=f"the cold tier is away: {error}", fix=error.fix))
        return False
    return True
