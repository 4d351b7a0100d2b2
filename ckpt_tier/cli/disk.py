"""What `status --disk` shows: what `df` and `du` would tell, and what can be done about it."""

from collections.abc import Iterator

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.words import plural
from ckpt_tier.config import FreeSpace
from ckpt_tier.core.units import format_duration, format_size, parse_duration
from ckpt_tier.errors import AttentionError
from ckpt_tier.flow.disk import WITHIN, DiskReport, SeriesDisk
from ckpt_tier.flow.status import FAR_OFF
from ckpt_tier.operations import Operations


def show_disk(settings: Settings, *, check: bool, min_free: str | None, within: str | None) -> int:
    """Shows the report, or with `check` only its alert. 9 with `check` if there is one. Raises UsageError."""
    report = Operations(settings.wiring()).disk(
        within=WITHIN if within is None else parse_duration(within),
        min_free=None if min_free is None else FreeSpace.parse(min_free),
    )
    if settings.json:
        paper.say(msgspec.json.encode(report).decode())
    elif check:
        if report.alert:
            paper.say(paper.plain(report.alert))
    elif not settings.quiet:
        paper.say(text(report))
    return AttentionError.exit_code if check and report.alert else 0


def text(report: DiskReport) -> str:
    """The whole screen."""
    return "\n".join(_lines(report))


def _lines(report: DiskReport) -> Iterator[str]:
    yield paper.style(report.run, bold=True) + f"  {paper.plain(report.hot_path)}"
    yield f"{paper.mark(not report.alert)} {_room(report)}"
    for problem in report.problems:
        yield f"{paper.style('!', 'yellow', bold=True)} {paper.plain(problem)}"
    yield ""
    if report.series:
        headings = ("series", "count", "size", "newest", "saved (UTC)", "can go", "")
        yield paper.columns([_row(each) for each in report.series], headings=headings, right={1, 2, 3, 5, 6})
        yield ""
        yield paper.style("What stays, and why", bold=True)
        yield paper.columns(list(_staying(report)), headings=("series", "count", "size", "reason"), right={1, 2})
    else:
        yield "There are no checkpoints on the hot tier."
    if report.others:
        yield ""
        yield paper.style("What else lies there", bold=True)
        rows = [
            (
                each.place,
                f"{each.count:,}",
                format_size(each.bytes),
                f"{each.largest} ({format_size(each.largest_bytes)})",
            )
            for each in report.others
        ]
        yield paper.columns(rows, headings=("place", "files", "size", "the largest"), right={1, 2})
    if report.deletable_bytes:
        count = plural(sum(each.deletable_count for each in report.series), "checkpoint")
        yield ""
        yield f"{count}, {format_size(report.deletable_bytes)}, can go at once: `ckpt-tier prune --tier hot`"


def _room(report: DiskReport) -> str:
    told = f"{format_size(report.free_bytes)} of {format_size(report.total_bytes)} free"
    if report.free_bytes < report.min_free_bytes:
        told += f", less than {format_size(report.min_free_bytes)}"
    if report.full_in_seconds is None:
        return f"{told}, not filling up at any rate that is known"
    if report.full_in_seconds > FAR_OFF:
        return f"{told}, not full within {format_duration(FAR_OFF)}"
    return f"{told}, full in {format_duration(report.full_in_seconds)} at this rate"


def _row(series: SeriesDisk) -> tuple[str, ...]:
    return (
        series.name,
        f"{series.count:,}",
        format_size(series.bytes),
        str(series.newest_step),
        series.newest_saved_at[:16].replace("T", " "),
        f"{series.deletable_count:,}",
        format_size(series.deletable_bytes),
    )


def _staying(report: DiskReport) -> Iterator[tuple[str, ...]]:
    for series in report.series:
        for each in series.staying:
            yield (series.name, f"{each.count:,}", format_size(each.bytes), each.reason)
