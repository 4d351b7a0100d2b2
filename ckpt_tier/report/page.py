"""The report as one HTML page that loads nothing: no script, no font, no picture from elsewhere. Pure."""

from ckpt_tier.flow.status import is_crowded
from ckpt_tier.report import plots, sections, words
from ckpt_tier.report.data import Report
from ckpt_tier.report.markup import moment, text
from ckpt_tier.report.style import stylesheet

GENERATOR = '<meta name="generator" content="ckpt-tier '
"""Begins a line near the top of each page that is ours, and may be replaced."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def page(made: Report) -> str:
    """The whole document."""
    title = f"{made.run}: checkpoints"
    run = f"{made.run}, series {made.series}" if made.series is not None else made.run
    arrow = f"{made.status.hot_path} → {made.status.cold.url or 'no cold tier'}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{GENERATOR}{text(made.version)}">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{text(title)}</title>
<style>
{stylesheet()}</style>
</head>
<body>
<main>
<header>
<p class="run"><b>{text(run)}</b> · {text(arrow)} · {moment(made.at)} UTC</p>
<h1>{text(words.loss(made.status))}</h1>
<p class="needs{_tone(made)}">{text(words.needs(made.status))}</p>
{_away(made)}</header>
{sections.cards(made)}
{sections.attention(made)}
{sections.over_the_tiers(made)}
{plots.lag(made)}
{plots.disk(made)}
{plots.throughput(made)}
{plots.curves(made)}
{sections.about(made)}
</main>
</body>
</html>
"""


def _tone(made: Report) -> str:
    return " bad" if made.status.attention or is_crowded(made.status) else ""


def _away(made: Report) -> str:
    if not made.cold_error:
        return ""
    seen = made.status.cold.last_seen_at
    when = f", last seen {moment(seen)} UTC" if seen else ""
    return (
        f'<p class="alert" role="alert"><b>The cold tier is away{when}.</b> {text(made.cold_error)}. '
        "What it holds is shown as this machine last read it; pins and notes are not shown.</p>\n"
    )
