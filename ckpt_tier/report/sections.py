"""The sections of the page that tell how things stand: each as HTML."""

from collections.abc import Sequence

from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.flow.status import ADVICE, is_crowded
from ckpt_tier.report import words
from ckpt_tier.report.data import TROUBLE, Checkpoint, Report
from ckpt_tier.report.markup import ALL, MOST_ROWS, details, moment, prose, table, text
from ckpt_tier.report.timeline import MOST_LANES, describe, is_summed, lanes, legend, timeline

MOST_TROUBLES = 200


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
            parts.append(f"<h3>{len(those):,} {text(state)}</h3><p class=soft>{prose(advice.partition(': ')[2])}.</p>")
            items = [
                f"<li><b>series {text(each.series)}, step {each.step}</b>: {text(each.reason)}"
                f'<span class="path">{text(each.path)}{text(f", since {moment(each.since)}") if each.since else ""}'
                "</span></li>"
                for each in those[:MOST_TROUBLES]
            ]
            parts.append(f'<ul class="troubles">{"".join(items)}</ul>')
            if len(those) > MOST_TROUBLES:
                parts.append(f"<p class=soft>and {len(those) - MOST_TROUBLES:,} more. {prose(ALL)}</p>")
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
        f"<h2>Every checkpoint over the tiers</h2><p class=soft>{prose(' '.join(said))}</p>"
        f"<figure>{timeline(points, told)}</figure>{legend(points)}"
        + details(f"The checkpoints{more}", table(("series", "step", "", "committed"), rows, right=frozenset({1})))
    )


def _newest(points: Sequence[Checkpoint]) -> list[Checkpoint]:
    by_time = sorted(points, key=lambda c: c.saved_at or c.committed_at or "", reverse=True)
    troubled = [point for point in by_time[MOST_ROWS:] if point.kind in TROUBLE]
    return by_time[:MOST_ROWS] + troubled[:MOST_ROWS]


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
