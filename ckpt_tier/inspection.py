"""What `inspect` asks: which checkpoint is meant, where its files can be read, and what they hold. Changes nothing."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from ckpt_tier.cold.branches import list_branches
from ckpt_tier.cold.manifest import Manifest
from ckpt_tier.core.events import Event
from ckpt_tier.core.nouns import check_name
from ckpt_tier.core.states import VALID
from ckpt_tier.core.units import format_time, parse_time
from ckpt_tier.errors import NoColdTierError, NotFoundError, UnavailableError, UsageError
from ckpt_tier.flow.listing import by_step, readable
from ckpt_tier.flow.restore import share_of
from ckpt_tier.flow.resume import alive_first
from ckpt_tier.flow.retry import persistently
from ckpt_tier.journal.journal import peek
from ckpt_tier.journal.saves import Save, by_checkpoint
from ckpt_tier.operations import Operations
from ckpt_tier.tensors.catalogue import catalogue
from ckpt_tier.tensors.nouns import Catalogue
from ckpt_tier.tensors.ranges import Cost
from ckpt_tier.tensors.sources import Source, cold_file, hot_files, local_file
from ckpt_tier.wiring import Wiring

Where = Literal["hot", "cold", "path"]
_MOST_FILES = 10_000


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint whose files can be read by range. What is not known of a file that is only a path is None.

    Attributes:
        where: "hot": a copy whose stamp the journal knows as validated; "cold": the objects of a manifest; "path":
            files that nobody vouches for.
        place: the hot folder, the store's URL, or the path.
        saved_at: RFC 3339.
        versions: what it was saved with, by name.
        layout: the pattern that names its files, or "auto".
        cost: what reading its files has cost so far.
        notes: whole clauses.
    """

    where: Where
    place: str
    files: tuple[Source, ...]
    cost: Cost
    series: str | None = None
    step: int | None = None
    generation: str | None = None
    saved_at: str | None = None
    versions: dict[str, str] = {}
    layout: str = "auto"
    notes: tuple[str, ...] = ()

    def catalogues(self) -> Iterator[Catalogue]:
        """What each file holds, in their order, as each is reached. Raises IntegrityError, UnavailableError,
        SourceChangedError."""
        for file in self.files:
            with file.open() as reader:
                yield catalogue(reader, file.path)


def at_path(path: Path) -> Checkpoint:
    """The file, or all files of the folder but hidden ones. Raises NotFoundError, UsageError."""
    cost = Cost()
    names = [path] if not path.is_dir() else [Path(top) / name for top, _, found in os.walk(path) for name in found]
    chosen = sorted(name for name in names if not name.name.startswith(".") or name == path)
    if not chosen:
        raise NotFoundError(f"there is no file in {path}")
    if len(chosen) > _MOST_FILES:
        raise UsageError(f"{path} has {len(chosen):,} files", f"at most {_MOST_FILES:,} are listed", "name one of them")
    root = path if path.is_dir() else path.parent
    files = tuple(local_file(name.absolute(), str(name.relative_to(root)), cost) for name in chosen)
    return Checkpoint(where="path", place=str(path), files=files, cost=cost)


