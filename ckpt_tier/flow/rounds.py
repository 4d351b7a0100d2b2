"""Verifying committed checkpoints again and again, a little at a time: the oldest verification first, one round of all
of them spread over `[watch] verify_every`.

`next_due` decides, and is pure. `Rounds` does it in steps of one request, or of a quarter of a second of reading, so
that whoever calls it can turn to something else after each. Nothing here changes the cold tier. What is remembered is
in the journal; losing it only begins the round anew.

What is missing, and still lies on the hot tier, is sent again. What is there and damaged is never replaced (no key gets
other bytes): while a verdict says so, the hot copy is kept and a person is told.
"""

import functools
import itertools
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from typing import TypeVar

import msgspec

from ckpt_tier.cold.manifest import Manifest, ManifestFile
from ckpt_tier.cold.manifests import Entry
from ckpt_tier.core.events import Note, Warned
from ckpt_tier.core.pieces import MIB
from ckpt_tier.core.states import State
from ckpt_tier.errors import (
    CancelledError,
    CkptTierError,
    IntegrityError,
    MissingKeyError,
    SourceChangedError,
    UnavailableError,
)
from ckpt_tier.flow.ingest import locate
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.proof import Content, prove_present, verdict_on_reading
from ckpt_tier.flow.reading import Reading
from ckpt_tier.journal.saves import Save
from ckpt_tier.journal.verdicts import Verdict

RECHECK = 3600.0
"""Seconds until what was found damaged is looked at again: somebody may have mended it."""
RELIST = 86_400.0
"""Seconds, at most, for which one listing of all manifests is good."""
LOOK_AGAIN = 10.0
"""Seconds, at most, until the question what is due is asked again."""
AWAY_WAIT = 30.0
"""Seconds until a cold tier that did not answer is asked again."""
READ_ATTEMPTS = 4
"""How often one block is asked for before the question is whether only this object can't be read."""
SLICE = 0.25
"""Seconds of reading in one step."""
_STRETCH = 4 * MIB
"""Bytes per request."""

