"""What a run found: the results file, and nothing else, is what the page is made from."""

import statistics
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.compare.errors import BenchmarkError

SCHEMA = "ckpt-tier/benchmark/2"
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


def transfer_cpu(sample: Sample) -> float:
    """Of the transfer alone where that is known, else of the whole process: a command can't tell them apart."""
    return sample.cpu_seconds if sample.transfer_cpu_seconds is None else sample.transfer_cpu_seconds


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One peer at one of its settings. With a `failure`, or `hopeless`, it was left out of the rounds that followed."""

    peer: str
    settings: str
    how: str
    samples: tuple[Sample, ...] = ()
    failure: str | None = None
    hopeless: bool = False

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


class Machine(msgspec.Struct, frozen=True):
    """Where it ran."""

    processor: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    file_system: str


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One work item, measured in one go.

    Attributes:
        name: as for `--work`.
        title: what was done.
        began_at: RFC 3339.
        took_seconds: with preparing and checking.
        commit: of ckpt-tier, with a mark if there were changes beside it.
        machine: where.
        versions: of everything that took part.
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
    machine: Machine
    versions: dict[str, str]
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


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A results file. Its items may come from several runs: nothing is ever compared across them."""

    schema: str = SCHEMA
    items: tuple[Item, ...] = ()

    def item(self, name: str) -> Item | None:
        return next((item for item in self.items if item.name == name), None)

    def with_item(self, item: Item) -> "Results":
        """With `item` in the place of an earlier one of its name."""
        others = [each for each in self.items if each.name != item.name]
        return Results(items=(*others, item))


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
