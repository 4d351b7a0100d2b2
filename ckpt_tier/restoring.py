"""Bringing checkpoints back: from which tier, and to where. Which ones are meant: see `ckpt_tier.choosing`.

A copy on the hot tier that is damaged beyond doubt is fetched anew, and moved to ``.ckpt-tier/replaced/``, never
deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ckpt_tier.choosing import Candidate, Candidates
from ckpt_tier.core.events import PassedOver
from ckpt_tier.core.events import Restored as RestoredEvent
from ckpt_tier.errors import (
    CancelledError,
    CkptTierError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
    UsageError,
    worst_exit_code,
)
from ckpt_tier.system.streams import Width, streams_at_first
from ckpt_tier.wiring import Wiring

if TYPE_CHECKING:
    from ckpt_tier.cold.manifest import Manifest
    from ckpt_tier.core.events import Emit
    from ckpt_tier.flow.resume import HotCheckpoint


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


class BroughtBack(msgspec.Struct, frozen=True):
    """What became of each series that was asked for. `failed`: why it did not come back."""

    restored: list[Restored]
    failed: dict[str, CkptTierError]

    def error(self) -> CkptTierError | None:
        """The failures as one error, of the kind that matters most; None if every series came back."""
        if not self.failed:
            return None
        worst = worst_exit_code({error.exit_code for error in self.failed.values()})
        series, error = next((s, e) for s, e in self.failed.items() if e.exit_code == worst)
        count = len(self.failed) + len(self.restored)
        if count == 1:
            return error
        what = f"{len(self.failed)} of {count} series did not come back"
        return type(error)(f"{what}: series {series}: {error.what}", error.why, error.fix)


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
        self.candidates = Candidates(wiring, emit, hot=hot)
        self._wiring = wiring
        self._emit = emit
        self._rank = rank
        self._root = (to or wiring.config.hot.path).absolute()
        self._force = force
        self._uses_hot = hot
        self._width = Width(streams_at_first())

    def run_all(self, names: Iterable[str], step: int | None, generation: str | None) -> BroughtBack:
        """Brings back one of each of these series, whatever becomes of the others. Raises CancelledError, and nothing
        else."""
        back = BroughtBack([], {})
        for name in names:
            try:
                back.restored.append(self.run(name, step, generation))
            except CancelledError:
                raise
            except CkptTierError as error:
                back.failed[name] = error
        return back

    def run(self, series: str, step: int | None, generation: str | None) -> Restored:
        """Brings one back."""
        if step is not None:
            return self.bring_back(next(self.candidates.of(series, step, generation)))
        into_hot = self._uses_hot and self._root == self._wiring.config.hot.path
        for candidate in self.candidates.of(series):
            away = self.candidates.away is not None
            if away and candidate.hot is None and not (into_hot and self._lies_here(candidate)):
                continue
            try:
                return self.bring_back(candidate, mend=into_hot)
            except IntegrityError as error:
                self._emit(PassedOver(series=series, step=candidate.manifest.step, reason=str(error)))
            except UnavailableError as error:
                self.candidates.is_away(error)
            except NotFoundError as error:  # the rank: whoever resumes must not take that for a first start
                raise UsageError(error.what, error.why, "give one of its ranks, or none for all of it") from error
        raise IntegrityError(
            f"no checkpoint of series {series!r} is good", "each was passed over", "see the lines above"
        )

    def _lies_here(self, candidate: Candidate) -> bool:
        """Whether all its files may be in the hot folder already, so that nothing need be fetched."""
        places = [(self._root / file.path, file.size) for file in candidate.manifest.files]
        return all(place.is_file() and place.stat().st_size == size for place, size in places)

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
            how = Restoring(root=self._root, force=self._force, mend=mend, hold_until=hold_until, width=self._width)
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
