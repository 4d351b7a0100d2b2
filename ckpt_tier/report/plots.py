"""The sections with plots: a heading, what it says in words, the picture, and the figures on demand."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.flow.disk import Staying
from ckpt_tier.report import words
from ckpt_tier.report.data import Curve, Point, Report
from ckpt_tier.report.drawing import MOST_DOTS
from ckpt_tier.report.markup import ALL, MOST_ROWS, details, moment, prose, table, text
from ckpt_tier.report.pictures import (
    COLOURS,
    Share,
    best,
    cold_growth,
    committed_over_time,
    curve,
    lag_over_time,
    shares,
)

MOST_CURVES = 12


def lag(made: Report) -> str:
    """How long checkpoints were on one disk only."""
    told = words.lag(made.lag)
    parts = [f"<h2>Durability lag</h2><p>{text(told)}</p>"]
    timed = [point for point in made.checkpoints if point.lag_seconds is not None]
    if timed:
        said = (
            "From saving to the commit in the cold tier: so long one disk alone had a checkpoint. Dashed: the median."
        )
        if len(timed) > MOST_DOTS:
            said += " A bar goes from the least to the most of its moment."
        slowest = sorted(timed, key=lambda c: (-(c.lag_seconds or 0), c.series, c.step))[:20]
        rows = [(c.series, str(c.step), moment(c.saved_at), format_duration(c.lag_seconds or 0)) for c in slowest]
        parts.append(f"<figure>{lag_over_time(timed, told)}<figcaption>{said}</figcaption></figure>")
        parts.append(details("The slowest", table(("series", "step", "saved", "lag"), rows, right=frozenset({1, 3}))))
    return "".join(parts)


def disk(made: Report) -> str:
    """What takes the hot disk's room, and when it is full."""
    report = made.disk
    parts = [f"<h2>Disk</h2><p>{text(words.disk(made.status))}</p>"]
    stays = sum(each.bytes - each.deletable_bytes for each in report.series)
    going = sum(each.deletable_bytes for each in report.series)
    others = sum(each.bytes for each in report.others)
    used = max(0, report.total_bytes - report.free_bytes - stays - going - others)
    bar = [
        Share("checkpoints that stay", stays, "hot"),
        Share("checkpoints that can go at once", going, "deletable"),
        Share("other files in the hot folder", others, "others"),
        Share("everything else on this disk", used, "elsewhere"),
        Share("free", report.free_bytes, "free"),
    ]
    mark = 100 - 100 * report.min_free_bytes / report.total_bytes if report.total_bytes else None
    parts.append(f"<figure>{shares('disk', 'The hot disk', words.disk(made.status), bar, mark)}</figure>{_bars(bar)}")
    rows = [
        (each.name, str(each.count), format_size(each.bytes), format_size(each.deletable_bytes), _why(each.staying))
        for each in report.series[:MOST_ROWS]
    ]
    rows += [(f"({each.place})", str(each.count), format_size(each.bytes), "", each.largest) for each in report.others]
    if rows:
        headings = ("series", "hot", "size", "can go", "why the rest stays")
        parts.append(table(headings, rows, right=frozenset({1, 2, 3})))
    return "".join(parts)


def _why(staying: Iterable[Staying]) -> str:
    return ", ".join(f"{each.count} ({each.reason})" for each in list(staying)[:6])


def _bars(parts: Iterable[Share]) -> str:
    items = [
        f'<li><svg width="12" height="12" aria-hidden="true"><rect class="{part.look}" width="12" height="12" rx="2"/>'
        f"</svg>{text(part.label)} <b>{text(format_size(part.bytes))}</b></li>"
        for part in parts
        if part.bytes
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def throughput(made: Report) -> str:
    """How much was committed when, and how the cold tier grew."""
    parts = [f"<h2>Throughput</h2><p>{text(words.uplink(made.status))}</p>"]
    buckets = made.throughput.buckets
    if not buckets:
        return "".join(parts)
    each = format_duration(made.throughput.bucket_seconds).removeprefix("1 ")
    most = max(buckets, key=lambda bucket: bucket.bytes)
    total = made.growth[-1]
    told = (
        f"At most {format_size(most.bytes)} were committed per {each}, from {moment(most.at)} UTC on. "
        f"The cold tier holds {format_size(total.bytes)}, "
        f"{words.plural(sum(b.count for b in buckets), 'checkpoint')}."
    )
    note = "What was pruned from the cold tier since is in neither picture."
    rows = [(moment(bucket.at), str(bucket.count), format_size(bucket.bytes)) for bucket in buckets]
    parts += [
        f"<h3>Committed per {text(each)}</h3><figure>{committed_over_time(made.throughput, told)}</figure>",
        f"<h3>In the cold tier</h3><figure>{cold_growth(made.growth, told)}",
        f"<figcaption>{text(told)} {note}</figcaption></figure>",
        details("The figures", table(("from", "checkpoints", "bytes"), rows, right=frozenset({1, 2}))),
    ]
    return "".join(parts)


def curves(made: Report) -> str:
    """A picture for each tracked number, with a line for each series."""
    by_name: dict[str, list[Curve]] = defaultdict(list)
    for line in made.curves:
        by_name[line.name].append(line)
    if not by_name and not made.notes:
        return ""
    parts = ["<h2>Tracked numbers</h2>", *(f"<p class=soft>{text(note)}</p>" for note in made.notes[:MOST_ROWS])]
    for number, (name, lines) in enumerate(list(by_name.items())[:MOST_CURVES]):
        parts.append(_curve(number, name, lines))
    if len(by_name) > MOST_CURVES:
        parts.append(f"<p class=soft>and {len(by_name) - MOST_CURVES:,} more. {prose(ALL)}</p>")
    return "".join(parts)


def _curve(number: int, name: str, lines: Sequence[Curve]) -> str:
    shown = lines[:COLOURS]
    top = best(shown)
    kind = "Lowest" if top.mode == "lowest" else "Best"
    where = f" of series {top.series}" if len(lines) > 1 else ""
    told = f"{kind}: {top.best.value:.6g} at step {top.best.step}{where}, the ring."
    if len(lines) > len(shown):
        told += f" The first {len(shown)} of {len(lines):,} series are drawn."
    keys = [
        f'<li><svg class="swatch" aria-hidden="true"><line class="line c{i}" x1="0" x2="24" y1="5" y2="5"/></svg>'
        f"series {text(line.series)}</li>"
        for i, line in enumerate(shown)
    ]
    rows = [
        (line.series, str(len(line.points)), _value(line.points[-1]), _value(line.best)) for line in lines[:MOST_ROWS]
    ]
    head = ("series", "checkpoints", "last", kind.lower())
    legend = f'<ul class="legend">{"".join(keys)}</ul>' if len(lines) > 1 else ""
    return (
        f"<h3>{text(name)}</h3><figure>{curve(number, name, shown, told)}<figcaption>{text(told)}</figcaption></figure>"
        + legend
        + details("The figures", table(head, rows, right=frozenset({1, 2, 3})))
    )


def _value(point: Point) -> str:
    return f"{point.value:.6g} at {point.step}"
