"""The rounds: every contender once in each, in an order of its own, one at a time; checked and cleared away outside of
what is timed."""

import contextlib
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from benchmarks.compare.errors import FailedError
from benchmarks.compare.measure import Command, Measured, measure
from benchmarks.compare.results import TIER, Row, Sample, transfer_cpu
from benchmarks.compare.server import Counters

HOPELESS = 1.5
"""Times the best: whoever needs more of both wall time and CPU will be neither the fastest nor the most frugal."""
_STAGES = ("check_cpu", "check_wall", "sha256_cpu", "blocked_wall")


class Runner(msgspec.Struct, frozen=True):
    """One contender of a work item. `turn` makes everything ready, gives the command to be measured, and on leaving
    checks what came of it and clears it away; a check that fails raises FailedError."""

    peer: str
    settings: str
    how: str
    turn: Callable[[], AbstractContextManager[Command]]


def interleave(
    runners: Sequence[Runner],
    rounds: int,
    seed: int,
    counters: Callable[[], Counters] | None = None,
    drop_after: int | None = None,
) -> list[Row]:
    """The rows, in the order of `runners`. One that fails is left out of the rounds that follow; after `drop_after`
    rounds those too that have no chance (see `HOPELESS`), except ckpt-tier."""
    chance = random.Random(seed)
    rows = [Row(peer=runner.peer, settings=runner.settings, how=runner.how) for runner in runners]
    for number in range(rounds):
        if number == drop_after:
            rows = without_hope(rows)
        order = [index for index, row in enumerate(rows) if row.failure is None and not row.hopeless]
        chance.shuffle(order)
        for index in order:
            rows[index] = _with_turn(rows[index], number, runners[index], counters)
    return rows


def _with_turn(row: Row, number: int, runner: Runner, counters: Callable[[], Counters] | None) -> Row:
    try:
        sample = one_turn(runner, counters)
    except FailedError as error:
        _say(f"{row.name}: FAILED: {error}")
        return msgspec.structs.replace(row, failure=str(error))
    _say(
        f"round {number + 1}: {row.name}: {sample.wall_seconds:.2f} s, "
        f"CPU {sample.cpu_seconds:.2f} s, {sample.peak_anonymous_bytes / 2**20:.0f} MiB"
    )
    return msgspec.structs.replace(row, samples=(*row.samples, sample))


def without_hope(rows: Sequence[Row]) -> list[Row]:
    """The rows, with those marked that can be neither the fastest nor the most frugal any more."""
    measures = (lambda sample: sample.wall_seconds, transfer_cpu)
    peers = [row for row in rows if row.peer != TIER]
    least = [min((value for row in peers if (value := row.median(of)) is not None), default=0.0) for of in measures]

    def is_hopeless(row: Row) -> bool:
        values = [row.median(of) for of in measures]
        pairs = zip(values, least, strict=True)
        return row.peer != TIER and all(value is not None and value > HOPELESS * best for value, best in pairs)

    return [msgspec.structs.replace(row, hopeless=is_hopeless(row)) for row in rows]


def one_turn(runner: Runner, counters: Callable[[], Counters] | None) -> Sample:
    """One measured run."""
    with runner.turn() as command:
        os.sync()  # nobody pays for what the one before has left in the page cache
        before = counters() if counters else None
        measured = measure(command)
        happened = counters().since(before) if counters and before else None
    return _sample(measured, happened)


def _sample(measured: Measured, happened: Counters | None) -> Sample:
    told = told_by(measured.output)
    return Sample(
        wall_seconds=measured.wall_seconds,
        cpu_seconds=measured.cpu_seconds,
        peak_anonymous_bytes=measured.peak_anonymous_bytes,
        received_bytes=happened.received if happened else 0,
        sent_bytes=happened.sent if happened else 0,
        line_bytes=happened.line if happened else 0,
        requests=happened.requests if happened else {},
        server_cpu_seconds=happened.cpu if happened else 0.0,
        transfer_wall_seconds=told.get("transfer_wall"),
        transfer_cpu_seconds=told.get("transfer_cpu"),
        stages={name: told[name] for name in _STAGES if name in told},
    )


def told_by(output: str) -> Mapping[str, float]:
    """What a child of ours said in its last line; nothing, if it was no child of ours."""
    last = output.strip().rpartition("\n")[2]
    try:
        return msgspec.json.decode(last.encode(), type=dict[str, float])
    except msgspec.DecodeError:
        return {}


@contextlib.contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """An empty folder, gone afterwards."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)
