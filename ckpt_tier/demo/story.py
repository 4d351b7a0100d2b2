"""What `ckpt-tier demo` does, from the first step to the proof."""

import contextlib
import shlex
import signal
import socket
import time
from pathlib import Path

import ckpt_tier
from ckpt_tier.core.units import format_size
from ckpt_tier.demo.ground import Ground, disk_use
from ckpt_tier.demo.messages import Task
from ckpt_tier.demo.process import Training, end_workers, last_lines
from ckpt_tier.demo.proof import same_losses
from ckpt_tier.demo.screen import Progress, Screen
from ckpt_tier.errors import IntegrityError, NotFoundError, UnavailableError
from ckpt_tier.operations import Operations
from ckpt_tier.spawn import LOG_NAME
from ckpt_tier.wiring import Wiring

LAST_STEP = 270
DIE_AT = 210
BACK_TO = 120
SAVE_EVERY = 3
KEEP_LAST = 3
BUDGET = 50_000_000
"""Bytes that the hot tier may hold; the saves up to DIE_AT are about seven times that."""
PACE = 0.025
"""Seconds that a step takes at least: some 65 MB/s of saves, which a folder on one disk keeps up with."""
LOOK_EVERY = 0.1
LIST_EVERY = 0.5
STUCK_AFTER = 120.0
"""Seconds without a step or a commit after which the demo gives up."""


