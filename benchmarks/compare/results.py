"""What a run found: the results file, and nothing else, is what the page is made from."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from benchmarks.compare.errors import BenchmarkError

SCHEMA = "ckpt-tier/benchmark/1"
TIER = "ckpt-tier"
WHOLE = "whole command"
TRANSFER = "transfer alone"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One measured process, its descendants included.

    Attributes:
        wall_seconds: from its start to its end.
        cpu_seconds: user and system.
        peak_anonymous_bytes: the largest sum of RssAnon over the tree that was seen, every 20 ms.
        received_bytes: bodies that the server received, by its own count.
        sent_bytes: bodies that the server sent.
        line_bytes: what crossed the loopback interface meanwhile, headers, TLS and everybody else's traffic included.
        requests: how many of each kind, by the server's count.
        server_cpu_seconds: what MinIO took meanwhile.
        transfer_wall_seconds: without interpreter start, imports and client set-up; None where that can't be told.
        transfer_cpu_seconds: likewise.
        stages: other seconds that the process told of, by name.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_anonymous_bytes: int
    received_bytes: int = 0
    sent_bytes: int = 0
    line_bytes: int = 0
    requests: dict[str, int] = {}
    server_cpu_seconds: float = 0.0
    transfer_wall_seconds: float | None = None
    transfer_cpu_seconds: float | None = None
    stages: dict[str, float] = {}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One peer at one of its settings. With a `failure` it was left out of the rounds that followed."""

    peer: str
    settings: str
    how: str
    samples: tuple[Sample, ...] = ()
    failure: str | None = None

    @property
    def name(self) -> str:
        return f"{self.peer}, {self.settings}"

    def median(self, of: Callable[[Sample], float | None]) -> float | None:
        """The median over the rounds; None where a round has no such figure, or the row failed."""
        values = [of(sample) for sample in self.samples]
        known = [value for value in values if value is not None]
        return statistics.median(known) if known and len(known) == len(values) and not self.failure else None


class NotRun(msgspec.Struct, frozen=True):
    """What was not measured, and why."""

    what: str
    why: str


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A single number of a work item that has no peers."""

    name: str
    value: float
    unit: str
    lowest: float | None = None
    highest: float | None = None


class Profile(msgspec.Struct, frozen=True):
    """Where ckpt-tier's CPU seconds went in one run: `lines` by function, the largest first."""

    cpu_seconds: float
    lines: tuple[tuple[str, float], ...]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One work item, measured in one go.

    Attributes:
        name: as for `--work`.
        title: what was done.
        began_at: RFC 3339.
        took_seconds: with preparing and checking.
        commit: of ckpt-tier, with a mark if there were changes beside it.
        rounds: how many.
        seed: of the order in the rounds.
        file_bytes: of one file; 0 where there are none.
        files: how many.
        full: whether the sizes and rounds are those that the goals speak of.
        profiles: by the command that was run once more under the sampler.
    """

    name: str
    title: str
    began_at: str
    took_seconds: float
    commit: str
    rounds: int
    seed: int
    file_bytes: int = 0
    files: int = 0
    full: bool
    rows: tuple[Row, ...] = ()
    figures: tuple[Figure, ...] = ()
    not_run: tuple[NotRun, ...] = ()
    profiles: dict[str, Profile] = {}
    notes: tuple[str, ...] = ()

    def figure(self, name: str) -> Figure | None:
        return next((figure for figure in self.figures if figure.name == name), None)

    def row(self, peer: str, settings: str) -> Row | None:
        return next((row for row in self.rows if (row.peer, row.settings) == (peer, settings)), None)

    @property
    def peers(self) -> list[Row]:
        """Those that ckpt-tier is compared with."""
        return [row for row in self.rows if row.peer != TIER]


class Machine(msgspec.Struct, frozen=True):
    """Where it ran."""

    processor: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    file_system: str


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A results file."""

    schema: str = SCHEMA
    machine: Machine
    versions: dict[str, str]
    items: tuple[Item, ...] = ()

    def item(self, name: str) -> Item | None:
        return next((item for item in self.items if item.name == name), None)


def read(path: Path) -> Results:
    """Raises BenchmarkError when it is no results file."""
    try:
        results = msgspec.json.decode(path.read_bytes(), type=Results)
    except (msgspec.DecodeError, OSError) as error:
        raise BenchmarkError(f"{path} is not a results file: {error}") from error
    if results.schema != SCHEMA:
        raise BenchmarkError(f"{path} has the schema {results.schema!r}, not {SCHEMA!r}")
    return results


def write(results: Results, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


def merged(several: Sequence[Results]) -> Results:
    """One from runs of different work items. Raises BenchmarkError when an item is in two of them, or the machine or a
    version differs: figures of different runs must not be compared."""
    first = several[0]
    for other in several[1:]:
        if other.machine != first.machine:
            raise BenchmarkError("the results come from different machines")
        different = [
            name for name in other.versions.keys() & first.versions if other.versions[name] != first.versions[name]
        ]
        if different:
            raise BenchmarkError(f"the results come from different versions of {', '.join(sorted(different))}")
    items = [item for results in several for item in results.items]
    twice = _repeated(item.name for item in items)
    if twice:
        raise BenchmarkError(f"{', '.join(twice)}: measured in more than one of the files")
    versions = {name: version for results in several for name, version in results.versions.items()}
    return msgspec.structs.replace(first, versions=versions, items=tuple(items))


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
