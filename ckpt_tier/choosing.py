"""Which checkpoints a call may mean, in both tiers.

With a step, exactly that. Without, every one that may be good, the newest first by time of saving, on either tier; what
is damaged, incomplete, abandoned, pruned or holds a known NaN is passed over, each with its reason.

The cold tier is asked about all series of a call side by side: one after the other, six of them are twenty ways to the
store and back before anything is fetched.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ckpt_tier.core.events import PassedOver, Warned
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import (
    CkptTierError,
    ConfigError,
    IntegrityError,
    MissingKeyError,
    NoColdTierError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from ckpt_tier.wiring import Wiring

if TYPE_CHECKING:
    from ckpt_tier.cold.manifest import Manifest
    from ckpt_tier.cold.manifests import Entry, Manifests
    from ckpt_tier.core.branches import Branch
    from ckpt_tier.core.events import Emit
    from ckpt_tier.flow.resume import HotCheckpoint
    from ckpt_tier.hot.scan import HotCopy

READ_TOGETHER = 1000
"""Manifests of several series that are held at a time, a few KiB each; of one series it is as many as it has."""

T = TypeVar("T")


class Candidate(msgspec.Struct, frozen=True):
    """What may be brought back. `hot`: its files are in the hot folder and have just been read; else they are in the
    cold tier."""

    manifest: Manifest
    hot: HotCheckpoint | None = None


class _Seen(msgspec.Struct, frozen=True):
    """What both tiers hold of one series. `damaged`: the steps whose manifest can't be read, and why. `pruned`: what
    was pruned of the steps that are `on_hot`, and when."""

    manifests: Sequence[Manifest]
    damaged: Sequence[tuple[int, IntegrityError]]
    on_hot: Sequence[HotCheckpoint]
    branches: Sequence[Branch]
    pruned: Mapping[tuple[str, int, str], float]


class Candidates:
    """The candidates of one call, as its first questions found them. `hot=False`: of the cold tier alone. For one
    thread.

    Its methods raise NotFoundError, IntegrityError (a damaged manifest), UnavailableError; without a step a cold tier
    that is away is told to `emit`, kept in `away`, and raised only once nothing on the hot tier is left to be tried.
    """

    def __init__(self, wiring: Wiring, emit: Emit, *, hot: bool = True) -> None:
        self.away: UnavailableError | None = None
        self._wiring = wiring
        self._emit = emit
        self._uses_hot = hot
        self._names: list[str] = []
        self._at_step: dict[tuple[str, int], dict[Entry, Manifest | IntegrityError]] = {}
        self._listed: dict[str, list[Entry]] = {}
        self._seen: dict[str, _Seen] = {}

    def series(self, step: int | None, wanted: Collection[str] = ()) -> list[str]:
        """The series that are wanted; else those there are, or that have the step."""
        if wanted:
            self._names = sorted(wanted)
            return self._names
        if step is None:
            self._names = sorted(self._cold_series() | {copy.series for copy in self._copies})
            if not self._names:
                raise self.away or NotFoundError("there is no checkpoint yet", fix="see `ckpt-tier status`")
            return self._names
        from ckpt_tier.flow.listing import no_such_step

        manifests = self._wiring.cold.manifests
        there = sorted(self._ask(manifests.series))
        self._read_step(there, step)
        self._names = [name for name in there if self._at_step[name, step]]
        if not self._names:
            raise no_such_step(manifests, there, step)
        return self._names

    def of(self, series: str, step: int | None = None, generation: str | None = None) -> Iterator[Candidate]:
        """What is meant: the step's generation, or with `step=None` each that may be good, the newest first."""
        return self._newest(series) if step is None else iter([self._named(series, step, generation)])

    def is_away(self, error: UnavailableError) -> None:
        """From here on the cold tier is not asked any more. Raises `error` where there is no other tier."""
        if not self._uses_hot:
            raise error
        self.away = error
        self._emit(
            Warned(
                text=f"the cold tier is away, so only the hot tier is looked at, and a newer checkpoint may be in the "
                f"cold one: {error}",
                fix=error.fix,
            )
        )

    # A step

    def _named(self, series: str, step: int, generation: str | None) -> Candidate:
        """That step; a generation that is not committed is looked for on the hot tier."""
        try:
            return Candidate(self._committed(series, step, generation))
        except (NotFoundError, UnavailableError):
            if generation is None:
                raise
            for hot in self._hot([series], []):
                if hot.step == step and not hot.problem and (found := self._read(hot)).generation == generation:
                    return Candidate(found, hot)
            raise

    def _committed(self, series: str, step: int, generation: str | None) -> Manifest:
        from ckpt_tier.flow.listing import newest_of, no_such_step

        if (series, step) not in self._at_step:
            self._read_step([series], step)
        found = self._at_step[series, step]
        wanted = [found[entry] for entry in found if generation in (None, entry.generation)]
        if not wanted:
            raise no_such_step(self._wiring.cold.manifests, [series], step, generation)
        return newest_of(wanted)

    def _read_step(self, names: Sequence[str], step: int) -> None:
        manifests = self._wiring.cold.manifests

        def look() -> tuple[dict[Entry, Manifest], dict[Entry, IntegrityError]]:
            listed = manifests.entries_from(dict.fromkeys(names, step))
            with _pruned_meanwhile():
                return manifests.read_all([entry for entry in listed if entry.step == step])

        good, damaged = self._ask(look)
        self._at_step |= {(name, step): {} for name in names}
        for entry in (*good, *damaged):
            self._at_step[entry.series, step][entry] = good.get(entry) or damaged[entry]

    # The newest

    def _newest(self, series: str) -> Iterator[Candidate]:
        from ckpt_tier.cold.tombstones import was_saved_again
        from ckpt_tier.flow.resume import HotCheckpoint, alive_first

        seen = self._look_at(series)
        for step, error in seen.damaged:
            self._emit(PassedOver(series=series, step=step, reason=str(error)))
        found: list[Manifest | HotCheckpoint] = [*seen.manifests, *seen.on_hot]
        if not found and self.away is None:
            raise self._nothing_of(series)
        for each in alive_first(found, seen.branches, self._emit):
            try:
                hot = each if isinstance(each, HotCheckpoint) else None
                manifest = each if not isinstance(each, HotCheckpoint) else self._read(each)
            except IntegrityError as error:
                self._emit(PassedOver(series=series, step=each.step, reason=str(error)))
                continue
            at = seen.pruned.get((series, each.step, manifest.generation)) if hot else None
            if manifest.nan:
                self._emit(PassedOver(series=series, step=each.step, reason=f"it holds {manifest.nan} NaN values"))
            elif at is not None and not was_saved_again(each.saved, at):
                reason = f"it was pruned from the cold tier on {format_time(at)[:10]}"
                self._emit(PassedOver(series=series, step=each.step, reason=reason))
            else:
                yield Candidate(manifest, hot)
        if self.away is not None:
            raise self.away

    def _look_at(self, series: str) -> _Seen:
        """What there is of the series; those that come after it are looked at with it, if all that is not much."""
        from ckpt_tier.cold.branches import list_branches

        if series in self._seen:
            return self._seen.pop(series)
        cold = self._cold()
        names = [series, *(name for name in self._names if name > series)]
        manifests: dict[Entry, Manifest] = {}
        damaged: dict[Entry, IntegrityError] = {}
        branches: Sequence[Branch] = ()
        try:
            if cold is not None:
                names, manifests, damaged = self._ask(lambda: self._read_newest(cold, names))
                branches = self._ask(lambda: list_branches(cold, names))
        except UnavailableError as error:
            self.is_away(error)
            manifests, damaged, branches = {}, {}, ()
        on_hot = self._hot(names, list(manifests.values()))
        pruned = self._pruned(on_hot)
        self._seen |= {
            name: _Seen(
                manifests=[manifest for entry, manifest in manifests.items() if entry.series == name],
                damaged=[(entry.step, error) for entry, error in damaged.items() if entry.series == name],
                on_hot=[hot for hot in on_hot if hot.series == name],
                branches=branches,
                pruned=pruned,
            )
            for name in names
        }
        return self._seen.pop(series)

    def _read_newest(
        self, cold: Manifests, names: list[str]
    ) -> tuple[list[str], dict[Entry, Manifest], dict[Entry, IntegrityError]]:
        """The manifests of these series, or of the first alone if they are many; and of which."""
        new = [name for name in names if name not in self._listed]
        listed = cold.entries_from(dict.fromkeys(new, 0))
        self._listed |= {name: [entry for entry in listed if entry.series == name] for name in new}
        if sum(len(self._listed[name]) for name in names) > READ_TOGETHER:
            names = names[:1]
        wanted = [entry for name in names for entry in self._listed.pop(name)]
        with _pruned_meanwhile():
            return names, *cold.read_all(wanted)

    def _pruned(self, on_hot: Iterable[HotCheckpoint]) -> Mapping[tuple[str, int, str], float]:
        """What was pruned, and when, among the steps that only the hot tier has: whoever pruned it wants it no more."""
        from ckpt_tier.cold.tombstones import list_tombstones

        oldest: dict[str, int] = {}
        for each in on_hot:
            oldest[each.series] = min(each.step, oldest.get(each.series, each.step))
        cold = self._cold()
        if cold is None or not oldest:
            return {}
        try:
            return self._ask(lambda: list_tombstones(cold, oldest))
        except UnavailableError as error:
            self.is_away(error)
            return {}

    def _nothing_of(self, series: str) -> CkptTierError:
        """A name that is none of those there are is a slip; whoever resumes must not take it for a first start."""
        others = self._cold_series() | {copy.series for copy in self._copies}
        if not others:
            return NotFoundError(f"the series {series!r} has no checkpoint", fix="see `ckpt-tier list`")
        return UsageError(
            f"there is no series {series!r}",
            f"there are {', '.join(sorted(others))}",
            "name one of those with --series",
        )

    # Both tiers

    def _hot(self, names: Collection[str], manifests: list[Manifest]) -> list[HotCheckpoint]:
        from ckpt_tier.flow.observe import waiting
        from ckpt_tier.flow.resume import hot_checkpoints
        from ckpt_tier.journal.journal import peek

        copies = [copy for copy in self._copies if copy.series in names]
        if not copies:
            return []
        config = self._wiring.config
        saves, _ = peek(config.state_dir) or ([], None)
        return hot_checkpoints(
            copies,
            saves,
            waiting(self._wiring.inbox, self._wiring.layout),
            manifests,
            ranks=config.hot.ranks,
            window=config.hot.set_window,
        )

    @functools.cached_property
    def _copies(self) -> tuple[HotCopy, ...]:
        """What lies in the hot folder; nothing where there is none, or none that tells its layout."""
        from ckpt_tier.hot.scan import scan

        hot = self._wiring.config.hot
        if not self._uses_hot or not hot.path.is_dir():
            return ()
        try:
            layout = self._wiring.layout
        except ConfigError:  # "auto", and the folder is empty or full of other things: then the cold tier alone
            return ()
        return scan(hot.path, layout).copies

    def _read(self, hot: HotCheckpoint) -> Manifest:
        from ckpt_tier.flow.resume import read_whole

        return read_whole(hot, self._wiring.config, self._wiring.clock)

    def _cold_series(self) -> set[str]:
        cold = self._cold()
        try:
            return set(self._ask(cold.series)) if cold else set()
        except UnavailableError as error:
            self.is_away(error)
            return set()

    def _cold(self) -> Manifests | None:
        """The committed checkpoints; None where there is no cold tier, the run has not begun, or once the cold tier was
        found away."""
        try:
            return None if self.away else self._wiring.cold.manifests
        except (NotFoundError, NoColdTierError):
            return None
        except UnavailableError as error:
            self.is_away(error)
            return None

    def _ask(self, question: Callable[[], T]) -> T:
        from ckpt_tier.flow.retry import persistently

        return persistently(question, self._wiring.clock)


@contextlib.contextmanager
def _pruned_meanwhile() -> Iterator[None]:
    """A manifest that has gone since it was listed is a reason to look again."""
    try:
        yield
    except MissingKeyError as error:
        raise UnavailableError(
            "a manifest disappeared while it was read", "somebody prunes at the same time", "it is tried again"
        ) from error
