"""Bringing a checkpoint back: which one is meant, from which tier, and to where.

With a step, exactly that. Without, the newest good one by time of saving, on either tier; what is damaged, incomplete,
abandoned or holds a known NaN is passed over, each with its reason. A copy on the hot tier that is damaged beyond doubt
is then fetched anew, and moved to ``.ckpt-tier/replaced/``, never deleted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ckpt_tier.core.events import PassedOver, Warned
from ckpt_tier.core.events import Restored as RestoredEvent
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import (
    CkptTierError,
    ConfigError,
    IntegrityError,
    NoColdTierError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from ckpt_tier.wiring import Wiring

if TYPE_CHECKING:
    from ckpt_tier.cold.manifest import Manifest
    from ckpt_tier.cold.manifests import Manifests
    from ckpt_tier.core.events import Emit
    from ckpt_tier.flow.resume import HotCheckpoint
    from ckpt_tier.hot.scan import HotCopy

T = TypeVar("T")


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that is back: `files` lie below `root`; `path` is its file, or the folder that holds it.
    `committed` is false for one that only the hot tier has."""

    series: str
    step: int
    generation: str
    root: Path
    path: Path
    files: tuple[Path, ...]
    fetched_bytes: int
    committed: bool = True


class Candidate(msgspec.Struct, frozen=True):
    """What may be brought back. `hot`: its files are in the hot folder and have just been read; else they are in the
    cold tier."""

    manifest: Manifest
    hot: HotCheckpoint | None = None


