"""The page: made from a results file and nothing else."""

import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.compare.goals import Verdict, verdicts
from benchmarks.compare.plots import Bar, Panel, chart
from benchmarks.compare.results import TIER, TRANSFER, WHOLE, Figure, Item, Machine, Results, Row, Sample, transfer_cpu

MIB = 2**20
_MB = 10**6
_OUTCOMES = {"reached": "reached", "missed": "**missed**", "not run": "not run", "small run": "small run: says nothing"}
_HEADER = """# Benchmarks

<!-- Made by `python -m benchmarks.compare`; change that, not this. -->

ckpt-tier and its peers on the same files, against the same real MinIO, in one run.
"""
_HOW = """## How it was measured

- `python -m benchmarks.compare --out benchmarks/results.json --report docs/benchmarks.md`; `--work` measures some of
  the items anew, `--from benchmarks/results.json` makes this page again from what is there. Every work item was
  measured in one go, so its figures can be compared with each other.
- Each contender is a process of its own, with the same environment, timed from its start to its end. In each round all
  take their turn, one at a time, in an order that is drawn anew. Medians; the least and the most in brackets.
- **CPU** is user and system time of the process and all its descendants, as `wait4` gives it. **CPU, transfer** is
  what a Python peer reads of itself before and after the transfer: without interpreter start, imports and client
  set-up. A command can't tell them apart; where the transfer is compared, its whole process counts.
- **Memory** is RssAnon, summed over the process and its descendants, looked at every 20 ms. Page cache and mapped files
  are not in it.
- **Bytes** are the bodies that MinIO received and sent, by its own metrics (`/minio/metrics/v3/api/requests`), which
  are exact and know nothing of other traffic. **On the line** is what the loopback interface carried meanwhile, with
  headers and TLS, and with whatever else the machine was doing.
- MinIO runs on the same machine and shares its cores with whoever is measured: its own CPU seconds are in the tables.
  Where they and the client's fill the cores for the whole wall time, nobody can be faster on this machine.
- Where it says so, a peer was left out of the later rounds because it needed more than 1.5 times the least wall time
  and also more than 1.5 times the least CPU: it could be neither the fastest nor the most frugal.
- Sources are read once before each turn, so they lie in the page cache as far as that is large enough; dirty pages are
  written back (`sync`) before each turn. Peers leave what they bring down in the page cache; ckpt-tier's figures
  include its fsync.
- After each turn, outside of what is timed, every object that was sent is looked up by name and size, every file that
  came down is compared byte for byte, and all of it is deleted. A contender that fails is shown as failed.
- A profile is one more run, under a sampler that is not part of any other figure. Its lines of ckpt-tier are right; the
  innermost functions are a hint, because Python's lock lets it look only where a thread waits or pauses.
- ckpt-tier, *whole command*: `ckpt-tier sync` from a hot folder it has never seen to a committed checkpoint (format
  check, SHA-256, CRC-64/NVME, upload, proof, manifest), or `ckpt-tier restore --to`. *Transfer alone*: the upload of
  files whose checksums are known, or the restore, each in a process that has its imports and client.
"""


def write_report(results: Results, page: Path) -> None:
    """Writes the page, and its pictures into `pictures/` beside it."""
    pictures = page.parent / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for item in results.items:
        picture = picture_of(item)
        if picture:
            (pictures / _picture_name(item)).write_text(picture)
    page.write_text(page_of(results))


def page_of(results: Results) -> str:
    """The Markdown."""
    found = verdicts(results)
    parts = [_HEADER, _about(results), _goals(found), _requests(results)]
    parts += [_missed(found, results)]
    parts += [_item(item) for item in results.items]
    parts += [_not_run(results, found), _HOW]
    return "\n".join(part for part in parts if part)


def _about(results: Results) -> str:
    small = [item.name for item in results.items if not item.full]
    parts = []
    if small:
        parts.append(
            f"\n**A small run: {', '.join(small)}. Sizes or rounds are not those of the goals; these figures only show "
            "that the benchmark works.**"
        )
    machines = list(dict.fromkeys(item.machine for item in results.items))
    if len(machines) > 1:
        parts.append(_SEVERAL)
    return "\n".join([*parts, *(_about_machine(machine, results) for machine in machines)])


def _about_machine(machine: Machine, results: Results) -> str:
    """Where, when and with what the items that were measured there were."""
    items = [item for item in results.items if item.machine == machine]
    versions: dict[str, list[str]] = {}
    for name, version in sorted({pair for item in items for pair in item.versions.items()}):
        versions.setdefault(name, []).append(version)
    listed = ", ".join(f"{name} {' and '.join(there)}" for name, there in versions.items())
    days = " and ".join(sorted({item.began_at[:10] for item in items}))
    return (
        f"\nMeasured on {days}: {', '.join(item.name for item in items)}.\n{machine.processor}, {machine.cores} cores, "
        f"{machine.memory_bytes / 2**30:.0f} GiB of memory, Linux {machine.kernel}, {machine.file_system}, "
        f"Python {machine.python}.\n{listed}.\n{_IN_MEMORY if machine.file_system == 'tmpfs' else ''}"
    )


