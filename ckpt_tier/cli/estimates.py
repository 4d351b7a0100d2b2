"""What `estimate` prints: by frequency the cold tier, by retention the hot one, then what fits and keeps up."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.documents.estimate import EstimateDocument
from ckpt_tier.cli.settings import Settings
from ckpt_tier.core.estimate import Estimate, Training, least_every
from ckpt_tier.core.units import common_unit, format_duration, format_in, format_size
from ckpt_tier.estimating import Answer

_ASKED = ">"


def show(settings: Settings, answer: Answer) -> int:
    """Prints the answer."""
    paper.say(msgspec.json.encode(_document(answer)).decode() if settings.json else _text(answer))
    return 0


def _document(answer: Answer) -> EstimateDocument:
    training = answer.training
    return EstimateDocument(
        steps=training.steps,
        every=answer.every,
        keep=answer.keep,
        series=training.series,
        size_bytes=training.size,
        interval_seconds=None if training.step_seconds is None else round(training.step_seconds * answer.every),
        uplink_bytes_per_second=training.uplink,
        price_per_gb_month=training.price,
        room_bytes=training.room,
        largest_keep=answer.largest_keep,
        every_if_all=answer.every_if_all,
        estimates=answer.estimates,
        assumptions=answer.assumptions,
        problems=answer.problems,
    )


def _text(answer: Answer) -> str:
    training = answer.training
    name, unit = common_unit(size for each in answer.estimates for size in (each.hot_series_bytes, each.cold_bytes))
    each = f"each of {training.series:,} series" if training.series > 1 else "one series"
    parts = [
        paper.style(
            f"{training.steps:,} steps, {format_size(training.size)} every {answer.every:,} in {each}", bold=True
        ),
        "",
        f"At the end, by frequency: the cold tier, in {name}",
        _by_frequency(answer, unit),
        "",
        f"By retention: the hot tier, in {name}, at rest and at the peak",
        _by_retention(answer, unit),
        "",
        *_verdicts(answer),
    ]
    if answer.assumptions:
        rows = [(f"--{each.name}", each.source, each.value) for each in answer.assumptions]
        parts += ["", "Not given, and so", paper.columns(rows, indent=2)]
    return "\n".join([*parts, *(f"{paper.style('!', 'yellow', bold=True)} {paper.plain(p)}" for p in answer.problems)])


def _by_frequency(answer: Answer, unit: int) -> str:
    headings = ("", "every", "saves", "per series", "in all", "uplink", "$/month", "steps lost at worst")
    rows = [
        (
            _ASKED if each.every == answer.every else "",
            f"{each.every:,}",
            f"{each.saves:,}",
            format_in(each.cold_series_bytes, unit),
            format_in(each.cold_bytes, unit),
            format_duration(each.uplink_seconds),
            "" if each.cost_per_month is None else f"{each.cost_per_month:,.2f}",
            _lost(each, answer.training),
        )
        for each in answer.estimates
        if each.keep == answer.keep
    ]
    return _table(rows, headings, right={1, 2, 3, 4, 5, 6})


def _lost(each: Estimate, training: Training) -> str:
    if each.lost_steps is None:
        return "grows: slow uplink"
    if each.lost_seconds is None:
        return f"{each.lost_steps:,} + {format_duration(training.save_seconds)}"
    return f"{each.lost_steps:,}, {format_duration(each.lost_seconds)}"


def _by_retention(answer: Answer, unit: int) -> str:
    headings = ("", "keep", "every", "per series", "in all", "peak", "fits")
    rows = []
    for keep in dict.fromkeys(each.keep for each in answer.estimates):
        group = [each for each in answer.estimates if each.keep == keep]
        same = len({(each.hot_series_bytes, each.hot_bytes, each.peak_bytes) for each in group}) == 1
        rows += [
            (
                _ASKED if keep == answer.keep and (same or each.every == answer.every) else "",
                str(keep),
                "any" if same else f"{each.every:,}",
                format_in(each.hot_series_bytes, unit),
                format_in(each.hot_bytes, unit),
                format_in(each.peak_bytes, unit),
                "yes" if each.fits else "no",
            )
            for each in group[: 1 if same else None]
        ]
    return _table(rows, headings, right={1, 2, 3, 4, 5})


def _table(rows: Iterable[Sequence[str]], headings: Sequence[str], right: set[int]) -> str:
    """With what was asked for in bold."""
    lines = paper.columns(rows, headings=headings, right=right).splitlines()
    return "\n".join(paper.style(line, bold=True) if line.startswith(_ASKED) else line for line in lines)


def _verdicts(answer: Answer) -> Iterator[str]:
    yield _fit(answer)
    if answer.every_if_all is not None and (answer.keep == "all" or answer.largest_keep < answer.asked.saves):
        yield f"  Room for all that are saved: every {answer.every_if_all:,} steps or more."
    training, asked = answer.training, answer.asked
    takes = format_duration(training.save_seconds)
    if training.step_seconds is None:
        yield f"  The uplink keeps up with saves that are at least {takes} apart."
        return
    apart = format_duration(answer.every * training.step_seconds)
    verdict = "keeps up" if asked.keeps_up else "is too slow"
    mark = paper.mark(bool(asked.keeps_up))
    yield f"{mark} The uplink {verdict}: each save takes {takes}, and saves are {apart} apart."
    if not asked.keeps_up:
        yield f"  At the end {format_size(asked.backlog_bytes)} wait on the hot tier; the peak counts them."
        yield f"  It keeps up with a save every {least_every(training):,} steps or more."


def _fit(answer: Answer) -> str:
    asked, most = answer.asked, answer.largest_keep
    if most == 0:
        best = "; not even 1 does"
    elif most < asked.saves:
        best = f"; {most:,} is the most that does"
    else:
        best = "" if answer.keep == "all" else "; all would"
    does = "fits" if asked.fits else "does not fit"
    room, peak = format_size(answer.training.room), format_size(asked.peak_bytes)
    return f"{paper.mark(asked.fits)} Keep {answer.keep} {does} {room}: {peak} at the peak{best}."
