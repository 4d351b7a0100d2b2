"""The checkpoints of a series, each with the places where it can be read: what `track` goes through."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from ckpt_tier.cold.branches import list_branches
from ckpt_tier.cold.manifest import Manifest
from ckpt_tier.core.branches import Branch, branch_of
from ckpt_tier.core.nouns import check_name
from ckpt_tier.core.states import VALID
from ckpt_tier.core.units import format_time, parse_time
from ckpt_tier.errors import NoColdTierError, NotFoundError, UnavailableError, UsageError
from ckpt_tier.flow.retry import persistently
from ckpt_tier.journal.journal import peek
from ckpt_tier.journal.saves import Save, by_checkpoint
from ckpt_tier.operations import Operations
from ckpt_tier.tensors.ranges import Cost, Ranges
from ckpt_tier.tensors.sources import Source, cold_file, local_file
from ckpt_tier.wiring import Wiring


class File(msgspec.Struct, frozen=True, eq=False):
    """One file of a checkpoint in one tier.

    Attributes:
        path: relative to the hot folder.
        label: what tells it from the checkpoint's other files, the same in every step: its rank, or its path below
            what they have in common.
        content: its SHA-256, where validation has read it.
        source: finds it; raises NotFoundError, SourceChangedError, UsageError.
    """

    path: str
    label: str
    size: int
    content: str | None
    source: Callable[[Cost], Source]

    def open(self, cost: Cost) -> AbstractContextManager[Ranges]:
        """For reading by range, at the cost of `cost`. Raises what `source` and its `open` raise."""
        return self.source(cost).open()


class Step(msgspec.Struct, frozen=True, eq=False):
    """One checkpoint: one generation of one step. `saved_at` is RFC 3339; `places`: tier and files, the best first;
    none where its manifest is damaged, which `problem` tells."""

    series: str
    step: int
    generation: str | None
    saved_at: str
    places: tuple[tuple[Literal["hot", "cold"], tuple[File, ...]], ...]
    abandoned: bool = False
    problem: str = ""

    @property
    def files(self) -> tuple[File, ...]:
        """Where they are best read."""
        return self.places[0][1] if self.places else ()

    @property
    def size_bytes(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.files)


class Steps:
    """Finds the checkpoints of one configuration. `notes`: what the last call passed over; `away`: why the cold tier
    could not be asked. To be used by one thread."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self.notes: list[str] = []
        self.away: UnavailableError | None = None

    def all(self, series: str | None = None, rank: int | None = None) -> list[Step]:
        """Every checkpoint of the series that is committed, or valid on the hot tier: by step, then time of saving.
        With `rank` only that rank's share, where there is one.

        Raises NotFoundError, UsageError (several series, none named), UnavailableError where the cold tier is away and
        the hot tier has none.
        """
        self._begin()
        saves = [save for save in (peek(self._wiring.config.state_dir) or ([], None))[0] if save.state in VALID]
        name = check_name("series", series) if series is not None else self._only_series(saves)
        hot = _hot_checkpoints([save for save in saves if save.series == name], rank)
        cold = self._committed(name) if self.away is None else _Committed()
        if self.away is not None:
            if not hot:
                raise self.away
            self.notes.append(f"the cold tier was left out: {self.away}")
        steps = [self._of_manifest(manifest, rank, hot) for manifest in cold.manifests]
        known = {(step.step, step.generation) for step in steps if step is not None}
        alone = [self._of_hot(shares) for key, shares in hot.items() if key not in known]
        return sorted(
            [_judged(step, cold.branches) for step in (*steps, *cold.damaged, *alone) if step is not None],
            key=lambda step: (step.step, step.saved_at),
        )

    def _begin(self) -> None:
        self.notes, self.away = [], None

    def _only_series(self, saves: Iterable[Save]) -> str:
        names = {save.series for save in saves}
        try:
            with contextlib.suppress(NotFoundError, NoColdTierError):
                names |= {entry.series for entry in Operations(self._wiring).entries()}
        except UnavailableError as error:
            if not names:
                raise
            self.away = error
        if len(names) > 1:
            raise UsageError(
                f"there are the series {', '.join(sorted(names))}", "one call tracks one", "name it: --series S"
            )
        if not names:
            raise NotFoundError("there is no checkpoint yet", fix="run `ckpt-tier sync` first")
        return names.pop()

    def _committed(self, series: str) -> _Committed:
        clock = self._wiring.clock
        try:
            manifests = self._wiring.cold.manifests
            entries = persistently(lambda: manifests.entries(series), clock)
            found, damaged = persistently(lambda: manifests.read_all(entries), clock)
            branches = persistently(lambda: list_branches(manifests, [series]), clock)
        except (NotFoundError, NoColdTierError):  # the run has not begun, or never will
            return _Committed()
        except UnavailableError as error:
            self.away = error
            return _Committed()
        steps = [
            Step(series, entry.step, entry.generation, format_time(entry.committed_at), (), problem=str(error))
            for entry, error in damaged.items()
        ]
        return _Committed(tuple(found.values()), tuple(steps), branches)

    def _of_manifest(self, manifest: Manifest, rank: int | None, hot: _Hot) -> Step | None:
        members = [member for member in manifest.members if rank in (None, member.rank)]
        if not members:
            return None
        labels = _labels([(m.rank, [file.path for file in m.files]) for m in members])
        retry = functools.partial(persistently, clock=self._wiring.clock)
        cold = tuple(
            File(
                file.path,
                labels[member.rank, file.path],
                file.size,
                file.sha256,
                functools.partial(cold_file, self._wiring.store, file, retry),
            )
            for member in members
            for file in member.files
        )
        shares = hot.get((manifest.step, manifest.generation))
        return Step(
            manifest.series,
            manifest.step,
            manifest.generation,
            manifest.saved_at,
            (("hot", self._files(shares)), ("cold", cold)) if shares else (("cold", cold),),
        )

    def _of_hot(self, shares: Sequence[Save]) -> Step:
        saved_at = format_time(max(share.saved_at for share in shares))
        generation = shares[0].generation
        return Step(shares[0].series, shares[0].step, generation, saved_at, (("hot", self._files(shares)),))

    def _files(self, shares: Sequence[Save]) -> tuple[File, ...]:
        labels = _labels([(share.rank, [file.path for file in share.files]) for share in shares])
        root = self._wiring.config.hot.path
        return tuple(
            File(
                file.path,
                labels[share.rank, file.path],
                file.stamp.size,
                file.digest.sha256 if file.digest else None,
                functools.partial(local_file, root / file.path, file.path, stamp=file.stamp),
            )
            for share in shares
            for file in share.files
        )


