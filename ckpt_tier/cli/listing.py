"""The table of `list`."""

from collections.abc import Sequence

from ckpt_tier.cli import paper
from ckpt_tier.cli.words import plural
from ckpt_tier.core.units import format_size
from ckpt_tier.flow.listing import Listed

_HEADINGS = ("series", "step", "saved (UTC)", "size", "tiers", "state", "generation", "pin", "metrics")


def listing(rows: Sequence[Listed], *, long: bool) -> str:
    """The table, and a line that counts."""
    if not rows:
        return "There are no checkpoints yet, neither hot nor cold."
    table = paper.columns([_cells(row, long=long) for row in rows], headings=_HEADINGS, right={1, 3})
    return f"{table}\n{_counts(rows)}"


def _cells(row: Listed, *, long: bool) -> tuple[str, ...]:
    cold = row.committed_at is not None
    saved = row.saved_at or row.committed_at
    return (
        row.series,
        str(row.step),
        (saved[:19] if long else saved[:16]).replace("T", " ") if saved else "",
        "" if row.size_bytes is None else format_size(row.size_bytes),
        "hot+cold" if row.hot and cold else "hot" if row.hot else "cold",
        "abandoned" if row.abandoned else "new" if row.state == "hot" else row.state,
        (row.generation if long else row.generation[:8]) if row.generation else "",
        row.pin or "",
        " ".join(f"{name}={value:.6g}" for name, value in row.metrics.items()),
    )


def _counts(rows: Sequence[Listed]) -> str:
    cold = sum(row.committed_at is not None for row in rows)
    hot = sum(row.hot for row in rows)
    size = sum(row.size_bytes or 0 for row in rows if row.committed_at is not None)
    unread = sum(row.size_bytes is None for row in rows)
    told = [plural(len(rows), "checkpoint"), f"{cold:,} cold ({format_size(size)})" if size else f"{cold:,} cold"]
    told.append(f"{hot:,} hot")
    if unread:
        told.append(f"{unread:,} without size: --long reads them")
    return ", ".join(told)