class Restoration:
    """One call. `rank`: only that share; `to`: another folder than the hot one; `hot=False`: from the cold tier alone.
    For one thread.

    Its methods raise NotFoundError, IntegrityError, ConflictError (another file is there), NoSpaceError,
    UnavailableError (with `step=None` only if the hot tier has nothing good either), CancelledError; with `step=None`
    UsageError for a series or rank that is not there though others are.
    """

    def __init__(
        self,
        wiring: Wiring,
        emit: Emit,
        *,
        rank: int | None = None,
        to: Path | None = None,
        force: bool = False,
        hot: bool = True,
    ) -> None:
        self._wiring = wiring
        self._emit = emit
        self._rank = rank
        self._root = (to or wiring.config.hot.path).absolute()
        self._force = force
        self._uses_hot = hot
        self._away: UnavailableError | None = None

    def series(self, step: int | None) -> list[str]:
        """The series there are, or that have the step."""
        if step is None:
            names = self._cold_series()
            names |= {copy.series for copy in self._copies()}
            if not names:
                raise self._away or NotFoundError("there is no checkpoint yet", fix="see `ckpt-tier status`")
            return sorted(names)
        from ckpt_tier.flow.listing import no_such_step

        manifests = self._wiring.cold.manifests
        there = self._ask(manifests.series)
        having = [name for name in sorted(there) if self._has(manifests, name, step)]
        if not having:
            raise no_such_step(manifests, sorted(there), step)
        return having

    def run(self, series: str, step: int | None, generation: str | None) -> Restored:
        """Brings one back."""
        if step is not None:
            return self.bring_back(next(self.candidates(series, step, generation)))
        into_hot = self._uses_hot and self._root == self._wiring.config.hot.path
        for candidate in self.candidates(series):
            if self._away is not None and candidate.hot is None and not (into_hot and self._lies_here(candidate)):
                continue
            try:
                return self.bring_back(candidate, mend=into_hot)
            except IntegrityError as error:
                self._emit(PassedOver(series=series, step=candidate.manifest.step, reason=str(error)))
            except UnavailableError as error:
                self._is_away(error)
            except NotFoundError as error:  # the rank: whoever resumes must not take that for a first start
                raise UsageError(error.what, error.why, "give one of its ranks, or none for all of it") from error
        raise IntegrityError(
            f"no checkpoint of series {series!r} is good", "each was passed over", "see the lines above"
        )

    def _lies_here(self, candidate: Candidate) -> bool:
        """Whether all its files may be in the hot folder already, so that nothing need be fetched."""
        places = [(self._root / file.path, file.size) for file in candidate.manifest.files]
        return all(place.is_file() and place.stat().st_size == size for place, size in places)

    def candidates(self, series: str, step: int | None = None, generation: str | None = None) -> Iterator[Candidate]:
        """What is meant: the step's generation, or with `step=None` each that may be good, the newest first."""
        return self._newest(series) if step is None else iter([self._named(series, step, generation)])

    def bring_back(self, candidate: Candidate, *, mend: bool = False) -> Restored:
        """To its place, every byte verified. With `mend`, a damaged file there is moved aside; with the `force` of
        this call, any other file."""
        from ckpt_tier.flow.restore import Restoring, restore, share_of
        from ckpt_tier.store.folder import PlainFolder

        config, clock = self._wiring.config, self._wiring.clock
        manifest = share_of(candidate.manifest, self._rank)
        into_hot = self._root == config.hot.path
        hold_until = clock.now() + config.hot.hold if into_hot else None
        if candidate.hot is not None and hold_until is not None:
            fetched = self._stay(candidate.hot, manifest, hold_until)
        else:
            how = Restoring(root=self._root, force=self._force, mend=mend, hold_until=hold_until)
            store = self._wiring.store if candidate.hot is None else PlainFolder(config.hot.path)
            fetched = restore(store, manifest, how, clock, self._emit)
        return Restored(
            series=manifest.series,
            step=manifest.step,
            generation=manifest.generation,
            root=self._root,
            path=self._root / _path_of(manifest),
            files=tuple(self._root / file.path for file in manifest.files),
            fetched_bytes=fetched,
            committed=candidate.hot is None or candidate.hot.is_committed,
        )

    def _stay(self, hot: HotCheckpoint, manifest: Manifest, hold_until: float) -> int:
        """What is read and good already lies where it belongs; nothing is fetched."""
        from ckpt_tier.flow.resume import still_there
        from ckpt_tier.hot.holds import hold

        root = self._root
        hold(root, hot.series, hot.step, hold_until)  # before the last look: it may be committed and due to go by now
        if not still_there(hot, root):
            raise IntegrityError(f"step {hot.step} on the hot tier changed after it was read")
        self._emit(
            RestoredEvent(
                series=hot.series,
                step=hot.step,
                generation=manifest.generation,
                path=", ".join(str(root / file.path) for file in manifest.files),
                size_bytes=manifest.size,
                fetched_bytes=0,
                elapsed_seconds=0.0,
            )
        )
        return 0

    def _named(self, series: str, step: int, generation: str | None) -> Candidate:
        """That step; a generation that is not committed is looked for on the hot tier."""
        from ckpt_tier.flow.listing import by_step

        try:
            return Candidate(self._ask(lambda: by_step(self._wiring.cold.manifests, series, step, generation)))
        except (NotFoundError, UnavailableError):
            if generation is None:
                raise
            for hot in self._hot(series, []):
                if hot.step == step and not hot.problem and (found := self._read(hot)).generation == generation:
                    return Candidate(found, hot)
            raise

    def _newest(self, series: str) -> Iterator[Candidate]:
        from ckpt_tier.cold.branches import list_branches
        from ckpt_tier.cold.tombstones import was_saved_again
        from ckpt_tier.flow.listing import readable
        from ckpt_tier.flow.resume import HotCheckpoint, alive_first

        cold = self._cold()
        try:
            manifests = self._ask(lambda: readable(cold, series, self._emit)) if cold else []
            branches = self._ask(lambda: list_branches(cold, [series])) if cold else ()
        except UnavailableError as error:
            self._is_away(error)
            manifests, branches = [], ()
        on_hot = self._hot(series, manifests)
        tombstones = self._tombstones(series, on_hot)
        found: list[Manifest | HotCheckpoint] = [*manifests, *on_hot]
        if not found and self._away is None:
            raise self._nothing_of(series)
        for each in alive_first(found, branches, self._emit):
            try:
                hot = each if isinstance(each, HotCheckpoint) else None
                manifest = each if not isinstance(each, HotCheckpoint) else self._read(each)
            except IntegrityError as error:
                self._emit(PassedOver(series=series, step=each.step, reason=str(error)))
                continue
            at = tombstones.get((series, each.step, manifest.generation)) if hot else None
            if manifest.nan:
                self._emit(PassedOver(series=series, step=each.step, reason=f"it holds {manifest.nan} NaN values"))
            elif at is not None and not was_saved_again(each.saved, at):
                reason = f"it was pruned from the cold tier on {format_time(at)[:10]}"
                self._emit(PassedOver(series=series, step=each.step, reason=reason))
            else:
                yield Candidate(manifest, hot)
        if self._away is not None:
            raise self._away

    def _tombstones(self, series: str, found: list[HotCheckpoint]) -> Mapping[tuple[str, int, str], float]:
        """What was pruned, and when, among the steps that only the hot tier has: whoever pruned it wants it no more."""
        from ckpt_tier.cold.tombstones import list_tombstones

        cold = self._cold()
        if cold is None or not found:
            return {}
        oldest = min(each.step for each in found)
        try:
            return self._ask(lambda: list_tombstones(cold, {series: oldest}))
        except UnavailableError as error:
            self._is_away(error)
            return {}

    def _nothing_of(self, series: str) -> CkptTierError:
        """A name that is none of those there are is a slip; whoever resumes must not take it for a first start."""
        others = self._cold_series() | {copy.series for copy in self._copies()}
        if not others:
            return NotFoundError(f"the series {series!r} has no checkpoint", fix="see `ckpt-tier list`")
        return UsageError(
            f"there is no series {series!r}",
            f"there are {', '.join(sorted(others))}",
            "name one of those with --series",
        )

    def _hot(self, series: str, manifests: list[Manifest]) -> list[HotCheckpoint]:
        from ckpt_tier.flow.observe import waiting
        from ckpt_tier.flow.resume import hot_checkpoints
        from ckpt_tier.journal.journal import peek

        copies = [copy for copy in self._copies() if copy.series == series]
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
            self._is_away(error)
            return set()

    def _has(self, manifests: Manifests, series: str, step: int) -> bool:
        return any(entry.step == step for entry in self._ask(lambda: manifests.entries(series, step)))

    def _cold(self) -> Manifests | None:
        """The committed checkpoints; None where there is no cold tier, the run has not begun, or once the cold tier was
        found away."""
        try:
            return None if self._away else self._wiring.cold.manifests
        except (NotFoundError, NoColdTierError):
            return None
        except UnavailableError as error:
            self._is_away(error)
            return None

    def _ask(self, question: Callable[[], T]) -> T:
        from ckpt_tier.flow.retry import persistently

        return persistently(question, self._wiring.clock)

    def _is_away(self, error: UnavailableError) -> None:
        if not self._uses_hot:
            raise error
        self._away = error
        self._emit(
            Warned(
                text=f"the cold tier is away, so only the hot tier is looked at, and a newer checkpoint may be in the "
                f"cold one: {error}",
                fix=error.fix,
            )
        )


def _path_of(manifest: Manifest) -> str:
    """What a trainer is told to resume from: the one file or folder that is the checkpoint, else the folder that holds
    all of its files."""
    from ckpt_tier.hot.layout import Layout

    paths = {file.path for file in manifest.files}
    try:
        layout = Layout.parse(manifest.layout)
        paths = {place[0] if (place := layout.place_of(path)) else path for path in paths}
    except ConfigError:  # "auto"
        pass
    return paths.pop() if len(paths) == 1 else os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120
