"""Making the page of `report`: asking, writing, and saying where it is."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.failure import present
from ckpt_tier.cli.report_tracked import tracked_curves
from ckpt_tier.cli.settings import Settings
from ckpt_tier.core.units import format_size
from ckpt_tier.errors import ConfigError, ConflictError, UnavailableError
from ckpt_tier.flow.disk import WITHIN
from ckpt_tier.operations import Operations
from ckpt_tier.report.data import report
from ckpt_tier.report.page import GENERATOR, page
from ckpt_tier.system.durable import write_atomic


def make(settings: Settings, out: Path | None, keys: Sequence[str], *, force: bool) -> int:
    """Writes the page, and with --json prints the document. Raises ConfigError, ConflictError, NoSpaceError."""
    if out is not None:
        _refuse_to_replace(out, force=force)
    wiring = settings.wiring()
    operations = Operations(wiring)
    away: list[UnavailableError] = []
    rows = operations.checkpoints(read_all=True, away=away.append)
    curves, notes = tracked_curves(wiring, keys, sorted({row.series for row in rows}))
    told = report(
        rows,
        operations.status(),
        operations.disk(within=WITHIN),
        version=version("ckpt-tier"),
        tracked=curves,
        notes=notes,
    )
    if out is not None:
        text = page(told).encode("utf-8", "backslashreplace")
        try:
            write_atomic(out, text, durable=False)
        except OSError as error:
            raise ConfigError(f"{out} can't be written", error.strerror or "", "choose another place") from error
        if not (settings.json or settings.quiet):
            paper.say(paper.columns([(told.sentence,)]))
            paper.say(f"{paper.mark(True)} wrote {paper.plain(str(out))}, {format_size(len(text))}")
    if settings.json:
        paper.say(msgspec.json.encode(told).decode())
    return present(away[0], settings) if away else 0


def _refuse_to_replace(out: Path, *, force: bool) -> None:
    if not out.parent.is_dir():
        raise ConfigError(f"there is no folder {out.parent}", fix=f"mkdir -p {out.parent}")
    if not out.exists() or force:
        return
    with out.open("rb") as file:
        if GENERATOR.encode() in file.read(4096):
            return
    raise ConflictError(f"{out} is there, and is no page of this command", fix="choose another name, or give --force")
