"""Carrying the list out: look, reconcile, act, look again until nothing is due.

One thread looks, validates and evicts; a few others upload and commit. Only the looking thread decides, and it acts
only on rows that are still as it saw them.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Self

from ckpt_tier.core.events import Warned
from ckpt_tier.core.states import QUEUED, State
from ckpt_tier.errors import AttentionError, IntegrityError, UnavailableError
from ckpt_tier.flow.actions import Action, Kind
from ckpt_tier.flow.announce import Announcer
from ckpt_tier.flow.deeds import Deeds
from ckpt_tier.flow.delivery import deliver
from ckpt_tier.flow.known import Known
from ckpt_tier.flow.line import Line
from ckpt_tier.flow.meter import Pace
from ckpt_tier.flow.observe import observe
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.put_off import POSTPONED, PutOff
from ckpt_tier.flow.reconcile import reconcile
from ckpt_tier.flow.view import View
from ckpt_tier.hot.layout import Layout
from ckpt_tier.journal.saves import Save

LOOK_EVERY = 1.0
"""Seconds for which one look is good; one over many thousands of files is good for as long as it took."""
LOOKING = 20
"""While the line is all that is at work, the time between two looks is so many times as long as a look takes: a folder
of many thousands of files would else keep a processor busy just by being looked at."""
REMEMBERED = 7 * 86_400.0
"""Seconds for which a rejected ticket is kept, for a training that has yet to ask what became of it."""
PATIENCE = 600.0
"""Seconds for which a worker that has nothing else to do stays for the other shares of a checkpoint."""

_DELIVERED = {Kind.UPLOAD, Kind.ADOPT, Kind.ASSEMBLE}
_ASK_COLD = _DELIVERED | {
    Kind.EVICT,
    Kind.RELEASE,
    Kind.LOSE,  # it may be committed, by a process that was killed before it could note it
}
_NEVER_DUE = {Kind.KEEP, Kind.REPORT, Kind.WAIT}


class Syncing:
    """The queue of one hot folder at work. To be used by one thread, which also owns the worker's lock."""

    def __init__(self, parts: Parts, layout: Layout, pace: Pace, join: Callable[[], object]) -> None:
        """`join` makes sure that the run in the cold tier is the one that `parts` expect; it raises otherwise."""
        self._parts = parts
        self._layout = layout
        self._known = Known(parts, layout, join)
        self._put_off = PutOff(parts.clock)
        self._deeds = Deeds(parts, self._known, self._put_off, between=self._begin_those_with_a_place)
        self._line = Line(parts.journal, pace)
        self._queued: deque[Action] = deque()
        self._announcer = Announcer(parts.emit)
        self._unsettled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    @property
    def parts(self) -> Parts:
        """What it works with: for what else is done while nothing is due, by the same thread."""
        return self._parts

    @property
    def cold_error(self) -> UnavailableError | None:
        """Why the cold tier did not answer at last; None if it did."""
        return self._known.error

    def list_cold(self) -> None:
        """Lists the cold tier from the oldest hot step on. Raises UnavailableError after some tries."""
        self._known.list_anew()
        self._parts.inbox.sweep(self._parts.clock.now() - REMEMBERED)

    def cold_is_away(self, error: UnavailableError) -> None:
        """Nothing more is asked of the cold tier until `list_cold` has reached it again."""
        self._known.went_away(error)

    def send_again(self, save: Save, error: IntegrityError) -> None:
        """The cold tier does not hold what it should; the hot copy is still there, so it is sent again."""
        self._deeds.send_again(save, error)

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
        return not (queued or self._line.rows or self._unsettled)

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
        if self._announcer.is_crowded:
            found.append("the disk is filling up")
        if not found:
            return None
        kind = IntegrityError if damaged else AttentionError
        return kind(f"a person is needed: {', '.join(found)}", fix="`ckpt-tier status` lists each with its reason")

    def advance(self) -> bool:
        """Looks, and acts for as long as the look is good. False if nothing was due and nothing is under way."""
        self._take_ended()
        clock = self._parts.clock
        begun = clock.monotonic()
        view = self._look()
        actions = reconcile(view)
        self._unsettled = any(action.kind is Kind.WAIT for action in actions)
        self._announcer.announce(actions, view, under_way=len(self._line.rows))
        now = clock.monotonic()
        acted = self._carry_out(
            [action for action in actions if self._is_due(action)], now + max(LOOK_EVERY, now - begun)
        )
        if self._line.rows and not acted:
            self._wait_for_one(clock.monotonic() + max(LOOK_EVERY / 2, LOOKING * (now - begun)))
        return acted or bool(self._line.rows)

    def _wait_for_one(self, until: float) -> None:
        """Returns when a delivery ends, or at `until`."""
        while not self._line.has_ended and self._wait_a_little(until):
            pass

    def _wait_a_little(self, until: float) -> bool:
        """Returns when a delivery ends, or soon enough to be stopped in between. False if it is `until` already."""
        left = until - self._parts.clock.monotonic()
        if left <= 0:
            return False
        self._line.wait(min(left, LOOK_EVERY / 2))
        self._parts.clock.sleep(0)
        return True

    def _take_ended(self) -> None:
        for row in self._line.ended():
            self._delivered(row)

    def _look(self) -> View:
        parts, announcer = self._parts, self._announcer
        view, found = observe(
            parts.config,
            self._layout,
            parts.inbox,
            parts.journal.saves(),
            self._known.committed,
            now=parts.clock.now(),
            marks=self._known.marks,
            postponed=self._put_off.postponed(),
            busy=self._line.rows,
            damaged=[verdict.key for verdict in parts.journal.damaged()],
        )
        for problem in found.problems:
            announcer.once(problem)
        for name in parts.inbox.unreadable(view.tickets):
            announcer.once(f"the ticket .ckpt-tier/inbox/{name} can't be read", "scanning finds its file; delete it")
        if parts.journal.problem:
            announcer.once(f"the journal can't be written: {parts.journal.problem}", "free some space for it")
        return view

    def _is_due(self, action: Action) -> bool:
        if action.after or action.kind in _NEVER_DUE:
            return False
        if action.kind in _ASK_COLD and not self._known.answers:
            return False
        return self._put_off.has_come(action)

    def _carry_out(self, due: list[Action], until: float) -> bool:
        """True if anything was done. What finds no place in the line gets the next one that comes free before
        `until`."""
        acted = False
        self._queued.clear()
        for action in due:
            self._parts.clock.sleep(0)
            if self._parts.clock.monotonic() > until:
                return acted
            if action.kind in _DELIVERED and (self._queued or not self._has_place(action)):
                self._queued.append(action)
            else:
                acted |= self._act(action)
        while self._queued and self._place_comes_free(self._queued[0], until):
            acted |= self._begin_next()
        return acted

    def _begin_those_with_a_place(self) -> None:
        """What waits for a place in the line is not to wait for a large file to be validated, too."""
        self._take_ended()
        while self._queued and self._has_place(self._queued[0]):
            self._begin_next()

    def _begin_next(self) -> bool:
        action = self._queued.popleft()
        return self._is_due(action) and self._act(action)

    def _has_place(self, action: Action) -> bool:
        return action.save is not None and self._line.has_place_for(action.save)

    def _place_comes_free(self, action: Action, until: float) -> bool:
        """Whether the action can be begun before `until`; also for one that this look knows too little of, because its
        bytes are just being sent for another row."""
        while action.save is not None and not self._line.is_under_way(action.save) and not self._has_place(action):
            if not self._wait_a_little(until):
                return False
            self._take_ended()
        return True

    def _act(self, action: Action) -> bool:
        save = action.save
        if save is not None and save.id and self._parts.journal.get(save.id) != save:
            return False
        if action.kind in _DELIVERED:
            return save is not None and self._deliver(save, action.kind)
        # Another action of the same look may just have been refused over the same path.
        return self._put_off.has_come(action) and self._deeds.do(action)

    def _deliver(self, save: Save, kind: Kind) -> bool:
        if not self._line.has_place_for(save):
            return False
        self._line.begin(save, lambda pace: deliver(self._parts, self._known, pace, save, kind))
        return True

    def _delivered(self, row: Save) -> None:
        if row.state is State.COMMITTED:
            self._known.add(row)
            self._put_off.ask_no_more(row.id)
        elif row.is_share and row.state is State.UPLOADED:
            self._put_off.ask_later(row.id)
            self._note_overtaken(row)

    def _note_overtaken(self, row: Save) -> None:
        """A share that still waits for the others, while a later step is committed, needs a person: said once."""
        overtaken = any(series == row.series and step > row.step for series, step, _ in self._known.committed)
        if not overtaken or row.overtaken or row.dismissed:
            return
        if self._parts.journal.amend(row, overtaken=True, changed_at=self._parts.clock.now()).overtaken:
            what = f"step {row.step} of series {row.series} is not whole, and a later one is committed"
            self._parts.emit(
                Warned(
                    text=f"{what}: {row.reason}",
                    fix="sync the folders of the other ranks, or give it up with `ckpt-tier sync --dismiss STEP`",
                )
            )