class _Committed(msgspec.Struct, frozen=True):
    manifests: tuple[Manifest, ...] = ()
    damaged: tuple[Step, ...] = ()
    branches: tuple[Branch, ...] = ()


def _judged(step: Step, branches: tuple[Branch, ...]) -> Step:
    branch = branch_of(branches, step.series, step.step, parse_time(step.saved_at))
    return msgspec.structs.replace(step, abandoned=branch is not None)


_Hot = dict[tuple[int, str | None], list[Save]]


def _hot_checkpoints(saves: Iterable[Save], rank: int | None) -> _Hot:
    """The shares of each checkpoint that is whole on the hot tier, or whose wanted rank is there."""
    wanted = (save for save in saves if rank in (None, save.rank))
    return {
        (shares[0].step, shares[0].generation): sorted(shares, key=lambda share: share.rank or 0)
        for shares in by_checkpoint(wanted, whole=rank is None)
    }


def _labels(members: Sequence[tuple[int | None, Sequence[str]]]) -> dict[tuple[int | None, str], str]:
    """What tells each file from the others of its checkpoint, by rank and path."""
    labels = {}
    for rank, paths in members:
        above = _common([PurePosixPath(path).parent.parts for path in paths]) if len(paths) > 1 else 0
        for path in paths:
            below = "/".join(PurePosixPath(path).parts[above:]) if len(paths) > 1 else ""
            parts = [f"rank{rank}" if rank is not None and len(members) > 1 else "", below]
            labels[rank, path] = "/".join(part for part in parts if part)
    return labels


def _common(folders: Sequence[tuple[str, ...]]) -> int:
    """How many levels all of these begin with."""
    return next(
        (i for i, level in enumerate(zip(*folders, strict=False)) if len(set(level)) > 1), min(map(len, folders))
    )
