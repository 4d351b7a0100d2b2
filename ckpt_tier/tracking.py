"""What `track` asks: how tensors and numbers have gone over all checkpoints of a series, in either tier.

Changes nothing but a cache of its own. A checkpoint that can't be read is told as that, and never stops the others.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import Literal

import msgspec

from ckpt_tier.errors import CkptTierError, IntegrityError, NotFoundError, UnavailableError, UsageError
from ckpt_tier.system.asking import computing
from ckpt_tier.tensors.alike import Alike
from ckpt_tier.tensors.chosen import Chosen, choose
from ckpt_tier.tensors.figures_cache import FiguresCache
from ckpt_tier.tensors.ranges import Cost
from ckpt_tier.tracked_steps import File, Step, Steps
from ckpt_tier.wiring import Wiring

Where = Literal["hot", "cold", "cache"]
PARALLEL = 16
"""Checkpoints that are read at once: each waits for its answers most of the time."""
_FIRST = 2
"""Checkpoints of each kind that are read one after the other, before all others of it; from two, `Alike` learns what
changes from step to step."""
_MOST_KINDS = 8
"""Where there are more, no two are of one kind, or few; `Alike` keeps no more either."""
_NEAR_AMONG = 5000
"""Names that are looked at for one that was meant; a comparison costs microseconds."""


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """One name in one checkpoint. `name` has the file before it, with a colon, where several files have that name;
    `found` is what is there."""

    name: str
    found: Chosen


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint.

    Attributes:
        where: "hot" or "cold", from where it was read; "cache" if nothing had to be.
        tracks: what the globs match in it.
        problem, exit_code: why nothing of it, or not all of it, could be read.
    """

    step: Step
    where: Where
    tracks: tuple[Track, ...] = ()
    problem: str = ""
    exit_code: int = 0


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found, by step and then by the time of saving.

    Attributes:
        names: of all tracks, in the order in which they lie in the files.
        cost: what reading has cost.
        size_bytes: of all files of these checkpoints.
        cached: how many of them were taken from the cache.
        cold_error: why the cold tier was left out; empty if it was asked.
        notes: whole clauses.
    """

    points: tuple[Point, ...]
    names: tuple[str, ...]
    cost: Cost
    size_bytes: int
    cached: int
    cold_error: str = ""
    notes: tuple[str, ...] = ()

    @property
    def problems(self) -> list[tuple[Step, str, int]]:
        """What could not be read: of which checkpoint, why, and the exit code that says so."""
        whole = [(point.step, point.problem, point.exit_code) for point in self.points if point.problem]
        single = [(p.step, t.found.problem, t.found.exit_code) for p in self.points for t in p.tracks]
        return whole + [each for each in single if each[2]]


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    """What reading a checkpoint has given: by file, in their order."""

    where: Where
    files: tuple[File, ...] = ()
    chosen: tuple[tuple[Chosen, ...], ...] = ()
    cost: Cost
    names: tuple[str, ...] = ()
    error: CkptTierError | None = None


class Tracking:
    """Tracks names through the checkpoints of one configuration. To be used by one thread."""

    def __init__(self, wiring: Wiring, parallel: int = PARALLEL) -> None:
        self._steps = Steps(wiring)
        self._cache = FiguresCache(wiring.config.state_dir)
        self._parallel = parallel

    def steps(
        self,
        series: str | None = None,
        *,
        first: int = 0,
        last: int | None = None,
        every: int | None = None,
        rank: int | None = None,
        abandoned: bool = False,
    ) -> list[Step]:
        """The checkpoints that `run` would look at: steps from `first` to `last`, only multiples of `every`. Raises
        NotFoundError, UsageError (several series, none named), UnavailableError where there is nothing hot either."""
        chosen = [
            step
            for step in self._steps.all(series, rank)
            if first <= step.step and (last is None or step.step <= last) and not (every and step.step % every)
        ]
        if not abandoned:
            left = [step for step in chosen if step.abandoned]
            chosen = [step for step in chosen if not step.abandoned]
            if left:
                self._steps.notes.append(f"{len(left)} on an abandoned branch left out: --abandoned shows them")
        if not chosen:
            raise NotFoundError("there is no checkpoint to track", fix="see `ckpt-tier list`, and check the options")
        return chosen

    def run(
        self, patterns: Sequence[str], steps: Iterable[Step], done: Callable[[int], None] = lambda count: None
    ) -> Tracked:
        """Everything in these checkpoints that one of the globs matches. `done` is told how many more have been read.

        Raises NotFoundError where nothing matches anywhere, and nothing has failed either; UsageError.
        """
        if not patterns:
            raise UsageError("nothing was named that could be tracked", fix="give a name, or a glob in quotes")
        wanted = list(steps)
        known = self._cache.load({file.content for step in wanted for file in step.files if file.content}, patterns)
        reads = {step: read for step in wanted if (read := _from_cache(step, known)) is not None}
        cached = len(reads)
        done(cached)
        for step, read in self._read_all(patterns, [step for step in wanted if step not in reads]):
            reads[step] = read
            done(1)
        self._keep(patterns, reads.values())
        labels = _ambiguous(reads.values())
        points = tuple(_point(step, reads[step], labels) for step in wanted)
        names = dict.fromkeys(track.name for point in reversed(points) for track in point.tracks)
        if not names and not any(point.problem for point in points):
            raise _nothing_matches(patterns, [name for read in reads.values() for name in read.names])
        costs = [read.cost for read in reads.values()]
        return Tracked(
            points=points,
            names=tuple(names),
            cost=Cost(sum(cost.requests for cost in costs), sum(cost.read_bytes for cost in costs)),
            size_bytes=sum(step.size_bytes for step in wanted),
            cached=cached,
            cold_error=str(self._steps.away or ""),
            notes=tuple(self._steps.notes),
        )

    def _read_all(self, patterns: Sequence[str], steps: Sequence[Step]) -> Iterator[tuple[Step, _Read]]:
        alike = Alike()
        with computing(self._parallel, "track") as pool:
            for together in _rounds(steps):
                pending = {pool.submit(_read, step, patterns, alike): step for step in together}
                for future in as_completed(pending):
                    yield pending[future], future.result()

    def _keep(self, patterns: Sequence[str], reads: Iterable[_Read]) -> None:
        sound = [
            (file.content, chosen)
            for read in reads
            if read.where != "cache"
            for file, chosen in zip(read.files, read.chosen, strict=False)
            if file.content and not any(each.exit_code for each in chosen)
        ]
        self._cache.store(sound, patterns)


def _rounds(steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
    """The newest of each kind, the next of each, then all others, which need less, knowing what these are like."""
    newest_first = list(reversed(steps))
    by_kind: dict[object, list[Step]] = {}
    for step in newest_first:
        by_kind.setdefault(_kind(step), []).append(step)
    groups = list(by_kind.values()) if len(by_kind) <= _MOST_KINDS else [newest_first]
    for number in range(_FIRST):
        yield [group[number] for group in groups if number < len(group)]
    first = {step for group in groups for step in group[:_FIRST]}
    yield [step for step in newest_first if step not in first]


def _kind(step: Step) -> object:
    """What tells whether two checkpoints are of one length in all that is read: the step takes as many digits in the
    names of records, and as many bytes in the pickle (1, 2, 4 or more)."""
    width = sum(step.step >= limit for limit in (2**8, 2**16, 2**31))
    return tuple(file.size for file in step.files), len(str(step.step)), width


def _from_cache(step: Step, known: dict[str, tuple[Chosen, ...]]) -> _Read | None:
    files = step.files
    if files and all(file.content in known for file in files):
        return _Read(where="cache", files=files, chosen=tuple(known[file.content or ""] for file in files), cost=Cost())
    return None


def _read(step: Step, patterns: Sequence[str], alike: Alike) -> _Read:
    """From the first place that still has it. A hot copy may be gone by now, or replaced: that is no damage."""
    cost = Cost()
    for number, (where, files) in enumerate(step.places):
        chosen: list[tuple[Chosen, ...]] = []
        names: tuple[str, ...] = ()
        try:
            for file in files:
                with file.open(cost) as reader:
                    found, held = choose(reader, file.path, patterns, alike)
                chosen.append(found)
                if not found:
                    names = names or (*held.by_name, *(entry.name for entry in held.entries))[:_NEAR_AMONG]
        except (CkptTierError, OSError) as error:
            if where == "hot" and number + 1 < len(step.places) and _has_gone(error):
                continue
            told = error if isinstance(error, CkptTierError) else UnavailableError(str(error))
            return _Read(where=where, files=files, chosen=tuple(chosen), cost=cost, error=told)
        return _Read(where=where, files=files, chosen=tuple(chosen), cost=cost, names=names)
    return _Read(where="cold", cost=cost, error=IntegrityError(step.problem))


def _has_gone(error: Exception) -> bool:
    return isinstance(error, OSError | NotFoundError | UsageError) or type(error) is not IntegrityError


def _ambiguous(reads: Iterable[_Read]) -> set[str]:
    """Names that several files of one checkpoint have."""
    found: set[str] = set()
    for read in reads:
        counts = Counter(each.name for chosen in read.chosen for each in chosen)
        found |= {name for name, count in counts.items() if count > 1}
    return found


def _point(step: Step, read: _Read, labels: set[str]) -> Point:
    tracks = [
        Track(name=f"{file.label}:{each.name}" if each.name in labels else each.name, found=each)
        for file, chosen in zip(read.files, read.chosen, strict=False)
        for each in chosen
    ]
    error = read.error
    return Point(
        step=step,
        where=read.where,
        tracks=tuple(tracks),
        problem=str(error) if error else "",
        exit_code=error.exit_code if error else 0,
    )


def _nothing_matches(patterns: Sequence[str], names: Sequence[str]) -> NotFoundError:
    near = dict.fromkeys(
        name
        for pattern in patterns
        for name in difflib.get_close_matches(pattern, names[:_NEAR_AMONG], n=3, cutoff=0.5)
    )
    return NotFoundError(
        f"no tensor and no number in these checkpoints matches {' or '.join(map(repr, patterns))}",
        f"the nearest names are {', '.join(near)}" if near else "",
        "see the names with `ckpt-tier inspect --latest --all`; put a glob in quotes: 'model.*.weight'",
    )