Key = tuple[str, int, str]
"""(series, step, generation)."""
T = TypeVar("T")
Steps = Generator[float, None, T]
"""Work in small steps: each yields for how many seconds to leave it alone, and at the end there is a T."""


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a checkpoint: with which of its files ("" for the manifest), and whether that is missing."""

    error: IntegrityError
    path: str
    is_missing: bool


def next_due(
    entries: Collection[Entry],
    verdicts: Mapping[Key, Verdict],
    sent_again: Mapping[Key, float],
    every: float,
) -> tuple[Entry, float] | None:
    """Which checkpoint to verify next, and from which second on; None if there is none.

    What is damaged comes again after `RECHECK`, and at once when it was sent again after it was found. Of the others,
    the one whose verification, or commit, is the longest ago comes `every` seconds after that. Those that are overdue,
    since nobody worked or remembered, don't come in a heap, but at twice the pace of a round.
    """
    if not entries:
        return None
    due_at: dict[Entry, float] = {}
    for entry in entries:
        verdict = verdicts.get(_key(entry))
        if verdict is None:
            due_at[entry] = entry.committed_at + every  # committing proved it
        elif verdict.problem:
            again = verdict.verified_at + RECHECK
            due_at[entry] = verdict.verified_at if sent_again.get(verdict.key, 0.0) > verdict.verified_at else again
        else:
            due_at[entry] = verdict.verified_at + every
    known_bad = {entry for entry in entries if (v := verdicts.get(_key(entry))) and v.problem}
    latest = max((v.verified_at for v in verdicts.values()), default=0.0)
    pace = latest + every / (2 * len(entries))
    starts = {entry: at if entry in known_bad else max(at, pace) for entry, at in due_at.items()}
    first = min(entries, key=lambda entry: (starts[entry], due_at[entry]))
    return first, starts[first]


class Rounds:
    """The rounds of one run. To be used by the thread that decides about the queue, while nothing in it is due."""

    def __init__(self, parts: Parts, send_again: Callable[[Save, IntegrityError], None]) -> None:
        """`send_again` puts a committed save whose object is missing into the queue once more."""
        self._parts = parts
        self._send_again = send_again
        self._reads = parts.config.watch.verify == "content"
        self._going = self._forever()
        self._rest_until = 0.0
        self._is_away = False

    def step(self) -> None:
        """One request, or a quarter of a second of reading, if anything is due. Raises CancelledError only."""
        clock = self._parts.clock
        if self._parts.config.watch.verify == "off" or clock.monotonic() < self._rest_until:
            return
        try:
            rest = next(self._going)
        except Exception as error:
            self._going = self._forever()
            if not isinstance(error, CkptTierError) or isinstance(error, CancelledError):
                raise
            self._parts.emit(Warned(text=f"verifying in the background: {error}", fix=error.fix))
            rest = RECHECK
        self._rest_until = clock.monotonic() + rest

    def recheck(self) -> None:
        """Looks at once at all that was found damaged, as far as the cold tier answers. For a pass that somebody
        started, perhaps after mending it."""
        for verdict in self._parts.journal.damaged():
            for rest in self._verify(Entry(*verdict.key, 0.0)):
                if rest:
                    return

    def _forever(self) -> Steps[None]:
        clock = self._parts.clock
        every = self._parts.config.watch.verify_every
        while True:
            entries = yield from self._list()
            list_again = clock.now() + min(every, RELIST)
            while clock.now() < list_again:
                verdicts = self._parts.journal.verdicts()
                found = next_due(entries, verdicts, self._sent_again(verdicts.values()), every)
                if found is None or found[1] > clock.now():
                    until = min(list_again, found[1] if found else list_again)
                    yield min(LOOK_AGAIN, max(0.0, until - clock.now()))
                elif not (yield from self._verify(found[0])):
                    entries.discard(found[0])

    def _list(self) -> Steps[set[Entry]]:
        """All that is committed. What is not any more is forgotten."""
        manifests = self._parts.cold.manifests
        entries: set[Entry] = set()
        for series in (yield from self._ask(manifests.series)):
            entries |= set((yield from self._ask(functools.partial(manifests.entries, series))))
        self._parts.journal.keep_verdicts({_key(entry) for entry in entries})
        manifests.forget_all_but(entries)
        return entries

    def _verify(self, entry: Entry) -> Steps[bool]:
        """Verifies one checkpoint and notes the verdict. False if it is not committed any more: nothing is noted."""
        problem = yield from self._problem(entry)
        try:
            # Pruned since it was listed? Then its data may well be missing.
            yield from self._ask(lambda: self._parts.cold.manifests.read_fresh(entry))
        except MissingKeyError:
            return False
        except IntegrityError as error:
            problem = Problem(error, "", is_missing=False)
        self._note(entry, problem)
        return True

    def _problem(self, entry: Entry) -> Steps[Problem | None]:
        store, path = self._parts.cold.store, ""
        try:
            manifest: Manifest = yield from self._ask(lambda: self._parts.cold.manifests.read_fresh(entry))
            for file in manifest.files:
                path = file.path
                yield from self._ask(functools.partial(prove_present, store, [file]))
            for file in manifest.files if self._reads else ():
                path = file.path
                yield from self._read(file)
        except MissingKeyError:
            return None
        except IntegrityError as error:
            return Problem(error, path, is_missing=isinstance(error.__cause__, MissingKeyError))
        return None

    def _read(self, file: ManifestFile) -> Steps[None]:
        """Reads every byte; raises IntegrityError unless they are the manifest's."""
        clock = self._parts.clock
        content = Content()
        reading = Reading(self._parts.cold.store, file.key, 0, file.size, content.update)
        until = clock.monotonic() + SLICE
        while not reading.is_done:
            yield from self._go_on(reading, file)
            if clock.monotonic() >= until:
                yield 0.0
                until = clock.monotonic() + SLICE
        content.require(file)

    def _go_on(self, reading: Reading, file: ManifestFile) -> Steps[None]:
        for attempt in itertools.count(1):
            try:
                reading.go_on(_STRETCH)
            except MissingKeyError as error:
                raise IntegrityError(f"{file.key} is missing", "its manifest is there, the object is not") from error
            except UnavailableError as error:
                if attempt % READ_ATTEMPTS == 0:
                    verdict = verdict_on_reading(self._parts.cold.store, file, error)
                    if isinstance(verdict, IntegrityError):
                        raise verdict from error
                    self._say_away(error)
                yield AWAY_WAIT
            else:
                self._is_away = False
                return

    def _ask(self, call: Callable[[], T]) -> Steps[T]:
        """One request, asked again for as long as the cold tier is away; one step."""
        while True:
            try:
                answer = call()
            except UnavailableError as error:
                self._say_away(error)
                yield AWAY_WAIT
            else:
                self._is_away = False
                yield 0.0
                return answer

    def _say_away(self, error: UnavailableError) -> None:
        if not self._is_away:
            self._is_away = True
            self._parts.emit(Warned(text=f"verifying in the background waits: {error}", fix=error.fix))

    def _note(self, entry: Entry, problem: Problem | None) -> None:
        journal, now = self._parts.journal, self._parts.clock.now()
        before = journal.verdict(_key(entry))
        was_bad = before is not None and bool(before.problem)
        since = (before.since if before and was_bad else now) if problem else 0.0
        verdict = Verdict(
            series=entry.series,
            step=entry.step,
            generation=entry.generation,
            verified_at=now,
            problem=str(problem.error) if problem else "",
            path=problem.path if problem else "",
            since=since,
        )
        journal.judge(verdict)
        if problem is not None:
            self._tell(verdict, problem, is_new=before is None or before.problem != verdict.problem)
        elif was_bad:
            self._parts.emit(Note(text=f"step {entry.step} of series {entry.series} is whole again in the cold tier"))

    def _tell(self, verdict: Verdict, problem: Problem, *, is_new: bool) -> None:
        """Sends again what can be; says the rest, once."""
        hot = self._hot_copy(verdict.key)
        if problem.is_missing and hot is not None:
            self._send_again(hot, problem.error)
        elif is_new:
            fix = "restore another step; nothing can bring this one back"
            if hot is not None:
                fix = "the hot copy is kept: delete the damaged object by hand, and it is sent again"
            self._parts.emit(Warned(text=f"step {verdict.step} of series {verdict.series}: {problem.error}", fix=fix))

    def _hot_copy(self, key: Key) -> Save | None:
        """The committed row of a generation whose bytes are still on the hot tier, if there is one."""
        for save in self._parts.journal.saves():
            if save.state is State.COMMITTED and (save.series, save.step, save.generation) == key:
                try:
                    for file in save.files:
                        locate(self._parts, file)
                except SourceChangedError:
                    continue
                return save
        return None

    def _sent_again(self, verdicts: Iterable[Verdict]) -> dict[Key, float]:
        """When each generation that was found damaged was committed last from here."""
        bad = {verdict.key for verdict in verdicts if verdict.problem}
        if not bad:
            return {}
        rows = [s for s in self._parts.journal.saves() if s.state is State.COMMITTED]
        return {key: s.changed_at for s in rows if (key := (s.series, s.step, s.generation or "")) in bad}


def _key(entry: Entry) -> Key:
    return entry.series, entry.step, entry.generation
