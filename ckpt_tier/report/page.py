"""The page: one file of HTML that needs nothing else, and is not allowed to ask for anything."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.flow.disk import DiskReport
from ckpt_tier.flow.status import ADVICE, FAR_OFF, Attention, Status
from ckpt_tier.report import pictures
from ckpt_tier.report.data import Checkpoint, Curve, Report, Throughput, Where, by_name

GENERATOR = '<meta name="generator" content="ckpt-tier report">'
"""In the head of every page: what tells it from a file of somebody else."""
MOST_TROUBLES = 100
MOST_CURVES = 24
MOST_LINES = 32
"""Lines in one picture of a metric."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1c2024;--soft:#5b6470;--rule:#e3e6ea;
--both:#00795a;--cold:#0067b1;--hot:#c98500;--bad:#c4420a;--other:#aab2bb;--free:#eef0f2;
--c0:#0067b1;--c1:#c4420a;--c2:#00795a;--c3:#8f4a8f;--c4:#a97300;--c5:#2a97c7;--c6:#7a5230;--c7:#5b6470}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e8eaed;--soft:#a3adb8;--rule:#30363d;
--both:#2fb890;--cold:#58a9ea;--hot:#e6aa2e;--bad:#ff7d4a;--other:#6b7580;--free:#262b31;
--c0:#58a9ea;--c1:#ff7d4a;--c2:#2fb890;--c3:#cf8fcf;--c4:#e6aa2e;--c5:#7fd0f2;--c6:#c9a27d;--c7:#a3adb8}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:960px;margin:0 auto;padding:24px 16px 48px}
h1{font-size:22px;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:16px;margin:0 0 4px}
p{margin:0 0 12px}.soft,footer{color:var(--soft)}.say{font-size:18px;line-height:1.4;margin:12px 0 20px}
.say.bad::before{content:"";display:inline-block;width:10px;height:10px;border-radius:5px;background:var(--bad);
margin-right:8px}.say.good::before{content:"";display:inline-block;width:10px;height:10px;border-radius:5px;
background:var(--both);margin-right:8px}
section,.card{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:16px;margin:0 0 16px;
overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 16px}
.card{margin:0;padding:12px 16px}.card b{display:block;font-size:20px;font-weight:600;line-height:1.3}
.card span{color:var(--soft);font-size:13px}
svg{display:block;width:100%;overflow:visible}
.both{fill:var(--both);--k:var(--both)}.cold{fill:var(--cold);--k:var(--cold)}.hot{fill:var(--hot);--k:var(--hot)}
.trouble{fill:var(--bad);--k:var(--bad)}.other{fill:var(--other);--k:var(--other)}
.free{fill:var(--free);--k:var(--free)}
.pin{fill:var(--card);stroke:var(--ink);stroke-width:1.5}.dot{fill:var(--c0);fill-opacity:.55}.bar{fill:var(--cold)}
.grid{stroke:var(--rule)}.line{fill:none;stroke:var(--k);stroke-width:2;vector-effect:non-scaling-stroke}
.end{fill:var(--k)}.reserve{stroke:var(--bad);stroke-width:2;--k:var(--bad)}
.c0{--k:var(--c0)}.c1{--k:var(--c1)}.c2{--k:var(--c2)}.c3{--k:var(--c3)}
.c4{--k:var(--c4)}.c5{--k:var(--c5)}.c6{--k:var(--c6)}.c7{--k:var(--c7)}
.lane{display:grid;grid-template-columns:56px minmax(0,1fr);gap:8px;align-items:center;margin:2px 0}
.lane>span{font-size:13px;color:var(--soft);overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.lane svg{background:linear-gradient(var(--rule),var(--rule)) center/100% 1px no-repeat}
.chart{display:grid;grid-template-columns:72px minmax(0,1fr);gap:6px 8px;margin:16px 0 8px}
.up{position:relative;font-size:12px;color:var(--soft)}
.up span{position:absolute;right:0;transform:translateY(-50%);white-space:nowrap}
.across{display:flex;justify-content:space-between;font-size:12px;color:var(--soft)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;color:var(--soft);margin:10px 0 0}
.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;background:var(--k);margin-right:6px}
.disk{border-radius:6px;overflow:hidden;margin:12px 0 0}
details{margin-top:10px;font-size:13px}summary{color:var(--soft);cursor:pointer}
.wide{overflow-x:auto}table{border-collapse:collapse;margin-top:8px;width:100%;font-size:13px}
th{text-align:left;font-weight:600;color:var(--soft)}th,td{padding:4px 12px 4px 0;border-bottom:1px solid var(--rule);
vertical-align:top;overflow-wrap:normal}
td:last-child{overflow-wrap:anywhere;min-width:140px}td.n:last-child{min-width:0}td.n,th.n{text-align:right;white-space:nowrap}
code{font:13px ui-monospace,monospace;background:var(--free);padding:1px 4px;border-radius:4px}
ul{padding-left:20px;margin:8px 0 0}li{margin:0 0 6px}
@media (max-width:500px){.lane rect{width:2px}}
@media print{body{background:#fff}section,.card{break-inside:avoid}}
"""


def page(told: Report) -> str:
    """The whole file."""
    title = f"{told.run}: checkpoints"
    body = "".join(_body(told))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{GENERATOR}\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _body(told: Report) -> Iterator[str]:
    status = told.status
    yield f"<h1>{escape(told.run)}</h1>\n"
    yield f'<p class="soft">{escape(status.hot_path)} → {escape(status.cold.url or "no cold tier")}</p>\n'
    is_good = not (status.attention or status.cold.error) and told.sentence.startswith("Nothing")
    yield f'<p class="say {"good" if is_good else "bad"}">{escape(told.sentence)}</p>\n'
    yield f'<div class="cards">{"".join(_cards(told))}</div>\n'
    if status.attention or status.cold.error or status.warnings:
        yield _section("What needs a person", *_troubles(status))
    if told.checkpoints:
        yield _section("Every checkpoint", *_time_line(told.checkpoints))
    if told.lag is not None:
        yield _section(
            "Durability lag",
            f'<p class="soft">How long a checkpoint was on this machine only: half of them at most '
            f"{format_duration(told.lag.median_seconds)}, at worst {format_duration(told.lag.worst_seconds)} "
            f"(series {escape(told.lag.worst_series)}, step {told.lag.worst_step}).</p>",
            pictures.lags(told.checkpoints),
            _details("The longest", ("series", "step", "lag"), _longest(told.checkpoints), right={1, 2}),
        )
    if told.disk is not None:
        yield _section("The hot disk", *_disk(told.disk))
    if told.throughput is not None:
        yield _section("Throughput", *_throughput(told.throughput, status))
    yield from _curves(told.curves)
    notes = "".join(f"<p>{escape(note)}</p>" for note in told.notes)
    yield f"<footer>{notes}<p>Made {_minute(told.at)} UTC by ckpt-tier {escape(told.version)}.</p></footer>\n"


def _section(title: str, *inner: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(inner)}</section>\n"


def _cards(told: Report) -> Iterator[str]:
    status = told.status
    cold = [each.cold_count for each in status.series]
    known = sum(count or 0 for count in cold)
    size = sum(each.cold_bytes or 0 for each in status.series)
    yield _card("?" if None in cold else f"{known:,}", f"committed, {format_size(size)}")
    queue = status.queue
    eta = f", about {format_duration(queue.eta_seconds)}" if queue.count and queue.eta_seconds else ""
    yield _card(f"{queue.count:,}", f"waiting, {format_size(queue.bytes)}{eta}")
    disk = status.disk
    forecast = _forecast(disk.full_in_seconds)
    yield _card(format_size(disk.free_bytes), f"free of {format_size(disk.total_bytes)}, {forecast}")
    yield _card(f"{len(status.attention):,}", "needs a person" if len(status.attention) == 1 else "need a person")


def _card(figure: str, what: str) -> str:
    return f'<div class="card"><b>{escape(figure)}</b><span>{escape(what)}</span></div>'


def _troubles(status: Status) -> Iterator[str]:
    if status.cold.error:
        seen = f" It answered last {_minute(status.cold.last_seen_at)} UTC." if status.cold.last_seen_at else ""
        yield f"<p>The cold tier is away: {escape(status.cold.error)}.{seen}</p>"
    shown = status.attention[:MOST_TROUBLES]
    if shown:
        yield _table(("state", "series", "step", "why"), map(_trouble, shown), right={2})
        if len(shown) < len(status.attention):
            yield f"<p>And {len(status.attention) - len(shown):,} more: <code>ckpt-tier status --json</code>.</p>"
        advice = [words for state, words in ADVICE.items() if any(each.state == state for each in status.attention)]
        yield f"<ul>{''.join(f'<li>{_with_code(words)}</li>' for words in advice)}</ul>"
    if status.warnings:
        yield f"<ul>{''.join(f'<li>{_with_code(warning)}</li>' for warning in status.warnings)}</ul>"


def _trouble(each: Attention) -> tuple[str, ...]:
    return each.state, each.series, str(each.step), f"{each.path}: {each.reason}"


def _with_code(words: str) -> str:
    """What stands between backquotes is a command."""
    parts = escape(words).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _time_line(checkpoints: Sequence[Checkpoint]) -> Iterator[str]:
    many = len(checkpoints) > pictures.MOST_MARKS
    lanes = {each.series for each in checkpoints}
    said = "The upper half of a mark is the hot tier, the lower half the cold one; a ring is a pin."
    if many:
        said += f" There are {len(checkpoints):,}: those that lie side by side share a mark."
    if len(lanes) > pictures.MOST_LANES:
        said += f" Of {len(lanes):,} series the first {pictures.MOST_LANES} are drawn."
    yield f'<p class="soft">{escape(said)}</p>'
    yield pictures.time_line(checkpoints)
    words = {Where.BOTH: "both tiers", Where.COLD: "cold only", Where.HOT: "hot only", Where.TROUBLE: "needs a person"}
    yield '<p class="legend">' + "".join(f'<span><i class="{w}"></i>{say}</span>' for w, say in words.items()) + "</p>"
    counts = Counter((each.series, each.where) for each in checkpoints)
    rows = [(name, *(f"{counts[name, where]:,}" for where in Where)) for name in sorted(lanes)]
    yield _details("In figures", ("series", *words.values()), rows, right={1, 2, 3, 4})


def _longest(checkpoints: Sequence[Checkpoint]) -> Iterator[tuple[str, ...]]:
    known = sorted(
        (each.lag_seconds or 0, each.series, each.step) for each in checkpoints if each.lag_seconds is not None
    )
    for lag, series, step in reversed(known[-10:]):
        yield series, str(step), format_duration(lag)


def _disk(disk: DiskReport) -> Iterator[str]:
    rate = _forecast(disk.full_in_seconds)
    yield (
        f'<p class="soft">{format_size(disk.free_bytes)} of {format_size(disk.total_bytes)} free, {rate}; '
        f"{format_size(disk.deletable_bytes)} of checkpoints can be deleted at once.</p>"
    )
    held = sum(each.bytes for each in disk.series)
    beside = sum(each.bytes for each in disk.others)
    rest = max(0, disk.total_bytes - disk.free_bytes - held - beside)
    parts = [
        ("cold", "checkpoints that can go", disk.deletable_bytes),
        ("hot", "checkpoints that stay", held - disk.deletable_bytes),
        ("c3 other", "what else lies in the hot folder", beside),
        ("other", "everything else", rest),
        ("free", "free", disk.free_bytes),
    ]
    yield pictures.disk([part for part in parts if part[2]], disk.total_bytes, disk.min_free_bytes)
    rows = [
        (
            each.name,
            f"{each.count:,}",
            format_size(each.bytes),
            str(each.newest_step),
            format_size(each.deletable_bytes),
        )
        for each in disk.series
    ]
    yield _details("By series", ("series", "count", "size", "newest", "can go"), rows, right={1, 2, 3, 4})
    reasons = [(s.name, f"{e.count:,}", format_size(e.bytes), e.reason) for s in disk.series for e in s.staying]
    yield _details("What stays, and why", ("series", "count", "size", "reason"), reasons, right={1, 2})


def _forecast(full_in: float | None) -> str:
    if full_in is None:
        return "not filling up at any rate that is known"
    if full_in > FAR_OFF:
        return f"not full within {format_duration(FAR_OFF)}"
    return f"full in {format_duration(full_in)} at this rate"


def _throughput(throughput: Throughput, status: Status) -> Iterator[str]:
    uplink = status.uplink
    told = [f"Committed in every {format_duration(throughput.bin_seconds)}."]
    if uplink.uploaded_bytes_per_second is not None:
        told.append(f"Uploads reach {format_size(uplink.uploaded_bytes_per_second)}/s.")
    if uplink.saved_bytes_per_second is not None:
        told.append(f"Training saves {format_size(uplink.saved_bytes_per_second)}/s.")
    if uplink.keeps_up is not None:
        told.append("The uplink keeps up." if uplink.keeps_up else "The uplink is too slow.")
    yield f'<p class="soft">{escape(" ".join(told))}</p>'
    yield pictures.bars(throughput)
    yield '<p class="soft">In the cold tier, by when it was committed:</p>'
    yield pictures.growth(throughput)
    rows = [(_minute(each.at), f"{each.count:,}", format_size(each.bytes)) for each in throughput.bins if each.count]
    yield _details("In figures", ("from (UTC)", "checkpoints", "size"), rows, right={1, 2})


def _curves(curves: Iterable[Curve]) -> Iterator[str]:
    groups = by_name(curves)
    for name, found in groups[:MOST_CURVES]:
        rows = []
        for curve in found:
            values = [value for _, value in curve.points]
            rows.append((curve.series, f"{min(values):.6g}", f"{max(values):.6g}", f"{values[-1]:.6g}"))
        more = f" The first {MOST_LINES} of {len(found)} series are drawn." if len(found) > MOST_LINES else ""
        yield _section(
            name,
            f'<p class="soft">Over the steps.{more}</p>',
            pictures.curves(name, found[:MOST_LINES]),
            _details("In figures", ("series", "least", "largest", "last"), rows, right={1, 2, 3}),
        )
    if len(groups) > MOST_CURVES:
        yield f"<p>And {len(groups) - MOST_CURVES:,} more metrics: <code>ckpt-tier list --json</code>.</p>"


def _details(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: set[int]) -> str:
    return f"<details><summary>{escape(title)}</summary>{_table(headings, rows, right=right)}</details>"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: set[int]) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = (' class="n"' if number in right else "" for number in range(len(row)))
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells("th", headings)}</tr>{body}</table></div>'


def _minute(at: str | None) -> str:
    return (at or "")[:16].replace("T", " ")
