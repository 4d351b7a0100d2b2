"""What `track` prints: a table, CSV, a document or plots; then what it has cost, and what could not be read."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.curves import curves, stats_of
from ckpt_tier.cli.documents.track import document
from ckpt_tier.cli.drawing import drawing
from ckpt_tier.cli.failure import present as present_error
from ckpt_tier.cli.plotting import plots
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.words import plural
from ckpt_tier.core.units import format_size
from ckpt_tier.errors import AttentionError, CkptTierError, IntegrityError, UnavailableError, worst_exit_code
from ckpt_tier.system.durable import write_atomic
from ckpt_tier.tensors.statistics import Figures
from ckpt_tier.tracked_steps import Step
from ckpt_tier.tracking import Tracked, Tracking

_MOST_BESIDE = 100
"""Columns that a table may take where the output has no width of its own."""
_MOST_TOLD = 5
_CSV = ("series", "step", "generation", "saved_at", "where", "name", "dtype", "shape")


def read(tracking: Tracking, keys: Sequence[str], steps: Sequence[Step], settings: Settings) -> Tracked:
    """Tracks, with a bar where somebody watches."""
    if settings.json or settings.quiet or not paper.is_terminal():
        return tracking.run(keys, steps)
    from ckpt_tier.cli.bar import Bar

    with Bar("reading", len(steps), of_things=True) as bar:
        return tracking.run(keys, steps, bar.advance)


def present(tracked: Tracked, settings: Settings, *, stats: Sequence[str], form: str, svg: Path | None) -> int:
    """Prints it in the form that was asked for, and returns the exit code."""
    lines = curves(tracked, stats) if form == "plot" or svg is not None else []
    if svg is not None:
        write_atomic(svg, drawing(lines, title=tracked.points[0].step.series).encode())
    if settings.json:
        paper.say(msgspec.json.encode(document(tracked)).decode())
    elif form == "csv":
        paper.say(_csv(tracked, stats))
    else:
        for line in plots(lines) if form == "plot" else _tables(tracked, stats):
            paper.say(line)
        if not settings.quiet:
            for line in _foot(tracked, svg):
                paper.say(line)
    failure = _failure(tracked)
    return present_error(failure, settings) if failure else 0


def _tables(tracked: Tracked, stats: Sequence[str]) -> Iterator[str]:
    """One table with a column for each name where that fits, else one table for each name."""
    labels = step_labels([point.step for point in tracked.points])
    told = {name: stats_of(tracked, name, stats) for name in tracked.names}
    single = {name: chosen[0] for name, chosen in told.items() if len(chosen) == 1}
    if len(single) == len(told):
        headings = [name if single[name] == "value" else f"{name} {single[name]}" for name in told]
        if 30 + sum(max(12, len(paper.plain(heading)) + 2) for heading in headings) <= min(paper.width(), _MOST_BESIDE):
            yield _table(tracked, labels, [(name, single[name]) for name in told], headings)
            return
    for number, (name, chosen) in enumerate(told.items()):
        if number:
            yield ""
        yield paper.style(_title(tracked, name), bold=True)
        yield _table(tracked, labels, [(name, stat) for stat in chosen], list(chosen))


def _title(tracked: Tracked, name: str) -> str:
    found = [track.found for point in tracked.points for track in point.tracks if track.name == name]
    kinds = dict.fromkeys(f"{each.dtype} {'x'.join(map(str, each.shape)) or 'scalar'}" for each in found)
    return paper.dot().join([paper.plain(name), *(list(kinds)[:3])])


def _table(tracked: Tracked, labels: Sequence[str], columns: Sequence[tuple[str, str]], headings: Sequence[str]) -> str:
    rows = []
    for point, label in zip(tracked.points, labels, strict=True):
        by_name = {track.name: track.found for track in point.tracks}
        cells = []
        notes = [point.problem] if point.problem else ["abandoned"] if point.step.abandoned else []
        for name, stat in columns:
            found = by_name.get(name)
            cells.append("" if found is None or found.figures is None else _cell(found.figures, stat))
            if found is not None and (note := _note(found.figures, found.problem)) not in notes:
                notes += [note] if note else []
        rows.append((label, point.where, *cells, "; ".join(notes)))
    right = {0, *range(2, 2 + len(columns))}
    return paper.columns(rows, headings=("step", "from", *map(paper.plain, headings), ""), right=right, indent=2)


def _cell(figures: Figures, stat: str) -> str:
    value = getattr(figures, stat)
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _note(figures: Figures | None, problem: str) -> str:
    if figures is None:
        return problem
    lost = [f"{count:,} {name}" for name, count in (("NaN", figures.nan), ("Inf", figures.inf)) if count]
    return f"without {' and '.join(lost)}" if lost else ""


def step_labels(steps: Sequence[Step]) -> list[str]:
    """The step, with the generation where it was saved more than once."""
    numbers = [step.step for step in steps]
    return [
        f"{step.step}@{(step.generation or '?')[:8]}" if numbers.count(step.step) > 1 else str(step.step)
        for step in steps
    ]


def _csv(tracked: Tracked, stats: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = stats or tuple(field for field in Figures.__struct_fields__ if field != "verified")
    writer.writerow([*_CSV, *names, "verified", "problem"])
    for point in tracked.points:
        step = point.step
        head = (step.series, step.step, step.generation or "", step.saved_at, point.where)
        if point.problem:
            writer.writerow([*head, "", "", "", *("" for _ in names), "", paper.plain(point.problem)])
        for track in point.tracks:
            found = track.found
            shown = found.figures
            values = ["" if (value := getattr(shown, name, None)) is None else repr(value) for name in names]
            verified = "" if shown is None else str(shown.verified).lower()
            shape = "x".join(map(str, found.shape))
            writer.writerow([*head, track.name, found.dtype, shape, *values, verified, paper.plain(found.problem)])
    return text.getvalue().rstrip("\n")


def _foot(tracked: Tracked, svg: Path | None) -> Iterator[str]:
    yield ""
    for note in tracked.notes:
        yield f"{paper.style('note:', 'yellow')} {paper.plain(note)}"
    if svg is not None:
        yield f"The plot is in {paper.plain(str(svg))}."
    told = [
        plural(len(tracked.points), "checkpoint"),
        f"{format_size(tracked.cost.read_bytes)} of {format_size(tracked.size_bytes)} read",
        plural(tracked.cost.requests, "request"),
        *([f"{tracked.cached:,} from the cache"] if tracked.cached else []),
    ]
    yield paper.style(", ".join(told), dim=True)


def _failure(tracked: Tracked) -> CkptTierError | None:
    """What stands for all that could not be read."""
    problems = tracked.problems
    if not problems:
        return UnavailableError(tracked.cold_error, fix="the hot tier alone was shown") if tracked.cold_error else None
    code = worst_exit_code({code for _, _, code in problems})
    kind = {5: IntegrityError, 6: UnavailableError}.get(code, AttentionError)
    steps = list(dict.fromkeys(str(step.step) for step, _, _ in problems))
    more = f" and {len(steps) - _MOST_TOLD} more" if len(steps) > _MOST_TOLD else ""
    noun = "step" if len(steps) == 1 else "steps"
    why = next(problem for _, problem, its_code in problems if its_code == code)
    fix = {
        5: "`ckpt-tier verify --step N --read` proves which copy is damaged; the others are shown",
        6: "run it again when the cold tier answers; what was read is remembered",
    }
    told = f"{noun} {', '.join(steps[:_MOST_TOLD])}{more} could not be read whole"
    return kind(told, why, fix.get(code, "the others are shown"))
