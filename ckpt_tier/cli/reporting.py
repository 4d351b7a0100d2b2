"""Where a report goes, and what may be replaced by it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.settings import Settings
from ckpt_tier.errors import ConflictError, UnavailableError, UsageError
from ckpt_tier.report.data import Report
from ckpt_tier.report.gather import gather
from ckpt_tier.report.page import GENERATOR, page
from ckpt_tier.report.words import written
from ckpt_tier.system.durable import write_atomic

_HEAD = 1024
"""Bytes of a file in which a report shows that it is one."""


def write_report(settings: Settings, out: str | None, *, series: str | None, track: Sequence[str], force: bool) -> int:
    """Writes the page, or prints it, or its document. 6 if the cold tier could not be asked, else 0."""
    wiring = settings.wiring()
    place = None if out in (None, "-") else _place(str(out), force=force)
    made = gather(wiring, series=series, page=str(place) if place else None, track=track)
    html = page(made).encode() if out is not None else b""
    if place is not None:
        write_atomic(place, html)
    if settings.json:
        paper.say(msgspec.json.encode(made).decode())
    elif place is None:
        paper.say(html.decode().rstrip("\n"))
    elif not settings.quiet:
        _tell(made, len(html))
    return UnavailableError.exit_code if made.cold_error else 0


def _tell(made: Report, size: int) -> None:
    paper.say(paper.plain(made.summary))
    if made.cold_error:
        paper.say(paper.plain(f"The cold tier is away, and shown as this machine last read it: {made.cold_error}"))
    paper.say(paper.plain(written(made, size)))


def _place(out: str, *, force: bool) -> Path:
    """The file that will be written. Raises UsageError, ConflictError."""
    place = Path(out).expanduser().resolve()
    if not place.parent.is_dir():
        raise UsageError(f"the folder {place.parent} is not there", fix="create it, or choose another file")
    if not place.exists():
        return place
    if not place.is_file():
        raise UsageError(f"{out} is no file that can be replaced", fix="name a file; - writes to stdout")
    if not force and not _is_report(place):
        raise ConflictError(
            f"{out} is there, and is no report of ckpt-tier",
            "it was left as it is",
            "choose another file, or add --force",
        )
    return place


def _is_report(place: Path) -> bool:
    with place.open("rb") as file:
        head = file.read(_HEAD)
    return not head or GENERATOR.encode() in head