class Story:
    """One demo on one ground. `tell` once, then `clean_up` in any case."""

    def __init__(self, ground: Ground, screen: Screen) -> None:
        self._ground = ground
        self._screen = screen
        self._config = ground.config()
        self._wiring = Wiring(self._config)
        self._trainings: list[Training] = []
        self._committed: set[int] = set()
        self._listed_at = 0.0
        self._peak = 0

    def tell(self) -> None:
        """Raises IntegrityError when the proof fails, and whatever ckpt-tier raises on the way."""
        began = time.monotonic()
        self._open_cold_tier()
        screen = self._screen
        screen.say(
            f"Training a small model for {LAST_STEP} steps, a save every {SAVE_EVERY}, on a disk budget of "
            f"{format_size(BUDGET)}.\nHot tier: {self._config.hot.path}\nCold tier: {self._wiring.store.url}\n"
        )
        uninterrupted = self._train(Task(last_step=LAST_STEP), nice=5)
        killed = self._train(
            Task(
                last_step=LAST_STEP,
                config=str(self._ground.config_file),
                save_every=SAVE_EVERY,
                budget=BUDGET,
                die_at=DIE_AT,
                pace=PACE,
            )
        )
        with screen.following():
            self._until_committed(killed)
        self._report_saves(killed)
        restored = self._lose_and_restore()
        screen.say(f"  resuming from step {BACK_TO} in a new process …")
        resumed = self._train(Task(last_step=LAST_STEP, resume=str(restored)))
        resumed.result()
        uninterrupted.result()
        self._prove(uninterrupted, killed, resumed)
        screen.say(f"\nAll of it took {time.monotonic() - began:.0f} s. On a folder of your own, next:", "bold")
        screen.say("  ckpt-tier init path/to/checkpoints s3://bucket/prefix     (or a folder on a NAS)")
        screen.say("  ckpt-tier sync --dry-run")

    def clean_up(self, *, keep: bool) -> None:
        """Ends every process of the demo and removes what it wrote, here and in the cold tier."""
        for training in self._trainings:
            training.end()
        end_workers(self._ground.config_file, self._lock_holder)
        if keep:
            config = shlex.quote(str(self._ground.config_file))
            self._screen.say(f"\nKept: {self._ground.folder}\n  ckpt-tier list --config {config}")
            return
        if not self._ground.cold_is_ours:
            self._empty_cold_tier()
        self._ground.remove()

    def _open_cold_tier(self) -> None:
        """Makes sure that it answers, before anything is trained."""
        if self._ground.cold_is_ours:
            from ckpt_tier.store.folder import FolderStore

            FolderStore(self._ground.folder / "cold").create_marker()
        self._wiring.store.capabilities()

    def _train(self, task: Task, nice: int = 0) -> Training:
        log = self._ground.folder / "training.log"
        training = Training(task, env=self._ground.env, log=log, nice=nice)
        self._trainings.append(training)
        return training

    def _until_committed(self, killed: Training) -> None:
        """Follows the training to its death and the worker to the end of its queue."""
        seen, changed = (0, 0), time.monotonic()
        while killed.is_running() or len(self._committed) < len(killed.saves):
            time.sleep(LOOK_EVERY)
            self._look(killed)
            if (killed.step, len(self._committed)) != seen:
                seen, changed = (killed.step, len(self._committed)), time.monotonic()
            elif time.monotonic() - changed > STUCK_AFTER:
                raise UnavailableError(
                    f"nothing has moved for {STUCK_AFTER:.0f} seconds, {seen[1]} of {len(killed.saves)} saves are "
                    "committed",
                    last_lines(self._config.state_dir / LOG_NAME),
                    "run the demo again with --keep, and look at state/worker.log in its folder",
                )
            if not killed.is_running():
                killed.result(expected=-signal.SIGKILL)

    def _look(self, killed: Training) -> None:
        hot = disk_use(self._config.hot.path)
        self._peak = max(self._peak, hot, *(save.hot_bytes for save in list(killed.saves)), 0)
        if time.monotonic() - self._listed_at > LIST_EVERY:
            with contextlib.suppress(NotFoundError):
                self._committed = {entry.step for entry in Operations(self._wiring).entries("main")}
            self._listed_at = time.monotonic()
        self._screen.show(
            Progress(
                step=killed.step,
                last_step=LAST_STEP,
                loss=killed.loss,
                saved_count=len(killed.saves),
                saved_bytes=sum(save.saved_bytes for save in list(killed.saves)),
                hot_bytes=hot,
                budget=BUDGET,
                committed=len(self._committed),
            )
        )

    def _report_saves(self, killed: Training) -> None:
        steps = {save.step for save in killed.saves}
        if self._committed != steps or steps != set(range(SAVE_EVERY, DIE_AT + 1, SAVE_EVERY)):
            raise IntegrityError(
                f"{len(self._committed & steps)} of {len(steps)} saves are committed",
                f"missing: {sorted(steps - self._committed)}",
            )
        if self._peak > BUDGET:
            raise IntegrityError(f"the hot tier held {format_size(self._peak)}", f"more than {format_size(BUDGET)}")
        total = sum(save.saved_bytes for save in killed.saves)
        waited = sum(save.waited for save in killed.saves)
        self._screen.proved(
            f"{len(steps)} checkpoints of {format_size(killed.saves[-1].saved_bytes)} were saved: "
            f"{format_size(total)}, {total / BUDGET:.1f} times the disk budget of {format_size(BUDGET)}; the hot tier "
            f"never held more than {format_size(self._peak)}"
        )
        self._screen.proved(
            "training never waited for room on the disk"
            if not waited
            else f"training waited {waited:.1f} s in all for room within the budget; no save failed"
        )
        self._screen.proved(
            f"training was killed (kill -9) as soon as its save of step {DIE_AT} had returned; the worker finished: "
            f"{len(self._committed)} of {len(steps)} are committed"
        )

    def _lose_and_restore(self) -> Path:
        end_workers(self._ground.config_file, self._lock_holder)
        gone = self._ground.lose_hot_tier()
        began = time.monotonic()
        got = ckpt_tier.open(self._config, worker=False).restore(step=BACK_TO)
        self._screen.proved(
            f"the hot tier ({format_size(gone)}) and the journal were deleted; step {got.step} came back from the cold "
            f"tier, {format_size(got.fetched_bytes)} in {time.monotonic() - began:.2f} s, every byte checked"
        )
        return got.files[0]

    def _prove(self, uninterrupted: Training, killed: Training, resumed: Training) -> None:
        same_losses(uninterrupted.losses, killed.losses, range(1, DIE_AT + 1))
        steps = range(BACK_TO + 1, LAST_STEP + 1)
        digest = same_losses(uninterrupted.losses, resumed.losses, steps)
        self._screen.proved(
            f"resumed from step {BACK_TO}: all {len(steps)} losses are bit-identical to those of a run that was never "
            f"interrupted (the last is {resumed.loss}, SHA-256 over all {digest[:16]}…)"
        )
        if not resumed.digest or resumed.digest != uninterrupted.digest:
            raise IntegrityError("the final weights differ", f"{resumed.digest} and {uninterrupted.digest}")
        self._screen.proved(f"so are the final weights and the optimizer's state (SHA-256 {resumed.digest[:16]}…)")

    def _lock_holder(self) -> int | None:
        lock = self._wiring.worker_lock("")
        holder = lock.holder() if lock.is_held() else None
        return holder.pid if holder and holder.host == socket.gethostname() else None

    def _empty_cold_tier(self) -> None:
        """Deletes what the demo's run, which has a name of its own, put into somebody's bucket or folder."""
        store = self._wiring.store
        for stat in list(store.list(f"{self._ground.run}/")):
            store.delete(stat.key)
