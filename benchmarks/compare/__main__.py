"""The command line of the benchmark."""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.compare import __doc__ as about
from benchmarks.compare.errors import BenchmarkError
from benchmarks.compare.machine import commit, our_versions, this_machine
from benchmarks.compare.peers import PEERS
from benchmarks.compare.report import write_report
from benchmarks.compare.results import TIER, Item, Results, read, write
from benchmarks.compare.rounds import HOPELESS
from benchmarks.compare.workloads import FULL_ROUNDS, FULL_SIZE, WORK, Plan, clear_unless_shared, measured, say
from ckpt_tier.core.units import parse_size

EVERYBODY = (TIER, *(peer.name for peer in PEERS))
SMOKE_SIZE = 6_000_000
SMOKE_WORK = ("upload-one", "restore-one", "upload-many", "restore-many")
SMOKE_PEERS = (TIER, "boto3")


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    asked.work = asked.work or ",".join(SMOKE_WORK if asked.smoke else WORK)
    asked.peers = asked.peers or ",".join(SMOKE_PEERS if asked.smoke else EVERYBODY)
    try:
        if asked.earlier:
            results = read(asked.earlier)
        else:
            with _data_folder(asked.folder) as folder:
                results = run(_plan(asked, folder), _names("work", asked.work, WORK), asked.out)
        if asked.report:
            write_report(results, asked.report)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(plan: Plan, work: Sequence[str], out: Path | None) -> Results:
    """Measures the work items one after the other. The results file grows with each; what it had of other work items
    stays."""
    results = read(out) if out and out.exists() else Results()
    for name, following in zip(work, [*work[1:], None], strict=True):
        say(f"{name}: {WORK[name].title}")
        began, begun = datetime.now(UTC), time.monotonic()
        found = measured(plan, name)
        item = Item(
            name=name,
            title=WORK[name].title,
            began_at=began.isoformat(timespec="seconds").replace("+00:00", "Z"),
            took_seconds=time.monotonic() - begun,
            commit=commit(),
            machine=this_machine(plan.folder),
            versions=our_versions() | found.versions,
            rounds=plan.rounds,
            seed=plan.seed,
            full=plan.is_full,
            file_bytes=found.file_bytes,
            files=found.files,
            rows=found.rows,
            figures=found.figures,
            not_run=found.not_run,
            profiles=found.profiles,
            notes=found.notes,
        )
        say(f"{name} took {item.took_seconds:.0f} s")
        results = results.with_item(item)
        if out:
            write(results, out)
        clear_unless_shared(plan, name, following)
    return results


def _plan(asked: argparse.Namespace, folder: Path) -> Plan:
    return Plan(
        size=SMOKE_SIZE if asked.smoke else asked.size,
        rounds=1 if asked.smoke else asked.rounds,
        seed=asked.seed,
        peers=tuple(_names("peers", asked.peers, EVERYBODY)),
        folder=folder,
        profile=asked.profile,
        drop_after=asked.drop_after,
    )


def _names(what: str, asked: str, known: Collection[str]) -> list[str]:
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in known:
            raise BenchmarkError(f"--{what}: there is no {name!r}; there are {', '.join(known)}")
    return names


@contextlib.contextmanager
def _data_folder(asked: Path | None) -> Iterator[Path]:
    """Where everything that is measured lies; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ckpt-tier-bench-", dir=asked, ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", default=None, help=f"by comma: {', '.join(WORK)} (default: all)")
    parser.add_argument("--peers", default=None, help=f"by comma: {', '.join(EVERYBODY)} (default: all)")
    parser.add_argument("--rounds", type=int, default=FULL_ROUNDS)
    parser.add_argument(
        "--drop-after",
        type=int,
        metavar="N",
        help=f"leave out, after N rounds, a peer that needs more than {HOPELESS:g} "
        "times the least wall time and the least CPU (default: nobody)",
    )
    parser.add_argument(
        "--size", type=parse_size, default=FULL_SIZE, help="of the one file; the rest is scaled with it"
    )
    parser.add_argument("--seed", type=int, default=5, help="of the order in the rounds")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny, one round, ckpt-tier and boto3: does it work at all"
    )
    parser.add_argument("--profile", action="store_true", help="run ckpt-tier once more under a sampler")
    parser.add_argument("--folder", type=Path, help="where files, objects and copies lie (default: TMPDIR; 40 GB)")
    parser.add_argument("--out", type=Path, help="the results file to write, or to add to")
    parser.add_argument("--report", type=Path, help="the page to write; its pictures go to pictures/ beside it")
    parser.add_argument("--from", dest="earlier", type=Path, help="results to take instead of measuring")
    return parser


if __name__ == "__main__":
    sys.exit(main())
