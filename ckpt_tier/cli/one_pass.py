"""One pass of `sync`, and the account of it."""

import math
import threading
from pathlib import Path

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.documents.sync import EvictedCopy, SyncDocument, SyncedCheckpoint, Trouble
from ckpt_tier.cli.emitting import emitting
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.stopping import Stop
from ckpt_tier.cli.words import plural, rate, seconds
from ckpt_tier.core.events import Committed, Emit, Event, Evicted, Moved, Warned
from ckpt_tier.core.states import NEEDS_A_PERSON, State
from ckpt_tier.core.units import format_size
from ckpt_tier.errors import CkptTierError
from ckpt_tier.flow.rounds import Rounds
from ckpt_tier.journal.journal import peek, peek_verdicts
from ckpt_tier.system.clock import SystemClock


def one_pass(settings: Settings) -> int:
    """Syncs until nothing is due, prints the account, and raises what is left for a person."""
    stop = Stop()
    stop.install()
    clock = SystemClock(stop.request)
    wiring = settings.wiring(clock)
    begun = clock.monotonic()
    tally = Tally()
    error: CkptTierError | None = None
    with emitting(settings, clock, "uploading") as emit:
        tally.then = emit
        try:
            with wiring.syncing(tally, "ckpt-tier sync") as syncing:
                tally.has_begun = True
                Rounds(syncing.parts, syncing.send_again).recheck()
                syncing.run_until_idle()
                error = syncing.attention()
        except CkptTierError as failure:
            if not tally.has_begun:
                raise
            error = failure
    trouble = _trouble(wiring.config.state_dir)
    elapsed = clock.monotonic() - begun
    if settings.json:
        document = tally.document(trouble, elapsed, error.exit_code if error else 0)
        paper.say(msgspec.json.encode(document).decode())
    elif not settings.quiet:
        tally.print_account(trouble, elapsed)
    if error is not None:
        raise error
    return 0


class Tally:
    """Counts events on their way to `then`. Safe to call from several threads."""

    def __init__(self) -> None:
        self.then: Emit | None = None
        self.has_begun = False
        self._lock = threading.Lock()
        self._committed: list[SyncedCheckpoint] = []
        self._evicted: list[EvictedCopy] = []
        self._warnings: list[str] = []
        self._moved: dict[tuple[str, int, str], int] = {}

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._count(event)
        if self.then is not None:
            self.then(event)

    def _count(self, event: Event) -> None:
        match event:
            case Committed():
                self._committed.append(
                    SyncedCheckpoint(
                        series=event.series,
                        step=event.step,
                        generation=event.generation,
                        size_bytes=event.size_bytes,
                        adopted=event.adopted,
                    )
                )
            case Evicted():
                self._evicted.append(
                    EvictedCopy(
                        series=event.series,
                        step=event.step,
                        path=event.path,
                        size_bytes=event.size_bytes,
                        reason=event.reason,
                    )
                )
            case Warned():
                self._warnings.append(event.text)
            case Moved():
                self._moved[event.series, event.step, event.path] = event.moved_bytes

    @property
    def committed_bytes(self) -> int:
        """Bytes of the checkpoints that this pass sent and committed."""
        return sum(each.size_bytes for each in self._committed if not each.adopted)

    @property
    def freed_bytes(self) -> int:
        return sum(each.size_bytes for each in self._evicted)

    def document(self, trouble: list[Trouble], elapsed: float, exit_code: int) -> SyncDocument:
        return SyncDocument(
            committed=tuple(sorted(self._committed, key=lambda each: (each.series, each.step))),
            evicted=tuple(sorted(self._evicted, key=lambda each: (each.series, each.step))),
            trouble=tuple(trouble),
            warnings=tuple(self._warnings),
            committed_bytes=self.committed_bytes,
            freed_bytes=self.freed_bytes,
            elapsed_seconds=math.ceil(elapsed),
            exit_code=exit_code,
        )

    def print_account(self, trouble: list[Trouble], elapsed: float) -> None:
        """What happened, in a few lines, and what needs a person."""
        rows = self._rows(elapsed)
        for state in ("damaged", State.REJECTED, State.STALLED, State.LOST):
            count = sum(each.state == state for each in trouble)
            if count:
                rows.append((str(state), plural(count, "checkpoint"), "see below"))
        if rows:
            paper.say(paper.columns(rows))
        else:
            paper.say("Nothing was due.")
        if trouble:
            paper.say()
            cells = [(t.state, f"series {t.series}", f"step {t.step}", f"{t.path}: {t.reason}") for t in trouble]
            paper.say(paper.columns(cells, indent=2))

    def _rows(self, elapsed: float) -> list[tuple[str, str, str]]:
        rows = []
        sent = [each for each in self._committed if not each.adopted]
        if sent:
            speed = rate(self.committed_bytes, elapsed)
            told = f"{format_size(self.committed_bytes)} in {seconds(elapsed)}" + (f", {speed}" if speed else "")
            rows.append(("committed", plural(len(sent), "checkpoint"), told))
        adopted = [each for each in self._committed if each.adopted]
        if adopted:
            rows.append(("adopted", plural(len(adopted), "checkpoint"), "the cold tier held them already"))
        if self._evicted:
            freed = f"{format_size(self.freed_bytes)} freed on the hot tier"
            rows.append(("evicted", plural(len(self._evicted), "copy").replace("copys", "copies"), freed))
        return rows


def _trouble(state_dir: Path) -> list[Trouble]:
    saves, _ = peek(state_dir) or ([], None)
    damaged = [
        Trouble(state="damaged", series=v.series, step=v.step, path=v.path, reason=v.problem)
        for v in peek_verdicts(state_dir)
        if v.problem
    ]
    return damaged + [
        Trouble(state=save.state, series=save.series, step=save.step, path=save.path, reason=save.reason)
        for save in sorted(saves, key=lambda s: (s.state, s.series, s.step))
        if save.state in NEEDS_A_PERSON
    ]
