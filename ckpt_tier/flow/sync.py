"""Carrying the list out: look, reconcile, act, look again until nothing is due.

One thread looks, validates and evicts; a few others upload and commit. Only the looking thread decides, and it acts
only on rows that are still as it saw them.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Self

import msgspec

from ckpt_tier.cold.tombstones import read_tombstone
from ckpt_tier.core.events import Changed, Found, Note, Retrying, Stalled, Warned
from ckpt_tier.core.states import QUEUED, State
from ckpt_tier.core.units import format_size, format_time
from ckpt_tier.errors import (
    AttentionError,
    CancelledError,
    CkptTierError,
    IntegrityError,
    NoSpaceError,
    SourceChangedError,
    UnavailableError,
)
from ckpt_tier.flow import evict
from ckpt_tier.flow.actions import Action, Kind
from ckpt_tier.flow.ingest import locate, set_aside, take_up
from ckpt_tier.flow.meter import Pace
from ckpt_tier.flow.observe import Marks, list_committed, list_marks, observe, oldest_steps, waiting
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.proof import generation_with, has_save, prove_committed, says_committed
from ckpt_tier.flow.reconcile import reconcile
from ckpt_tier.flow.retry import persistently
from ckpt_tier.flow.upload import PrunedError, commit, note_committed, note_pruned, upload
from ckpt_tier.flow.view import View
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.scan import scan
from ckpt_tier.journal.saves import Save

JOBS = 4
"""Pieces in flight, and so the most that a kill can waste: four small checkpoints at the same time, or one large."""
LOOK_EVERY = 1.0
"""Seconds for which one look is good."""
STALLED_WAIT = 300.0
"""Seconds until a stalled upload is tried again."""
POSTPONED = 2.0
"""Seconds until a file that was open for writing is looked at again."""
REMEMBERED = 7 * 86_400.0
"""Seconds for which a rejected ticket is kept, for a training that has yet to ask what became of it."""
CALLED_OFF_WAIT = 60.0
"""Seconds until an eviction that was called off is tried again."""
ASK_AGAIN = (5.0, 60.0)
"""Seconds until a share asks again whether the others are there: at first, and at the most."""
PATIENCE = 600.0
"""Seconds for which a worker that has nothing else to do stays for the other shares of a checkpoint."""

_DUE_IN_POOL = {Kind.UPLOAD, Kind.ADOPT, Kind.ASSEMBLE}
_ASK_COLD = {Kind.UPLOAD, Kind.ADOPT, Kind.ASSEMBLE, Kind.EVICT, Kind.RELEASE}
_CALLED_OFF = {Kind.EVICT, Kind.SET_ASIDE, Kind.LET_GO}
_NEVER_DUE = {Kind.KEEP, Kind.REPORT, Kind.WAIT}


class Syncing:
    """The queue of one hot folder at work. To be used by one thread, which also owns the worker's lock."""

    def __init__(self, parts: Parts, layout: Layout, pace: Pace, join: Callable[[], object]) -> None:
        """`join` makes sure that the run in the cold tier is the one that `parts` expect; it raises otherwise."""
        self._parts = parts
        self._join_run = join
        self._listed = False
        self._layout = layout
        self._pace = pace
        self._pool = ThreadPoolExecutor(JOBS, thread_name_prefix="upload")
        self._busy: dict[int, Future[Save | None]] = {}
        self._widths: dict[int, int] = {}
        self._committed: set[tuple[str, int, str]] = set()
        self._marks = Marks()
        self._postponed: dict[str, float] = {}
        self._called_off: dict[str, float] = {}
        self._ask_again: dict[int, tuple[float, float]] = {}
        self._said: set[str] = set()
        self.cold_error: UnavailableError | None = None
        self.crowded = False
        self._unsettled = False
        self._found: Found | None = None
        self._handlers: dict[Kind, Callable[[Action, Save], None]] = {
            Kind.VALIDATE: self._validate,
            Kind.EVICT: self._evict,
            Kind.RETIRE: lambda action, save: note_pruned(parts, save, action.reason),
            Kind.LOSE: self._lose,
            Kind.LET_GO: lambda action, save: evict.let_go(parts, save, action.reason),
            Kind.SET_ASIDE: lambda _, save: set_aside(parts, save),
            Kind.FORGET: lambda _, save: self._forget(save),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def parts(self) -> Parts:
        """What it works with: for what else is done while nothing is due, by the same thread."""
        return self._parts

    def list_cold(self) -> None:
        """Lists the cold tier from the oldest hot step on. Raises UnavailableError after some tries."""
        self._join_run()
        oldest = oldest_steps(
            scan(self._parts.hot, self._layout).copies,
            self._parts.journal.saves(),
            waiting(self._parts.inbox, self._layout),
        )
        self._parts.cold.receipts.forget(oldest)
        manifests, clock = self._parts.cold.manifests, self._parts.clock
        self._committed = persistently(lambda: list_committed(manifests, oldest), clock)
        self._parts.inbox.sweep(clock.now() - REMEMBERED)
        self._marks = persistently(lambda: list_marks(manifests, oldest), clock)
        facts = self._parts.journal.facts
        self._parts.journal.learn(
            msgspec.structs.replace(facts, last_pass_at=clock.now(), cold_error="", cold_error_since=0.0)
        )
        self.cold_error = None
        self._listed = True

    def run_until_idle(self) -> None:
        """One pass: until nothing is due. A file that changed just now is waited for, once, for as long as it takes
        to settle. Raises UnavailableError when the cold tier went away, after finishing what was under way."""
        self.list_cold()
        clock = self._parts.clock
        patience = clock.monotonic() + self._parts.config.hot.settle + POSTPONED
        while True:
            idle = not self.advance()
            if idle and self.cold_error is not None:
                raise self.cold_error
            if idle and not (self._unsettled and clock.monotonic() < patience):
                return
            if idle:
                clock.sleep(0.2)

    @property
    def is_done(self) -> bool:
        """Whether nothing waits any more, neither in the journal nor in what the last look saw."""
        queued = any(self._waits(save) for save in self._parts.journal.saves())
        return not (queued or self._busy or self._unsettled)

    def _waits(self, save: Save) -> bool:
        if save.is_share and save.state is State.UPLOADED:
            return not save.overtaken and self._parts.clock.now() - save.changed_at < PATIENCE
        return save.state in QUEUED or save.state is State.SAVED

    def attention(self) -> AttentionError | IntegrityError | None:
        """What needs a person now, as the error that says so; None if nothing does."""
        counts = Counter(save.trouble for save in self._parts.journal.saves() if save.trouble)
        damaged = self._parts.journal.damaged()
        found = [f"{len(damaged)} damaged in the cold tier"] if damaged else []
        found += [f"{count} {state}" for state, count in sorted(counts.items())]
        if self.crowded:
            found.append("the disk is filling up")
        if not found:
            return None
        kind = IntegrityError if damaged else AttentionError
        return kind(f"a person is needed: {', '.join(found)}", fix="`ckpt-tier status` lists each with its reason")

    def advance(self) -> bool:
        """Looks, and acts for about `LOOK_EVERY` seconds. False if nothing was due and nothing is under way."""
        self._reap()
        view = self._look()
        actions = reconcile(view)
        self._announce(actions, view)
        due = [action for action in actions if self._is_due(action)]
        acted = self._carry_out(due)
        if self._busy and not acted:
            wait(self._busy.values(), timeout=LOOK_EVERY / 2, return_when=FIRST_COMPLETED)
            self._parts.clock.sleep(0)
        return acted or bool(self._busy)

    def _look(self) -> View:
        now = self._parts.clock.now()
        self._postponed = {path: until for path, until in self._postponed.items() if until > now}
        view, found = observe(
            self._parts.config,
            self._layout,
            self._parts.inbox,
            self._parts.journal.saves(),
            self._committed,
            now=now,
            marks=self._marks,
            postponed=self._postponed,
            busy=self._busy,
            damaged=[verdict.key for verdict in self._parts.journal.damaged()],
        )
        for problem in found.problems:
            self._say_once(problem)
        for name in self._parts.inbox.unreadable():
            self._say_once(f"the ticket .ckpt-tier/inbox/{name} can't be read", "scanning finds its file; delete it")
        if self._parts.journal.problem:
            self._say_once(f"the journal can't be written: {self._parts.journal.problem}", "free some space for it")
        return view

    def _announce(self, actions: list[Action], view: View) -> None:
        self._unsettled = any(action.kind is Kind.WAIT for action in actions)
        validating = [a for a in actions if a.kind is Kind.VALIDATE]
        uploading = [a for a in actions if a.kind is Kind.UPLOAD]
        found = Found(
            checkpoints=len(view.hot),
            to_validate=len(validating),
            to_upload=len(uploading) + len(self._busy),
            upload_bytes=sum(a.size for a in uploading),
        )
        if found != self._found:
            self._found = found
            self._parts.emit(found)
        self._watch_space(actions, view)

    def _watch_space(self, actions: list[Action], view: View) -> None:
        evictions = [a for a in actions if a.kind is Kind.EVICT]
        self.crowded = view.free < view.rules.min_free and all(a.after for a in evictions)
        if not self.crowded:
            self._said.discard("crowded")
            return
        later = sum(a.size for a in evictions)
        self._say_once(
            f"only {format_size(view.free)} are free on the hot tier, less than min_free "
            f"({format_size(view.rules.min_free)}); "
            + (f"{format_size(later)} can be evicted once committed" if later else "nothing more can be evicted"),
            "free space by hand, lower keep_last, or make the cold tier faster to reach",
            subject="crowded",
        )

    def _is_due(self, action: Action) -> bool:
        if action.after or action.kind in _NEVER_DUE:
            return False
        if action.kind in _ASK_COLD and (self.cold_error is not None or not self._listed):
            return False
        if action.kind is Kind.LOSE and (self.cold_error is not None or not self._listed):
            return False  # it may be committed, by a process that was killed before it could note it
        if action.kind in _CALLED_OFF:
            return self._called_off.get(action.path, 0.0) <= self._parts.clock.monotonic()
        if action.kind is Kind.ASSEMBLE and action.save is not None:
            return self._ask_again.get(action.save.id, (0.0, 0.0))[0] <= self._parts.clock.monotonic()
        return True

    def _carry_out(self, due: list[Action]) -> bool:
        """True if anything was done; uploads that find no free place are left for a later look."""
        clock = self._parts.clock
        until = clock.monotonic() + LOOK_EVERY
        acted = line_is_full = False
        for action in due:
            clock.sleep(0)
            if clock.monotonic() > until:
                break
            if action.kind in _DUE_IN_POOL and line_is_full:
                continue
            did = self._act(action)
            line_is_full |= action.kind in _DUE_IN_POOL and not did
            acted |= did
        return acted

    def _act(self, action: Action) -> bool:
        save = action.save
        if save is not None and save.id and self._parts.journal.get(save.id) != save:
            return False
        if action.kind in (Kind.RELEASE, Kind.ATTACH):
            self._join(action)
        elif save is None:
            return False
        elif action.kind in _DUE_IN_POOL:
            if sum(self._widths[busy] for busy in self._busy) + _width(save) > JOBS or self._is_under_way(save):
                return False
            self._widths[save.id] = _width(save)
            self._busy[save.id] = self._pool.submit(self._deliver, save, action.kind)
        else:
            try:
                self._handlers[action.kind](action, save)
            except IntegrityError as error:
                self.send_again(save, error)
            except (OSError, NoSpaceError) as error:
                self._refused(action, save, error)
        return True

    def _is_under_way(self, save: Save) -> bool:
        """Whether the same bytes, saved twice, are being sent for their other row: then this one adopts them."""
        rows = [self._parts.journal.get(identity) for identity in self._busy]
        return any((r.series, r.step, r.member) == (save.series, save.step, save.member) for r in rows if r)

    def _refused(self, action: Action, save: Save, error: OSError | CkptTierError) -> None:
        """The operating system refuses one file: said, and tried again later; the others go on."""
        self._parts.emit(Warned(text=f"can't {action.kind} {save.path}: {error}", fix="check its owner, mode and disk"))
        self._called_off[action.path] = self._parts.clock.monotonic() + CALLED_OFF_WAIT

    def _validate(self, _: Action, save: Save) -> None:
        row = take_up(self._parts, save)
        if row is None:
            self._postponed[save.path] = self._parts.clock.now() + POSTPONED

    def _lose(self, action: Action, save: Save) -> None:
        try:
            # A kill may have come between its link and its ticket, and then the journal was lost.
            was_committed = save.generation is None and persistently(
                lambda: says_committed(self._parts.cold.manifests, self._committed, save), self._parts.clock
            )
        except UnavailableError as error:
            self.cold_is_away(error)
            return
        if was_committed:
            self._forget(save)
        else:
            evict.lose(self._parts, save, action.reason)

    def _evict(self, action: Action, save: Save) -> None:
        try:
            if not evict.evict(self._parts, save, action.reason):
                self._called_off[save.path] = self._parts.clock.monotonic() + CALLED_OFF_WAIT
        except UnavailableError as error:
            self.cold_is_away(error)

    def _join(self, action: Action) -> None:
        """Joins a ticket to a row, or lets a link go."""
        if action.kind is Kind.ATTACH and action.save and (ticket := action.ticket):
            links = {file.path: file.link for file in ticket.files}
            files = (msgspec.structs.replace(file, link=links.get(file.path)) for file in action.save.files)
            self._parts.journal.put(
                msgspec.structs.replace(
                    action.save,
                    ticket=ticket.id,
                    files=tuple(files),
                    rank=ticket.rank,
                    world_size=ticket.world_size,
                    save_id=ticket.save_id,
                    during=ticket.during,
                    metrics=ticket.metrics,
                    saved_at=ticket.saved_at,
                )
            )
            return
        if action.save is not None and action.links:
            try:
                evict.release(self._parts, action.save, action.links)
            except IntegrityError as error:
                self.send_again(action.save, error)
                return
            except UnavailableError as error:
                self.cold_is_away(error)
                return
        for link in () if action.save is not None else action.links:
            self._parts.inbox.release_spare(link)
        if action.ticket is not None:
            bad = action.save is not None and action.save.state in (State.REJECTED, State.LOST)
            self._parts.inbox.resolve(action.ticket.id, rejected=bad)

    def _forget(self, save: Save) -> None:
        self._parts.journal.forget(save.id)
        if save.ticket:
            self._parts.inbox.resolve(save.ticket, rejected=save.state in (State.REJECTED, State.LOST))

    def send_again(self, save: Save, error: IntegrityError) -> None:
        """The cold tier does not hold what it should; the hot copy is still there, so it is sent again."""
        self._parts.emit(Warned(text=f"{error}; the hot copy is kept and sent again"))
        self._committed.discard((save.series, save.step, save.generation or ""))
        self._parts.journal.put(msgspec.structs.replace(save, state=State.VALIDATED))

    def cold_is_away(self, error: UnavailableError) -> None:
        """Nothing more is asked of the cold tier until `list_cold` has reached it again."""
        facts = self._parts.journal.facts
        since = facts.cold_error_since or self._parts.clock.now()
        self._parts.journal.learn(msgspec.structs.replace(facts, cold_error=str(error), cold_error_since=since))
        self.cold_error = error

    def _reap(self) -> None:
        for identity, future in list(self._busy.items()):
            if future.done():
                del self._busy[identity]
                row = future.result()
                if row is not None and row.state is State.COMMITTED:
                    self._committed.add((row.series, row.step, row.generation or ""))
                    self._ask_again.pop(row.id, None)
                elif row is not None and row.is_share and row.state is State.UPLOADED:
                    self._postpone_asking(row)

    def _postpone_asking(self, row: Save) -> None:
        """The other shares are not there yet: asks again later, and less and less often."""
        first, most = ASK_AGAIN
        wait = min(self._ask_again[row.id][1] * 2, most) if row.id in self._ask_again else first
        self._ask_again[row.id] = (self._parts.clock.monotonic() + wait, wait)
        overtaken = any(series == row.series and step > row.step for series, step, _ in self._committed)
        if overtaken and not row.overtaken and not row.dismissed:
            self._parts.journal.put(msgspec.structs.replace(row, overtaken=True, changed_at=self._parts.clock.now()))
            what = f"step {row.step} of series {row.series} is not whole, and a later one is committed"
            self._parts.emit(
                Warned(
                    text=f"{what}: {row.reason}",
                    fix="sync the folders of the other ranks, or give it up with `ckpt-tier sync --dismiss STEP`",
                )
            )

    def _deliver(self, save: Save, kind: Kind) -> Save | None:
        """In a pool thread: upload and commit, tried again while that may help. Returns the row as it ends."""
        parts = self._parts

        def attempt() -> Save:
            begun = parts.clock.monotonic()
            if kind is Kind.ASSEMBLE:
                return commit(parts, save, begun)
            known = self._found_again(save)
            if known.generation and (kind is Kind.ADOPT or known is not save):
                if (known.series, known.step, known.generation) in self._marks.tombstones:
                    return parts.journal.put(known)
                if self._holds(known):
                    return note_committed(parts, known, adopted=True)
            self._committed.discard((save.series, save.step, save.generation or ""))
            return commit(parts, upload(parts, save, self._pace), begun)

        def failed(error: UnavailableError, number: int, seconds: float) -> None:
            parts.emit(
                Retrying(series=save.series, step=save.step, reason=str(error), attempt=number, wait_seconds=seconds)
            )

        try:
            return persistently(attempt, parts.clock, parts.config.upload.attempts, failed)
        except SourceChangedError as error:
            return self._look_again(save, error)
        except PrunedError as error:
            tombstones = {**self._marks.tombstones, (save.series, save.step, error.generation): error.at}
            self._marks = msgspec.structs.replace(self._marks, tombstones=tombstones)
            return parts.journal.put(msgspec.structs.replace(save, generation=error.generation))
        except CancelledError:
            return None
        except UnavailableError as error:
            self.cold_is_away(error)
            return self._stall(save, error)
        except CkptTierError as error:
            return self._stall(save, error)
        except OSError as error:
            return self._stall(save, CkptTierError(f"{save.path} can't be sent", str(error)))

    def _look_again(self, save: Save, error: SourceChangedError) -> Save:
        """The files are not what validation read: validate what is there now, or find it lost."""
        self._parts.emit(Changed(series=save.series, step=save.step, path=save.path, reason=str(error)))
        try:
            for file in save.files:
                locate(self._parts, file)
        except SourceChangedError:
            return save
        return self._parts.journal.put(msgspec.structs.replace(save, state=State.SAVED, reason="", retry_at=0.0))

    def _found_again(self, save: Save) -> Save:
        """What scanning found, with the generation that it belongs to, if it was committed or pruned before the journal
        was lost: a share must not be taken for a checkpoint, nor for a share of another save."""
        if save.ticket is not None:
            return save
        manifests, window = self._parts.cold.manifests, self._parts.config.hot.set_window
        if any((series, step) == (save.series, save.step) for series, step, _ in tuple(self._committed)):
            generation = generation_with(manifests, save, window)
            if generation is not None:
                return msgspec.structs.replace(save, generation=generation)
        for (series, step, buried), at in self._marks.tombstones.items():
            if (series, step) == (save.series, save.step):
                tombstone = read_tombstone(manifests, series, step, buried)
                if has_save(tombstone.manifest, save, window):
                    # The same save, and so no later than the prune, whatever the clocks say.
                    return msgspec.structs.replace(save, generation=buried, saved_at=min(save.saved_at, at))
        return save

    def _holds(self, save: Save) -> bool:
        try:
            prove_committed(self._parts.cold.manifests, save)
        except IntegrityError as error:
            self._parts.emit(Note(text=f"{error}; sent again"))
            return False
        return True

    def _stall(self, save: Save, error: CkptTierError) -> Save:
        now = self._parts.clock.now()
        retry_at = now + STALLED_WAIT
        row = msgspec.structs.replace(save, state=State.STALLED, reason=str(error), retry_at=retry_at, changed_at=now)
        self._parts.emit(Stalled(series=save.series, step=save.step, reason=str(error), retry_at=format_time(retry_at)))
        return self._parts.journal.put(row)

    def _say_once(self, text: str, fix: str = "", *, subject: str = "") -> None:
        if (subject or text) not in self._said:
            self._said.add(subject or text)
            self._parts.emit(Warned(text=text, fix=fix))


def _width(save: Save) -> int:
    """How many pieces of the save are in flight at the same time: a large file fills the line alone."""
    return min(JOBS, sum(len(file.pieces.crcs) if file.pieces else 1 for file in save.files))
