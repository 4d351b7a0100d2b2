"""The screen of `status`: first what needs a person, then what is safe, then how it goes."""

from collections.abc import Iterable, Iterator

from ckpt_tier.cli import paper
from ckpt_tier.cli.words import plural
from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.errors import AttentionError, IntegrityError, UnavailableError, worst_exit_code
from ckpt_tier.flow.status import ADVICE, FAR_OFF, SeriesStatus, Status, is_crowded

_MOST_TROUBLES = 12
"""So many fit on the screen with the rest."""


def exit_code(now: Status) -> int:
    """5 if something is damaged, 9 if something needs a person, 6 if the cold tier is away, else 0."""
    codes = set()
    if any(each.state == "damaged" for each in now.attention):
        codes.add(IntegrityError.exit_code)
    if now.attention or is_crowded(now):
        codes.add(AttentionError.exit_code)
    if now.cold.error:
        codes.add(UnavailableError.exit_code)
    return worst_exit_code(codes)


def overview(now: Status, *, brief: bool) -> str:
    """The whole screen; `brief`: only what needs a person."""
    troubles = list(_troubles(now))
    if brief:
        return "\n".join(troubles)
    arrow = " → " if paper.can_show("→") else " -> "
    head = paper.style(now.run, bold=True) + f"  {now.hot_path}{arrow}{now.cold.url or 'no cold tier'}"
    return "\n".join([head, "", *(troubles or [f"{paper.mark(True)} Nothing needs a person."]), "", *_rest(now)])


def _troubles(now: Status) -> Iterator[str]:
    if now.cold.error:
        seen = f"; last seen {now.cold.last_seen_at[:16].replace('T', ' ')} UTC" if now.cold.last_seen_at else ""
        yield f"{paper.mark(False)} {paper.style('The cold tier is away', 'red')}{seen}"
        yield f"    {paper.plain(now.cold.error)}"
    if is_crowded(now):
        yield f"{paper.mark(False)} {paper.style('The disk is filling up', 'red')}: {_disk(now)}"
    if now.attention:
        title = f"{plural(len(now.attention), 'checkpoint')} need a person" if len(now.attention) > 1 else (
            "1 checkpoint needs a person"
        )  # fmt: skip
        yield f"{paper.mark(False)} {paper.style(title, 'red')}"
        shown = now.attention[:_MOST_TROUBLES]
        rows = [(a.state, f"series {a.series}", f"step {a.step}", f"{a.path}: {a.reason}") for a in shown]
        yield paper.columns(rows, indent=4)
        if len(shown) < len(now.attention):
            yield f"    and {len(now.attention) - len(shown):,} more: `ckpt-tier status --json` has them all"
        for state in ADVICE:
            if any(a.state == state for a in now.attention):
                yield paper.style(paper.columns([(ADVICE[state],)], indent=4), dim=True)
    for warning in now.warnings:
        yield f"{paper.style('!', 'yellow', bold=True)} {paper.plain(warning)}"


def _rest(now: Status) -> Iterator[str]:
    if now.series:
        after = "saved after these " if now.cold.url else ""
        yield paper.style(f"If this machine died now, everything {after}would be lost:", bold=True)
        headings = ("series", "newest committed", "saved", "hot", "", "cold", "")
        rows = [_row(series) for series in now.series]
        yield paper.columns(rows, headings=headings, right={1, 3, 4, 5, 6}, indent=2)
        hot, cold = _sum(s.hot_bytes for s in now.series), _sum(s.cold_bytes for s in now.series)
        yield f"  in all {format_size(hot)} hot, {format_size(cold)} cold"
    else:
        yield "There are no checkpoints yet, neither hot nor cold."
    yield ""
    facts = [("queue", _queue(now)), ("uplink", _uplink(now)), ("disk", _disk(now)), ("worker", _worker(now))]
    if not now.cold.url:
        facts = [("disk", _disk(now)), ("cold tier", "none: `ckpt-tier prune --tier hot` clears the disk")]
    elif not now.cold.error:
        facts.append(("cold tier", "answers"))
    yield paper.columns(facts, indent=2)


def _row(series: SeriesStatus) -> tuple[str, ...]:
    newest = series.newest_committed
    return (
        series.name,
        str(newest.step) if newest else "nothing yet",
        f"{format_duration(newest.age_seconds)} ago" if newest else "",
        str(series.hot_count),
        format_size(series.hot_bytes),
        "?" if series.cold_count is None else str(series.cold_count),
        "?" if series.cold_bytes is None else format_size(series.cold_bytes),
    )


def _queue(now: Status) -> str:
    if not now.queue.count:
        return "empty"
    waits = f"{plural(now.queue.count, 'checkpoint')}, {format_size(now.queue.bytes)}"
    return waits if now.queue.eta_seconds is None else f"{waits}, about {format_duration(now.queue.eta_seconds)}"


def _uplink(now: Status) -> str:
    saved, sent = now.uplink.saved_bytes_per_second, now.uplink.uploaded_bytes_per_second
    if now.uplink.keeps_up is None or saved is None or sent is None:
        return "not measured yet"
    verdict = "keeps up" if now.uplink.keeps_up else paper.style("too slow", "red")
    return f"{verdict}: training saves {format_size(saved)}/s, uploads reach {format_size(sent)}/s"


def _disk(now: Status) -> str:
    disk = now.disk
    told = f"{format_size(disk.free_bytes)} of {format_size(disk.total_bytes)} free"
    if disk.free_bytes < disk.min_free_bytes:
        told += f", less than min_free ({format_size(disk.min_free_bytes)})"
    if disk.full_in_seconds is not None and disk.full_in_seconds < FAR_OFF:
        told += f", full in {format_duration(disk.full_in_seconds)} at this rate"
    return told


def _worker(now: Status) -> str:
    worker = now.worker
    if worker.running:
        return f"{worker.what or 'running'}, process {worker.pid} on {worker.host}"
    advice = "`ckpt-tier sync --watch` takes up what comes, `ckpt-tier sync` does one pass"
    return f"none is running: {advice}"


def _sum(sizes: Iterable[int | None]) -> int:
    return sum(size or 0 for size in sizes)
