"""The tree below one run, as a filesystem shows it: series, steps, and the files of a checkpoint in either tier."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator

import msgspec

from ckpt_tier.errors import NoColdTierError, NotFoundError
from ckpt_tier.flow.retry import persistently
from ckpt_tier.inspection import Checkpoint, Inspection
from ckpt_tier.integrations.places import Place
from ckpt_tier.operations import Operations
from ckpt_tier.tensors.sources import Source
from ckpt_tier.wiring import Wiring

FRESH = 5.0
"""Seconds that a checkpoint, once found, is not asked for again: readers ask for size, kind and content in a row."""


class Step(msgspec.Struct, frozen=True, order=True):
    """A step that is there, and its generations, as far as they are known."""

    number: int
    generations: tuple[str, ...]


class Tree:
    """One run. `own`: it is the configuration's, whose hot copies count; another run is read from the cold tier alone.

    Safe to use from several threads. Raises, out of every method, UnavailableError, IntegrityError, ConfigError.
    """

    def __init__(self, wiring: Wiring, *, own: bool) -> None:
        self._wiring = wiring
        self._own = own
        self._inspection = Inspection(wiring)
        self._lock = threading.RLock()
        self._found: dict[Place, tuple[float, Checkpoint]] = {}

    def series(self) -> list[str]:
        """The names of all series, sorted. Raises NotFoundError where there is no such run."""
        names = set()
        with self._lock:
            if self._own:
                names = {each.series for each in self._inspection.on_hot() if each.series}
            with self._perhaps_no_cold_tier():
                names |= set(persistently(self._wiring.cold.manifests.series, self._wiring.clock))
        return sorted(names)

    def steps(self, series: str) -> list[Step]:
        """All that are committed, or whole on the hot tier. Raises NotFoundError where there is no such series."""
        found: dict[int, set[str]] = {}
        with self._lock:
            for each in self._inspection.on_hot(series=series) if self._own else ():
                if each.step is not None:
                    found.setdefault(each.step, set()).update({each.generation} if each.generation else ())
            with self._perhaps_no_cold_tier():
                for entry in Operations(self._wiring).entries(series):
                    found.setdefault(entry.step, set()).add(entry.generation)
        if not found and series not in self.series():
            raise NotFoundError(f"there is no series {series!r}", self._those_there_are(), "name one of those")
        return sorted(Step(number, tuple(sorted(generations))) for number, generations in found.items())

    def checkpoint(self, place: Place) -> Checkpoint:
        """The one that the place is, or is in. Raises NotFoundError, which names the nearest steps."""
        key = msgspec.structs.replace(place, path="")
        now = self._wiring.clock.monotonic()
        with self._lock:
            found_at, found = self._found.get(key, (0.0, None))
            if found is None or not 0 <= now - found_at < FRESH:
                found = self._inspection.checkpoint(
                    place.step, series=place.series, generation=place.generation, tier=None if self._own else "cold"
                )
                self._found = {each: kept for each, kept in self._found.items() if now - kept[0] < FRESH}
                self._found[key] = now, found
        return found

    def forget(self) -> None:
        """Asks anew from now on."""
        with self._lock:
            self._found.clear()

    @contextlib.contextmanager
    def _perhaps_no_cold_tier(self) -> Iterator[None]:
        """There may be none, or the run may not have begun: then the hot tier has all there is."""
        try:
            yield
        except (NotFoundError, NoColdTierError):
            if not self._own:
                raise

    def _those_there_are(self) -> str:
        names = self.series()
        return f"there are {', '.join(names)}" if names else "there is none yet"


def by_path(files: Iterable[Source]) -> dict[str, Source]:
    """The files by their paths; where several ranks have the same ones, below a folder for each rank."""
    every = list(files)
    alone = len({file.path for file in every}) == len(every)
    return {file.path if alone else f"rank-{file.rank}/{file.path}": file for file in every}
