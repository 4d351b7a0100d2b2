"""What the command line asks: plans, lists, status, verification and restores, over both tiers of one configuration.

Nothing here changes a tier, except `restore` and `dismiss`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ckpt_tier.core.nouns import check_name
from ckpt_tier.errors import NoColdTierError, NotFoundError, UnavailableError
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.restoring import BroughtBack, Restoration
from ckpt_tier.restoring import Restored as Restored
from ckpt_tier.wiring import Wiring

if TYPE_CHECKING:
    from ckpt_tier.cold.manifest import Manifest
    from ckpt_tier.cold.manifests import Entry
    from ckpt_tier.config import FreeSpace
    from ckpt_tier.core.events import Emit
    from ckpt_tier.flow.actions import Action
    from ckpt_tier.flow.disk import DiskReport
    from ckpt_tier.flow.listing import Listed
    from ckpt_tier.flow.observe import Marks
    from ckpt_tier.flow.status import Status
    from ckpt_tier.flow.verify import Verified
    from ckpt_tier.flow.view import View
    from ckpt_tier.journal.journal import Facts
    from ckpt_tier.journal.saves import Save

    Committed = tuple[list[Entry] | None, dict[Entry, Manifest], str]

HOOK_ERRORS = "hook-errors.log"
READ_AT_MOST = 500
"""Manifest bodies that `list` and `status` fetch; what is beyond is shown without its size."""


class Operations:
    """The questions that can be asked of a configuration. To be used by one thread."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._config = wiring.config
        self._clock = wiring.clock

    def plan(self) -> list[Action]:
        """Every action that a `sync` would take now, with its reason. Changes nothing."""
        from ckpt_tier.flow.reconcile import reconcile

        return reconcile(self._view()[0])

    def waiting(self) -> dict[str, int]:
        """What waits for validation or upload, by path, with its bytes: as far as this machine knows, without asking
        the cold tier. Changes nothing. Raises ConfigError."""
        from ckpt_tier.flow.status import waiting

        return waiting(self._view(ask_cold=False)[0])

    def entries(self, series: str | None = None, step: int | None = None) -> list[Entry]:
        """The committed checkpoints, by series and step. Raises UnavailableError, NotFoundError (no such step)."""
        from ckpt_tier.flow.listing import no_such_step
        from ckpt_tier.flow.retry import persistently

        if series is not None:
            check_name("series", series)
        manifests = self._wiring.cold.manifests
        names = [series] if series else persistently(manifests.series, self._clock)
        listed = persistently(lambda: manifests.entries_from(dict.fromkeys(names, step or 0)), self._clock)
        found = [entry for entry in listed if step in (None, entry.step)]
        if step is not None and not found:
            raise no_such_step(manifests, names, step)
        return found

    def checkpoints(
        self,
        series: str | None = None,
        *,
        read_all: bool = False,
        away: Callable[[UnavailableError], None] | None = None,
    ) -> list[Listed]:
        """The checkpoints of both tiers, by series and step. Changes nothing.

        With `away`, a cold tier that can't be reached is told to it, and what the hot tier has is returned; without it,
        UnavailableError is raised.
        """
        from ckpt_tier.cold.notes import NO_NOTES, list_notes
        from ckpt_tier.cold.pins import read_pins
        from ckpt_tier.flow.listing import merge
        from ckpt_tier.flow.retry import persistently
        from ckpt_tier.hot.scan import scan
        from ckpt_tier.journal.journal import peek

        entries: list[Entry] = []
        manifests: dict[Entry, Manifest] = {}
        pins: dict[tuple[str, int], str] = {}
        notes = NO_NOTES
        try:
            with contextlib.suppress(NotFoundError, NoColdTierError):  # the run has not begun, or never will
                entries = self.entries(series)
                cold = self._wiring.cold.manifests
                manifests, _ = cold.read_all(reversed(entries), None if read_all else READ_AT_MOST)
                names = [series] if series else persistently(cold.series, self._clock)
                pins = persistently(lambda: read_pins(cold, names), self._clock)
                notes = persistently(lambda: list_notes(cold, names), self._clock)
        except UnavailableError as error:
            if away is None:
                raise
            away(error)
        hot = scan(self._config.hot.path, self._wiring.layout).copies if self._config.hot.path.is_dir() else []
        saves, _ = peek(self._config.state_dir) or ([], None)
        return merge(entries, manifests, [f for f in hot if series in (None, f.series)], saves, pins, notes)

    def status(self, committed: Committed | None = None) -> Status:
        """Everything on one screen. Changes nothing; when the cold tier can't be reached, says so in it.

        `committed` is what `self.committed` has just found."""
        from ckpt_tier.core.units import format_time
        from ckpt_tier.flow.status import ColdStatus, WorkerStatus, status
        from ckpt_tier.hot.space import space
        from ckpt_tier.journal.journal import peek_verdicts

        facts = self._facts()
        entries, manifests, problem = committed or self.committed()
        view, warnings = self._view(entries, ask_cold=False)
        lock = self._wiring.worker_lock("")
        holder = lock.holder() if lock.is_held() else None
        return status(
            view,
            run=self._config.run,
            hot_path=str(self._config.hot.path),
            disk_total=space(self._config.hot.path).total,
            cold=ColdStatus(
                url=self._wiring.store.url if self._config.has_cold else "",
                error=problem,
                last_seen_at=format_time(facts.last_pass_at) if facts.last_pass_at else None,
            ),
            worker=WorkerStatus(
                running=lock.is_held(),
                pid=holder.pid if holder else None,
                host=holder.host if holder else None,
                what=holder.what if holder else None,
            ),
            facts=facts,
            verdicts=peek_verdicts(self._config.state_dir),
            entries=entries,
            manifests=manifests,
            warnings=warnings,
        )

    def disk(
        self, *, within: float, min_free: FreeSpace | None = None, committed: Committed | None = None
    ) -> DiskReport:
        """What takes the hot tier's room, what could go and what not, and whether a person should come: when the disk
        is full within `within` seconds, or less than `min_free` (as configured, if None) is free. Changes nothing."""
        from ckpt_tier.flow.disk import GOES, fates, report
        from ckpt_tier.flow.prune_alone import rule_on_all
        from ckpt_tier.flow.status import full_in, rate_of_saving
        from ckpt_tier.hot.space import space
        from ckpt_tier.hot.usage import lying_about

        hot = self._config.hot
        self._wiring.require_hot()
        entries, manifests, problem = committed or self.committed()
        view, warnings = self._view(entries, ask_cold=False)
        draining = self._config.has_cold and not problem and self._wiring.worker_lock("").is_held()
        if self._config.has_cold:
            fate = fates(view)
        else:
            fate = {a.path: ", ".join(r.reasons) if r.kept else GOES for r, a in rule_on_all(view)}
        total = space(hot.path).total
        return report(
            view,
            fate,
            run=self._config.run,
            hot_path=str(hot.path),
            total=total,
            full_in=full_in(view, rate_of_saving(view, manifests.values()), self._facts(), draining=draining),
            min_free=(min_free or hot.min_free).bytes_of(total),
            within=within,
            others=lying_about(
                hot.path,
                {file.path for copy in view.hot.values() for file in copy.files},
                {file.stamp.inode for copy in view.hot.values() for file in copy.files},
            ),
            problems=[*warnings, *([f"the cold tier is away: {problem}"] if problem else [])],
        )

    def _facts(self) -> Facts:
        from ckpt_tier.journal.journal import Facts, peek

        return (peek(self._config.state_dir) or ([], Facts()))[1]

    def committed(self, *, read_all: bool = False) -> Committed:
        """What is committed, with the newest manifests, or all; None, and why, if the cold tier could not be asked."""
        try:
            entries = self.entries()
            manifests, _ = self._wiring.cold.manifests.read_all(reversed(entries), None if read_all else READ_AT_MOST)
        except (NotFoundError, NoColdTierError):
            return [], {}, ""  # the run has not begun, or never will
        except UnavailableError as error:
            return None, {}, str(error)
        return entries, manifests, ""

    def verify(self, series: str | None = None, step: int | None = None, *, read: bool) -> Iterator[Verified]:
        """A verdict per committed checkpoint: present, or with `read` every byte right."""
        from ckpt_tier.flow.verify import verify

        entries = self.entries(series, step)
        return verify(self._wiring.cold.manifests, entries, read=read, clock=self._clock)

    def dismiss(self, steps: set[int] | None) -> list[tuple[str, int]]:
        """Forgets what was reported as lost or incomplete (all, or these steps): (series, step) of each. Under the
        worker's lock.

        A rejected file is not dismissed but mended or deleted; a stalled one goes on by itself. Shares of an incomplete
        checkpoint stay where they are, in both tiers.
        """
        from ckpt_tier.core.states import State
        from ckpt_tier.journal.journal import Journal

        lock = self._wiring.worker_lock("ckpt-tier sync --dismiss").acquire("end that process first, or wait for it")
        with lock, contextlib.closing(Journal.open(self._config.state_dir)) as journal:
            wanted = [save for save in journal.saves() if steps is None or save.step in steps]
            lost = [save for save in wanted if save.state is State.LOST]
            incomplete = [save for save in wanted if save.trouble == "incomplete"]
            for save in lost:
                journal.forget(save.id)
                if save.ticket:
                    self._wiring.inbox.dismiss(save.ticket)
            for save in incomplete:
                journal.put(msgspec.structs.replace(save, dismissed=True))
        return list(dict.fromkeys((save.series, save.step) for save in (*lost, *incomplete)))

    def restore(
        self,
        emit: Emit,
        *,
        step: int | None,
        series: Collection[str] = (),
        generation: str | None = None,
        rank: int | None = None,
        to: Path | None = None,
        force: bool = False,
        hot: bool = True,
    ) -> BroughtBack:
        """Brings a step back, or with `step=None` the newest good one, for these series or for each that has it; with
        `rank` only that rank's share. Raises NotFoundError and UnavailableError where it is not even known of which
        series; else see `ckpt_tier.restoring`.

        `hot=False`: from the cold tier alone, as if the hot folder held nothing.
        """
        restoration = Restoration(self._wiring, emit, rank=rank, to=to, force=force, hot=hot)
        return restoration.run_all(restoration.candidates.series(step, series), step, generation)

    def _view(self, entries: Iterable[Entry] | None = None, *, ask_cold: bool = True) -> tuple[View, list[str]]:
        """One look without the lock, and what is worth a warning. Without `entries` and without asking the cold
        tier, the journal's word for what is committed is taken."""
        from ckpt_tier.core.states import State
        from ckpt_tier.flow.observe import observe
        from ckpt_tier.journal.journal import peek, peek_verdicts

        self._wiring.require_hot()
        if entries is None and ask_cold:
            try:
                entries = self.entries()
            except NotFoundError:
                entries = []  # the run has not begun
        saves, _ = peek(self._config.state_dir) or ([], None)
        marks = self._marks(saves) if entries is not None else None
        if entries is None:
            committed = {(s.series, s.step, s.generation or "") for s in saves if s.state is State.COMMITTED}
        else:
            committed = {(entry.series, entry.step, entry.generation) for entry in entries}
        view, found = observe(
            self._config,
            self._wiring.layout,
            self._wiring.inbox,
            saves,
            committed,
            now=self._clock.now(),
            marks=marks,
            damaged=[verdict.key for verdict in peek_verdicts(self._config.state_dir) if verdict.problem],
        )
        return view, [*found.problems, *self._unnamed(), *self._hook_errors()]

    def _unnamed(self) -> list[str]:
        """What killed saves left that may be whole, and that only a person may judge."""
        from ckpt_tier.core.units import format_size
        from ckpt_tier.flow.sweep import still_unnamed

        return [
            f"{each.path} ({format_size(each.stamp.size)}) was left by a save that was killed: if it is whole, "
            f"rename it to {each.name}; else delete it"
            for each in still_unnamed(self._config.hot.path, self._wiring.layout, self._clock.now())
        ]

    def _marks(self, saves: list[Save]) -> Marks | None:
        """The marks that matter to what is on the hot tier; None where the run has not begun, or never will."""
        from ckpt_tier.flow.observe import list_marks, oldest_steps, waiting
        from ckpt_tier.flow.retry import persistently
        from ckpt_tier.hot.scan import scan

        try:
            manifests, layout = self._wiring.cold.manifests, self._wiring.layout
        except (NotFoundError, NoColdTierError):
            return None
        oldest = oldest_steps(scan(self._config.hot.path, layout).copies, saves, waiting(self._wiring.inbox, layout))
        return persistently(lambda: list_marks(manifests, oldest), self._clock)

    def _hook_errors(self) -> list[str]:
        """The last complaints of the hook: in the hot folder, or, where that was full, in the state folder."""
        lines: list[str] = []
        for folder in (self._config.hot.path / HIDDEN, self._config.state_dir):
            for name in (f"{HOOK_ERRORS}.1", HOOK_ERRORS):
                with contextlib.suppress(OSError):
                    lines += (folder / name).read_text(errors="replace").splitlines()
        return [f"the hook: {line}" for line in sorted(lines)[-3:]]