_SEVERAL = """
The work items were measured in more than one run. Within a work item everybody had the same machine, the same files and
the same server; figures of different items must not be compared.
"""
_IN_MEMORY = """
Files and objects lay in memory (tmpfs), so no disk held anybody up, and flushing a file cost nobody anything.
"""


def _goals(found: Sequence[Verdict]) -> str:
    lines = ["## Goals\n", "| goal | at most | measured | |", "|---|---:|---:|---|"]
    for verdict in found:
        goal, reading = verdict.goal, verdict.reading
        measured = f"{reading.value:.3g}" if reading else ""
        detail = f" ({reading.detail})" if reading and reading.detail else ""
        lines.append(
            f"| {goal.what} | {goal.limit:g} {goal.unit} | {measured} | {_OUTCOMES[verdict.outcome]}{detail} |"
        )
    return "\n".join(lines) + "\n"


def _requests(results: Results) -> str:
    """How many requests a committed checkpoint costs."""
    lines = []
    for item in results.items:
        row = item.row(TIER, WHOLE)
        if row and row.samples and row.samples[-1].requests:
            requests = row.samples[-1].requests
            names = ", ".join(f"{count} {name}" for name, count in requests.items())
            lines.append(f"| {item.name} | {sum(requests.values())} | {names} |")
    if not lines:
        return ""
    head = ["## Requests of ckpt-tier\n", "Of the whole command, in its last round.\n"]
    head += ["| work | requests | |", "|---|---:|---|"]
    return "\n".join([*head, *lines]) + "\n"


def _missed(found: Sequence[Verdict], results: Results) -> str:
    missed = [verdict for verdict in found if verdict.outcome == "missed"]
    if not missed:
        return ""
    parts = ["## Missed goals, and why\n"]
    for name in dict.fromkeys(verdict.goal.item for verdict in missed):
        item = results.item(name)
        goals = "; ".join(verdict.goal.what for verdict in missed if verdict.goal.item == name)
        parts.append(f"### {name}: {goals}\n")
        parts += [_shared_processors(item), _profiles(item)] if item else []
    return "\n".join(parts)


def _shared_processors(item: Item) -> str:
    """How much of a wall time is the processors': the server runs on the same ones as the contenders."""
    fastest = min(item.peers, key=lambda row: row.median(_wall) or float("inf"), default=None)
    lines: list[str] = []
    for row in filter(None, (item.row(TIER, WHOLE), fastest)):
        ours, theirs, wall = row.median(_cpu), row.median(_server_cpu), row.median(_wall)
        if ours and theirs and wall:
            least = (ours + theirs) / item.machine.cores
            lines.append(f"| {row.name} | {ours:.2f} | {theirs:.2f} | {least:.2f} | {wall:.2f} |")
    if not lines:
        return ""
    head = [f"Client and server share {item.machine.cores} cores, so nobody's wall time can be less than theirs:\n"]
    head += ["| | client's CPU s | server's CPU s | shared by the cores | wall s |", "|---|---:|---:|---:|---:|"]
    return "\n".join([*head, *lines]) + "\n"


def _cpu(sample: Sample) -> float:
    return sample.cpu_seconds


def _server_cpu(sample: Sample) -> float:
    return sample.server_cpu_seconds


def _profiles(item: Item) -> str:
    if not item.profiles:
        return "No profile was taken (`--profile`).\n"
    lines = []
    for command, profile in item.profiles.items():
        where = "line of ckpt-tier > innermost function"
        lines.append(f"`{command}`: {profile.cpu_seconds:.2f} CPU seconds of one run, by {where}.\n")
        lines += ["| CPU s | where |", "|---:|---|"]
        lines += [f"| {seconds:.3f} | `{where.strip(' >') or '?'}` |" for where, seconds in profile.lines[:15]]
        lines.append("")
    return "\n".join(lines)


def _item(item: Item) -> str:
    rounds = f", {item.rounds} rounds" if item.rows else ""
    size = f": {item.files:,} x {item.file_bytes / _MB:,.1f} MB" if item.file_bytes else ""
    parts = [f"## {item.title} (`{item.name}`)\n", f"Began {item.began_at}, commit {item.commit}{rounds}{size}.\n"]
    if item.rows:
        if picture_of(item):
            parts.append(f"![{item.title}: wall and CPU seconds of each contender](pictures/{_picture_name(item)})\n")
        parts += [_table(item.rows), _stages(item), _ways(item.rows)]
    if item.figures:
        parts.append(_figures(item.figures))
    parts += [f"{note}\n" for note in item.notes]
    return "\n".join(part for part in parts if part)