class Inspection:
    """Finds checkpoints of one configuration. To be used by one thread."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._clock = wiring.clock

    def checkpoint(
        self,
        step: int | None,
        *,
        series: str | None = None,
        generation: str | None = None,
        rank: int | None = None,
        tier: Literal["hot", "cold"] | None = None,
    ) -> Checkpoint:
        """That step's checkpoint, or with None the one saved last; with `rank` only that rank's share. Without `tier`
        the hot copy is read where it is the very content that was validated, else the cold tier.

        Raises NotFoundError, UsageError (several series, none named), UnavailableError, IntegrityError.
        """
        if series is not None:
            check_name("series", series)
        hot = None if tier == "cold" else self._hot(step, series, generation, rank)
        if tier == "hot" and hot is None:
            raise NotFoundError(
                "the hot tier has no such checkpoint that passed validation and is unchanged",
                fix="see `ckpt-tier list`; without --tier hot the cold tier is asked",
            )
        if hot is not None and (tier == "hot" or step is not None):
            return hot
        try:
            manifest = self._manifest(step, series, generation)
        except (NotFoundError, NoColdTierError, UnavailableError) as error:
            if hot is None:
                raise
            return msgspec.structs.replace(hot, notes=(f"the cold tier was left out: {error}",))
        if hot is not None and hot.saved_at is not None and parse_time(hot.saved_at) >= parse_time(manifest.saved_at):
            return hot
        return self._cold(manifest, rank)

    def _manifest(self, step: int | None, series: str | None, generation: str | None) -> Manifest:
        name = series or _only([e.series for e in Operations(self._wiring).entries(step=step)])
        manifests = self._wiring.cold.manifests
        if step is not None:
            return persistently(lambda: by_step(manifests, name, step, generation), self._clock)
        found = persistently(lambda: readable(manifests, name, _say_nothing), self._clock)
        if not found:
            raise NotFoundError(f"the series {name!r} has no committed checkpoint", fix="see `ckpt-tier list`")
        branches = persistently(lambda: list_branches(manifests, [name]), self._clock)
        return alive_first(found, branches, _say_nothing)[0]

    def _cold(self, manifest: Manifest, rank: int | None) -> Checkpoint:
        wanted = manifest if rank is None else share_of(manifest, rank)
        cost = Cost()
        retry = functools.partial(persistently, clock=self._clock)
        return Checkpoint(
            where="cold",
            place=self._wiring.store.url,
            files=tuple(
                cold_file(self._wiring.store, file, retry, cost, member.rank)
                for member in wanted.members
                for file in member.files
            ),
            cost=cost,
            series=manifest.series,
            step=manifest.step,
            generation=manifest.generation,
            saved_at=manifest.saved_at,
            versions=manifest.versions,
            layout=manifest.layout,
        )

    def _hot(self, step: int | None, series: str | None, generation: str | None, rank: int | None) -> Checkpoint | None:
        """The one saved last of those that are whole on the hot tier and unchanged since validation."""
        found = self.on_hot(step, series, generation, rank)
        if found and series is None:
            _only([each.series or "" for each in found])
        return found[0] if found else None

    def on_hot(
        self,
        step: int | None = None,
        series: str | None = None,
        generation: str | None = None,
        rank: int | None = None,
    ) -> list[Checkpoint]:
        """All that are whole on the hot tier, or have that rank's share there, and are unchanged since validation; the
        one saved last comes first. Without a name or number, whatever has any."""
        saves, _ = peek(self._wiring.config.state_dir) or ([], None)
        asked = (step, series, generation, rank)
        chosen = [
            save
            for save in saves
            if save.state in VALID
            and all(
                wanted in (None, own)
                for wanted, own in zip(asked, (save.step, save.series, save.generation, save.rank), strict=True)
            )
        ]
        groups = by_checkpoint(chosen, whole=rank is None)
        found = []
        for shares in sorted(groups, key=lambda group: max(save.saved_at for save in group), reverse=True):
            cost = Cost()
            files = hot_files(self._wiring.config.hot.path, shares, cost)
            if files is not None:
                found.append(self._of_hot(shares, files, cost))
        return found

    def _of_hot(self, shares: Sequence[Save], files: tuple[Source, ...], cost: Cost) -> Checkpoint:
        return Checkpoint(
            where="hot",
            place=str(self._wiring.config.hot.path),
            files=files,
            cost=cost,
            series=shares[0].series,
            step=shares[0].step,
            generation=shares[0].generation,
            saved_at=format_time(max(save.saved_at for save in shares)),
            layout=self._wiring.config.hot.layout,
        )


def _only(names: Sequence[str]) -> str:
    there = sorted(set(names))
    if len(there) > 1:
        raise UsageError(f"there are the series {', '.join(there)}", "one call looks at one", "name it: --series S")
    if not there:
        raise NotFoundError("there is no committed checkpoint", fix="run `ckpt-tier sync` first")
    return there[0]


def _say_nothing(_: Event) -> None:
    """Looking is not choosing: what is passed over is for `restore` to tell."""
