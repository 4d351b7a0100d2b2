"""The tier as training code sees it: hand over a save, wait for the queue, get a step back.

Imports of the parts happen inside the functions: `import ckpt_tier` costs a training script some milliseconds, and
boto3 is loaded only where the cold tier is asked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from ckpt_tier.config import Config, load
from ckpt_tier.core.nouns import DEFAULT_SERIES, check_name, check_step
from ckpt_tier.core.saving import Decision as Decision
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import (
    CancelledError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    UsageError,
)
from ckpt_tier.handing_over import HandingOver
from ckpt_tier.inbox import HIDDEN, Ticket
from ckpt_tier.job import Passes, own_rank
from ckpt_tier.operations import HOOK_ERRORS
from ckpt_tier.restoring import Restoration
from ckpt_tier.restoring import Restored as Restored
from ckpt_tier.saving import Saving
from ckpt_tier.spawn import start_worker
from ckpt_tier.system.clock import Clock, process_started_at, random_id
from ckpt_tier.system.locks import Presence
from ckpt_tier.system.log_files import append_capped
from ckpt_tier.together import Choice, Group, restore_together
from ckpt_tier.wiring import Wiring

if TYPE_CHECKING:
    import torch
    from torch.distributed import ProcessGroup

    from ckpt_tier.core.events import Emit, Event
    from ckpt_tier.tensors.nouns import Catalogue
    from ckpt_tier.tracking import Tracked

_log = logging.getLogger("ckpt_tier")
TRAINING_LOCK = "training.lock"
HOOK_ERRORS_BYTES = 2**20
"""The hook's complaints begin a new file at this size; one older is kept."""
START_AGAIN = 10.0
"""Seconds that a worker gets to take its lock, before another one is started in its place."""


class Drained(msgspec.Struct, frozen=True):
    """What became of the saves of one `Tier`: (series, step) pairs, in the order of saving."""

    committed: tuple[tuple[str, int], ...]
    pending: tuple[tuple[str, int], ...]


def open(  # noqa: A001 (the interface's name: ckpt_tier.open)
    config: str | os.PathLike[str] | Config | None = None,
    *,
    url: str | None = None,
    run: str | None = None,
    worker: bool = True,
    process_group: ProcessGroup | None = None,
) -> Tier:
    """The tier of a training run, for use in the training script.

    Args:
        config: a ``ckpt-tier.toml``; None finds one as the command line does (CKPT_TIER_CONFIG, else from the
            current folder upward).
        url, run: take the place of ``[cold] url`` and ``run``.
        worker: start ``ckpt-tier sync --watch`` for this hot folder in a process of its own, unless one runs. It
            outlives this process, and ends by itself once no training uses the folder and the queue is empty.
        process_group: of torch.distributed: makes `restore` and `should_save`, and nothing else, collectives of this
            group, in which all ranks get the same step, or the same answer, or all raise.

    Raises ConfigError, also where no cold tier is configured. Everything after this call is guarded: no failure of the
    tier stops training.
    """
    if isinstance(config, Config):
        if worker and config.file is None:
            raise ConfigError(
                "a worker can't be started for this configuration",
                "it was not read from a file, so another process can't read it",
                "pass the path of a ckpt-tier.toml, or worker=False",
            )
    else:
        path = None if config is None else Path(config)
        config = load(path, env=os.environ, cwd=Path.cwd(), arguments={"cold.url": url, "run": run})
    config.require_cold()
    return Tier(
        config, overrides={"CKPT_TIER_COLD__URL": url, "CKPT_TIER_RUN": run}, worker=worker, process_group=process_group
    )