def _table(rows: Sequence[Row]) -> str:
    lines = [
        "| | wall s | CPU s | CPU s, transfer | server's CPU s | memory MiB | received MB | sent MB | on the line MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(rows, key=lambda row: row.median(_wall) or float("inf")):
        name = f"**{row.name}**" if row.peer == TIER else row.name
        if row.hopeless:
            name += f" (left out after {_rounds(len(row.samples))})"
        if row.failure is not None or not row.samples:
            lines.append(f"| {name} | failed: {_one_line(row.failure or 'no samples')} | | | | | | | |")
            continue
        cells = [
            _spread(row, _wall),
            _spread(row, lambda sample: sample.cpu_seconds),
            _spread(row, lambda sample: sample.transfer_cpu_seconds),
            f"{statistics.median(sample.server_cpu_seconds for sample in row.samples):.2f}",
            f"{max(sample.peak_anonymous_bytes for sample in row.samples) / MIB:.0f}",
            *(f"{statistics.median(of(sample) for sample in row.samples) / _MB:,.1f}" for of in _BYTES),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_BYTES: tuple[Callable[[Sample], int], ...] = (
    lambda sample: sample.received_bytes,
    lambda sample: sample.sent_bytes,
    lambda sample: sample.line_bytes,
)


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:200]


def _stages(item: Item) -> str:
    """What ckpt-tier does beside the transfer, and how long a save keeps training waiting."""
    lines = []
    alone = item.row(TIER, TRANSFER)
    if alone and alone.samples and "check_cpu" in alone.samples[0].stages:
        check, sha = (
            alone.median(lambda sample, stage=stage: sample.stages.get(stage))  # type: ignore[misc]
            for stage in ("check_cpu", "sha256_cpu")
        )
        lines.append(
            f"Beside the transfer ckpt-tier reads each file once for its format check, SHA-256 and CRC-64/NVME: "
            f"{check or 0:.2f} CPU s, of which SHA-256 by itself takes {sha or 0:.2f}.\n"
        )
    waits = [
        f"| {row.name} | {_spread(row, _blocked)} |" for row in item.rows if row.samples and _blocked(row.samples[0])
    ]
    if waits:
        lines += ["| training waits | s |", "|---|---:|", *waits, ""]
    return "\n".join(lines)


def _ways(rows: Sequence[Row]) -> str:
    return "\n".join(f"- {row.name}: {row.how}" for row in rows) + "\n"


def _figures(figures: Sequence[Figure]) -> str:
    lines = ["| | | |", "|---|---:|---|"]
    for figure in figures:
        spread = "" if figure.lowest is None else f" ({figure.lowest:.3g} … {figure.highest:.3g})"
        lines.append(f"| {figure.name} | {figure.value:,.4g}{spread} | {figure.unit} |")
    return "\n".join(lines) + "\n"


def _not_run(results: Results, found: Sequence[Verdict]) -> str:
    lines = [f"| {item.name} | {each.what} | {each.why} |" for item in results.items for each in item.not_run]
    measured = {item.name for item in results.items}
    missing = dict.fromkeys(verdict.goal.item for verdict in found if verdict.goal.item not in measured)
    lines += [f"| {name} | all of it | not part of this run |" for name in missing]
    if not lines:
        return "## What was not run\n\nNothing.\n"
    return "\n".join(["## What was not run\n", "| work | what | why |", "|---|---|---|", *map(_home, lines)]) + "\n"


def _home(text: str) -> str:
    """Without the names of folders of the machine it ran on."""
    return text.replace(os.path.expanduser("~"), "~").replace("\n", " ")  # noqa: PTH111 (inside a text)


def picture_of(item: Item) -> str:
    """Wall and CPU seconds of those that did not fail; empty where there are fewer than two."""
    rows = [row for row in item.rows if row.samples and not row.failure]
    if len(rows) < 2:
        return ""
    panels = [
        Panel("wall time", "s", [_bar(row, _wall) for row in rows if row.settings != TRANSFER]),
        Panel("client CPU of the transfer", "s", [_bar(row, transfer_cpu) for row in rows]),
    ]
    return chart(item.title, panels)


def _bar(row: Row, of: Callable[[Sample], float]) -> Bar:
    values = [of(sample) for sample in row.samples]
    return Bar(row.name, statistics.median(values), min(values), max(values), row.peer == TIER)


def _picture_name(item: Item) -> str:
    return f"benchmark-{item.name}.svg"


def _wall(sample: Sample) -> float:
    return sample.wall_seconds


def _blocked(sample: Sample) -> float | None:
    return sample.stages.get("blocked_wall")


def _spread(row: Row, of: Callable[[Sample], float | None]) -> str:
    known = [value for sample in row.samples if (value := of(sample)) is not None]
    if not known:
        return ""
    return f"{statistics.median(known):.2f} ({min(known):.2f} … {max(known):.2f})"
