"""The parts of the page, each as HTML: a heading, what it says in words, its picture, and the figures on demand."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.flow.attention import ADVICE, is_crowded
from ckpt_tier.report import words
from ckpt_tier.report.data import TROUBLE, Checkpoint, Curve, Report
from ckpt_tier.report.markup import details, moment, table, text
from ckpt_tier.report.pictures import (
    COLOURS,
    MOST_DOTS,
    Share,
    best,
    cold_growth,
    committed_over_time,
    curve,
    lag_over_time,
    shares,
)
from ckpt_tier.report.timeline import MOST_LANES, describe, is_summed, lanes, legend, timeline

MOST_ROWS = 100
MOST_TROUBLES = 200
MOST_CURVES = 12
_ALL = "`ckpt-tier report --json` has all of them."


def cards(made: Report) -> str:
    """What matters at a glance."""
    now = made.status
    newest = [series.newest_committed for series in now.series if series.newest_committed]
    last = max(newest, key=lambda each: each.saved_at, default=None)
    queue = now.queue
    waits = format_size(queue.bytes)
    if queue.eta_seconds is not None:
        waits += f", about {format_duration(queue.eta_seconds)}"
    count = len(now.attention)
    shown = [
        ("Newest committed", f"step {last.step}", f"saved {format_duration(last.age_seconds)} ago", False)
        if last
        else ("Newest committed", "nothing yet", "", False),
        ("In the queue", f"{queue.count:,}" if queue.count else "empty", waits if queue.count else "", False),
        ("Disk free", format_size(now.disk.free_bytes), words.forecast(now), is_crowded(now)),
        ("Needs a person", f"{count:,}" if count else "nothing", _states(made), count > 0),
    ]
    boxes = [
        f"<div{' class=bad' if bad else ''}><dt>{text(name)}</dt>"
        f"<dd>{text(value)}<small>{text(more)}</small></dd></div>"
        for name, value, more, bad in shown
    ]
    return f'<dl class="cards">{"".join(boxes)}</dl>'


def _states(made: Report) -> str:
    counts = {state: sum(each.state == state for each in made.status.attention) for state in ADVICE}
    return ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)


def attention(made: Report) -> str:
    """Everything that needs a person, by state, with what to do; and the warnings."""
    every = made.status.attention
    if not every and not made.status.warnings:
        return ""
    parts = ["<h2>What needs a person</h2>"]
    for state, advice in ADVICE.items():
        those = [each for each in every if each.state == state]
        if those:
            parts.append(f"<h3>{len(those):,} {text(state)}</h3><p class=soft>{_code(advice.partition(': ')[2])}.</p>")
            items = [
                f"<li><b>series {text(each.series)}, step {each.step}</b>: {text(each.reason)}"
                f'<span class="path">{text(each.path)}{text(f", since {moment(each.since)}") if each.since else ""}'
                "</span></li>"
                for each in those[:MOST_TROUBLES]
            ]
            parts.append(f'<ul class="troubles">{"".join(items)}</ul>')
            if len(those) > MOST_TROUBLES:
                parts.append(f"<p class=soft>and {len(those) - MOST_TROUBLES:,} more. {_code(_ALL)}</p>")
    warnings = made.status.warnings[:MOST_ROWS]
    parts += [f"<p>{text(warning)}</p>" for warning in warnings]
    return "".join(parts)


def over_the_tiers(made: Report) -> str:
    """The time line."""
    points = made.checkpoints
    if not points:
        return "<h2>Every checkpoint over the tiers</h2><p>There are no checkpoints yet, neither hot nor cold.</p>"
    names, there = lanes(points), {point.series for point in points}
    said = ["By the time they were saved, in UTC. Upper row of a series: the hot tier; lower row: the cold tier."]
    if is_summed(points):
        said.append("There are too many for a mark each: a bar is the stronger, the more checkpoints it stands for.")
    if len(there) > MOST_LANES:
        said.append(f"The first {len(names)} of {len(there):,} series are drawn; `--series` shows any other.")
    told = f"{words.plural(len(points), 'checkpoint')} of {len(there):,} series."
    rows = [(c.series, str(c.step), describe(c).partition(", ")[2], moment(c.committed_at)) for c in _newest(points)]
    more = f" (the newest {MOST_ROWS} and what needs a person)" if len(points) > MOST_ROWS else ""
    return (
        f"<h2>Every checkpoint over the tiers</h2><p class=soft>{_code(' '.join(said))}</p>"
        f"<figure>{timeline(points, told)}</figure>{legend(points)}"
        + details(f"The checkpoints{more}", table(("series", "step", "", "committed"), rows, right=frozenset({1})))
    )


def _newest(points: Sequence[Checkpoint]) -> list[Checkpoint]:
    by_time = sorted(points, key=lambda c: c.saved_at or c.committed_at or "", reverse=True)
    troubled = [point for point in by_time[MOST_ROWS:] if point.kind in TROUBLE]
    return by_time[:MOST_ROWS] + troubled[:MOST_ROWS]


def lag(made: Report) -> str:
    """How long checkpoints were on one disk only."""
    told = words.lag(made.lag)
    parts = [f"<h2>Durability lag</h2><p>{text(told)}</p>"]
    timed = [point for point in made.checkpoints if point.lag_seconds is not None]
    if timed:
        said = "From the moment a checkpoint was saved to its commit in the cold tier; until then one disk holds it."
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


def _why(staying: Iterable[object]) -> str:
    return ", ".join(f"{each.count} {each.reason}" for each in list(staying)[:6])  # type: ignore[attr-defined]


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
    if not by_name:
        return ""
    parts = ["<h2>Tracked numbers</h2>"]
    for number, (name, lines) in enumerate(list(by_name.items())[:MOST_CURVES]):
        parts.append(_curve(number, name, lines))
    if len(by_name) > MOST_CURVES:
        parts.append(f"<p class=soft>and {len(by_name) - MOST_CURVES:,} more. {_code(_ALL)}</p>")
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


def _value(point: object) -> str:
    return f"{point.value:.6g} at {point.step}"  # type: ignore[attr-defined]


def _code(told: str) -> str:
    """Text of ours, in which what stands between backticks is a command."""
    pieces = told.split("`")
    return "".join(f"<code>{text(piece)}</code>" if i % 2 else text(piece) for i, piece in enumerate(pieces))


def about(made: Report) -> str:
    """Where, when and by what the page was made."""
    facts = [
        ("made", f"{moment(made.at)} UTC"),
        ("by", f"ckpt-tier {made.version}"),
        ("run", made.run),
        ("configuration", made.config or "from the environment"),
        ("hot tier", made.status.hot_path),
        ("cold tier", made.status.cold.url or "none"),
        ("worker", words.worker(made.status)),
    ]
    if made.status.cold.last_verified_at:
        facts.append(("last verified", f"{moment(made.status.cold.last_verified_at)} UTC"))
    return f"<footer><dl>{''.join(f'<dt>{text(k)}</dt><dd>{text(v)}</dd>' for k, v in facts)}</dl></footer>"