def load_tensor(
    step: int | None,
    name: str,
    *,
    config: str | os.PathLike[str] | Config | None = None,
    series: str | None = None,
    generation: str | None = None,
    rank: int | None = None,
) -> torch.Tensor:
    """`Tier.load_tensor` of the run that `config` means, found as by `open`. Starts no worker, and changes nothing.

        bias = ckpt_tier.load_tensor(740_000, "model.layers.3.bias")

    Raises ConfigError, and what the method raises.
    """
    if not isinstance(config, Config):
        config = load(None if config is None else Path(config), env=os.environ, cwd=Path.cwd())
    return Tier(config).load_tensor(step, name, series=series, generation=generation, rank=rank)


class Tier:
    """Two tiers of storage for the checkpoints of one run.

    `saved` and `save` may be called from several threads. A `Tier` must not be shared over a fork: open one in each
    process that saves.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        overrides: Mapping[str, str | None] | None = None,
        worker: bool = False,
        started_at: float | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self.config = config
        self._wiring = Wiring(config, clock)
        self._clock = self._wiring.clock
        self._overrides = {name: value for name, value in (overrides or {}).items() if value}
        self._tickets: dict[str, Ticket] = {}
        passes = Passes(process_started_at() if started_at is None else started_at)
        self._hook = HandingOver(self._wiring, passes, self._complain)
        self._rejected: set[str] = set()
        self._saving = Saving(self._wiring, self._complain)
        self._may_start_worker = worker
        self._process_group = process_group
        self._start_again_at = 0.0
        self._worker: int | None = None
        self._presence: Presence | None = None
        if worker:
            try:
                (config.hot.path / HIDDEN).mkdir(parents=True, exist_ok=True)
                self._presence = Presence(config.hot.path / HIDDEN / TRAINING_LOCK)
                self.ensure_worker()
            except OSError as error:
                self._complain(f"no worker was started: {error}")

    def should_save(self, step: int, *, series: str | None = None, **metrics: object) -> Decision:
        """Whether to save at this step, by the rules of `[save]`; `str` of the answer is the reason. Never raises,
        asks neither network nor worker, and takes microseconds, but for the first call, which looks through the hot
        tier for what was saved before.

            if tier.should_save(step, loss=loss):
                tier.save(state, step, metrics={"loss": loss})

        A yes counts as a save, so ask once for each step and act on it; saves that nobody asked about are counted by
        `saved`. `metrics` are numbers by name, such as `best` goes by; a tensor on a GPU is waited for.

        Args:
            series: where several are trained side by side in one hot folder: the one that is asked about. None: the
                last save of any of them is the last.

        Each process decides by itself, from its own clock and metrics. Ranks that share a checkpoint must agree: let
        one of them ask and tell the others. With the `process_group` of `open` that is done here, in a collective: all
        its ranks call, and get what rank 0 decides. It takes as long as a broadcast, and raises what torch raises.
        """

        def decide() -> Decision:
            try:
                return self._saving.should_save(step, series, metrics)
            except Exception as error:  # noqa: BLE001 (whatever it is, training goes on)
                self._complain(f"should_save failed: {error!r}")
                return Decision(False, f"unexpected: {error!r}")

        if self._process_group is None:
            return decide()
        return Group(self._process_group).tell(decide, Decision)

    def save_on_signal(self, number: int = signal.SIGUSR1) -> None:
        """Lets whoever sends this process the signal ask for a save: the next `should_save` says yes, whatever
        `min_gap` says. With a `process_group`, the process to send it to is rank 0.

        To be called from the main thread. A handler that Python has for it already is called as well, after ours has
        taken note; `close` puts it back. Raises UsageError: not the main thread, or a handler that is not Python's.
        """
        self._saving.on_signal(number)

    def saved(
        self,
        path: str | os.PathLike[str],
        step: int,
        *,
        metrics: Mapping[str, float] | None = None,
        series: str | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        save_id: str | None = None,
    ) -> None:
        """Hands over a checkpoint that was just saved: a file, or a folder with everything in it. Returns at once and
        never raises: a failure is logged, kept in ``.ckpt-tier/hook-errors.log`` for `status`, and the scan finds the
        checkpoint all the same.

        It must lie in the hot folder. Its bytes are kept by hard links until they are committed, even if the trainer
        deletes it. `metrics` are finite numbers by name; others are left out.

        Args:
            rank, world_size: this is one share of a checkpoint that so many processes save. With ``{rank}`` in the
                layout they are known from the path and from torch.distributed, WORLD_SIZE or ``[hot] ranks``; no call
                is a collective.
            save_id: the same for all shares of one save, another for each save of the step. Without it,
                CKPT_TIER_SAVE_ID (to be set anew for each start of the training), or torchrun's or Slurm's id of the
                job, stands for it, with a counter that grows when the step does not.
        """
        try:
            ticket = self._hook.hand_over(Path(path), step, dict(metrics or {}), series, rank, world_size, save_id)
            self._tickets[ticket.id] = ticket
            self._saving.saved(step, ticket.series, ticket.metrics, ticket.stamp.size)
        except Exception as error:  # noqa: BLE001 (whatever it is, training goes on)
            self._complain(f"{path} was not handed over: {error}")

    def save(
        self,
        state: object,
        step: int,
        *,
        metrics: Mapping[str, float] | None = None,
        series: str | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        save_id: str | None = None,
    ) -> Path:
        """`torch.save(state, …)` at the layout's path, atomically, then `saved`. Returns the path.

        Nobody ever sees a half-written checkpoint, and an existing one of the same step is replaced in one step.
        `rank` is that of this process by default, where the layout has one.

        Raises what torch.save raises, OSError, and UsageError for a step, series or rank that the layout has no place
        for, and for a layout of folders: save those in your own way, and hand them over with `saved`.
        """
        import torch

        layout = self._wiring.layout
        if layout.is_folder:
            raise UsageError(
                f"the layout {layout.pattern!r} is one of folders",
                "save writes one file",
                "write the folder, then saved()",
            )
        if layout.has_rank and rank is None:
            rank = own_rank(os.environ)
        path = self.config.hot.path / layout.format(series or DEFAULT_SERIES, step, rank)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{random_id()}.tmp")
        try:
            torch.save(state, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self.saved(path, step, metrics=metrics, series=series, rank=rank, world_size=world_size, save_id=save_id)
        return path

    def drain(self, timeout: float = 600.0) -> Drained:
        """Waits until everything that this `Tier` handed over is committed, at most `timeout` seconds.

        What was rejected is not waited for, and counts as pending. Starts a worker if this `Tier` may and none
        runs; without one it returns at once. Never raises.
        """
        deadline = self._clock.monotonic() + timeout
        while any(self._is_waiting(ticket) for ticket in self._tickets):
            if not self.ensure_worker():
                break
            if self._clock.monotonic() >= deadline:
                break
            try:
                self._clock.sleep(0.1)
            except CancelledError:
                break
        # Noted here, since the worker forgets a rejected file once it is gone.
        self._rejected |= {ticket for ticket in self._tickets if self._wiring.inbox.is_rejected(ticket)}
        # The same bytes handed over twice have one fate, whatever became of the second ticket.
        undone = {
            (ticket.path, ticket.stamp)
            for ticket in self._tickets.values()
            if ticket.id in self._rejected or self._is_waiting(ticket.id)
        }
        committed: list[tuple[str, int]] = []
        pending: list[tuple[str, int]] = []
        for ticket in self._tickets.values():
            told = pending if (ticket.path, ticket.stamp) in undone else committed
            told.append((ticket.series or DEFAULT_SERIES, ticket.step))
        return Drained(committed=tuple(dict.fromkeys(committed)), pending=tuple(dict.fromkeys(pending)))

    def make_room(self, bytes: int, timeout: float = 60.0) -> bool:  # noqa: A002 (the interface's name)
        """Asks the worker to evict what the cold tier provably holds, oldest first, until `bytes` are free, and for
        what others ask meanwhile; waits for that at most `timeout` seconds (an hour at the longest).

        Returns whether so much is free now. That is no reservation: what is free may be taken by somebody else.
        Starts a worker if this `Tier` may and none runs; without one it returns at once. Never raises.
        """
        from ckpt_tier.hot.room import LONGEST, request, requested
        from ckpt_tier.hot.space import space

        hot, clock = self.config.hot.path, self._clock
        try:
            disk = space(hot)
            if disk.free >= bytes + requested(hot, clock.now()):
                return True
            if bytes > disk.total:  # all would go, in vain
                return False
            patience = min(timeout, LONGEST)
            deadline = clock.monotonic() + patience
            with request(hot, bytes, clock.now(), patience):
                while space(hot).free < max(bytes, requested(hot, clock.now())):
                    if not self.ensure_worker() or clock.monotonic() >= deadline:
                        break
                    clock.sleep(0.1)
            return space(hot).free >= bytes
        except CancelledError:
            return False
        except Exception as error:  # noqa: BLE001 (whatever it is, training goes on)
            self._complain(f"no room was made: {error}")
            return False

    def restore(
        self,
        step: int | None = None,
        *,
        series: str | None = None,
        generation: str | None = None,
        rank: int | None = None,
        to: str | os.PathLike[str] | None = None,
        force: bool = False,
        emit: Emit | None = None,
    ) -> Restored:
        """Brings a checkpoint back to its place in the hot folder, or below `to`; with `rank` only that rank's share.

        `step=None`: the newest good one, by time of saving. One that only the hot tier has counts once each of its
        bytes was read and found good. What is damaged, incomplete, abandoned or holds a known NaN is passed over, with
        the reason; a hot copy that is damaged is fetched anew, and moved to ``.ckpt-tier/replaced/``. With the cold
        tier away, the newest good one of the hot tier, and a warning.
        `series=None`: the only one there is. Ranks and processes may all ask at once: one fetches.

        With the `process_group` of `open` this is a collective: rank 0 of the group chooses step and generation, every
        rank brings that one back, and what is damaged for one of them is passed over by all. An error of any rank is
        raised by all. Without it no call waits for another process.

        Raises NotFoundError, IntegrityError, ConflictError (another file is there), NoSpaceError, UnavailableError,
        UsageError (several series, none named).
        """
        say = emit or _log_event
        restoration = Restoration(self._wiring, say, rank=rank, to=None if to is None else Path(to), force=force)

        def only_series(wanted: int | None) -> str:
            return check_name("series", series or _only(restoration.candidates.series(wanted)))

        def bring_back(choice: Choice) -> Restored:
            wanted = None if choice.step is None else check_step(choice.step)
            name = check_name("series", choice.series) if choice.series else only_series(wanted)
            if wanted is None or step is not None:
                return restoration.run(name, wanted, choice.generation)
            try:
                [chosen] = restoration.candidates.of(name, wanted, choice.generation)
            except NotFoundError as error:
                if choice.committed:
                    raise
                raise IntegrityError(f"step {wanted} is on another rank's hot tier alone") from error
            return restoration.bring_back(chosen, mend=True)

        def candidates() -> Iterator[Choice]:
            wanted = None if step is None else check_step(step)
            name = only_series(wanted)
            for found in restoration.candidates.of(name, wanted, generation):
                yield Choice(name, found.manifest.step, found.manifest.generation, found.hot is None)

        asked = Choice(series, step, generation)
        if self._process_group is None:
            return bring_back(asked)
        return restore_together(Group(self._process_group), asked, candidates, bring_back, say)

    def inspect(
        self,
        step: int | None = None,
        *,
        series: str | None = None,
        generation: str | None = None,
        rank: int | None = None,
        tier: Literal["hot", "cold"] | None = None,
    ) -> tuple[Catalogue, ...]:
        """What a checkpoint's files hold, without fetching them or running code from them; `step=None`: the one saved
        last. Raises NotFoundError, UsageError (several series, none named), IntegrityError, UnavailableError."""
        from ckpt_tier.inspection import Inspection

        wanted = None if step is None else check_step(step)
        found = Inspection(self._wiring).checkpoint(wanted, series=series, generation=generation, rank=rank, tier=tier)
        return tuple(found.catalogues())

    def load_tensor(
        self,
        step: int | None,
        name: str,
        *,
        series: str | None = None,
        generation: str | None = None,
        rank: int | None = None,
    ) -> torch.Tensor:
        """One tensor of a checkpoint, on the CPU, with its own shape, stride and dtype; nothing else of it is read, and
        nothing is restored. `step=None`: the checkpoint saved last. Names are those that `inspect` shows.

        It is read from the hot copy where that is the very content that was validated, else from the cold tier. Where
        the file has a checksum of it (torch's zip archives, if the tensor covers all of its storage), it is checked.

        Raises NotFoundError (names near ones), UsageError (several series or ranks have it and none is named, or it is
        sparse or quantised), IntegrityError, UnavailableError, ConfigError (the installed torch lacks its dtype).
        """
        from ckpt_tier.loading import load_tensor

        wanted = None if step is None else check_step(step)
        return load_tensor(self._wiring, wanted, name, series=series, generation=generation, rank=rank)

    def track(
        self,
        *patterns: str,
        series: str | None = None,
        first: int = 0,
        last: int | None = None,
        rank: int | None = None,
    ) -> Tracked:
        """How the tensors and numbers that match the globs have gone over the steps from `first` to `last`, in both
        tiers. A checkpoint that can't be read is among `Tracked.problems`. Raises NotFoundError, UsageError,
        UnavailableError."""
        from ckpt_tier.tracking import Tracking

        tracking = Tracking(self._wiring)
        return tracking.run(patterns, tracking.steps(series, first=first, last=last, rank=rank))

    def close(self) -> None:
        """Lets the worker know that this process uses the folder no more. Does not wait: see `drain`."""
        self._saving.close()
        if self._presence is not None:
            self._presence.release()
            self._presence = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drain()
        self.close()

    def _complain(self, text: str) -> None:
        """To the log, and to where `status` looks; where the hot folder can't be written, to the state folder."""
        _log.warning("ckpt-tier: %s", text)
        line = f"{format_time(self._clock.now())} {text}".replace("\n", " ") + "\n"
        for folder in (self.config.hot.path / HIDDEN, self.config.state_dir):
            with contextlib.suppress(OSError):
                folder.mkdir(parents=folder == self.config.state_dir, exist_ok=True)
                append_capped(folder / HOOK_ERRORS, line, HOOK_ERRORS_BYTES)
                return

    def _is_waiting(self, ticket: str) -> bool:
        try:
            return self._wiring.inbox.is_waiting(ticket)
        except OSError:  # the folder can't be looked into: nothing says that it is committed
            return True

    def ensure_worker(self) -> bool:
        """Starts a worker if none runs and this tier may; False if there is none to wait for. Never raises."""
        try:
            if self._wiring.worker_lock("").is_held():
                return True
            now = self._clock.monotonic()
            if self._may_start_worker and now >= self._start_again_at and not _lives(self._worker):
                self._start_again_at = now + START_AGAIN
                self._worker = start_worker(self.config, self._overrides)
        except OSError as error:
            self._complain(f"no worker was started: {error}")
            return False
        return self._may_start_worker


def _lives(child: int | None) -> bool:
    """Whether a worker that this process started is still there. One whose cold tier is away, and whose run has no id
    yet, holds no lock while it waits; another beside it would wait as well."""
    if child is None:
        return False
    try:
        return os.waitpid(child, os.WNOHANG)[0] == 0
    except ChildProcessError:  # it was reaped already
        return False


def _only(series: list[str]) -> str:
    """The one there is. Raises UsageError if there are several."""
    if len(series) > 1:
        raise UsageError(f"the run has the series {', '.join(series)}", "one call restores one", 'name it: series="…"')
    return series[0]


def _log_event(event: Event) -> None:
    _log.info("%s", event)
