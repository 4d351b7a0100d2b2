"""`ckpt-tier diff`."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import NotFoundError

if TYPE_CHECKING:
    from ckpt_tier.inspection import Checkpoint, Inspection

_IN_A_TIER = re.compile(r"(?:([a-z0-9][a-z0-9._-]*)/)?(?:latest|([0-9][0-9_,]*)(?:@([0-9a-f]{16}))?)")


@click.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--series", metavar="S", help="The series of a checkpoint that is given without one.")
@click.option("--rank", metavar="R", type=click.IntRange(0), help="Only this rank's share.")
@click.option("--tier", type=click.Choice(["hot", "cold"]), help="Read from there; else hot if it is sound, or cold.")
@click.option("--filter", "pattern", metavar="GLOB", help="Only names that match: 'model.*.bias'.")
@click.option("--read", is_flag=True, help="Read every tensor, also where a checksum tells that it is equal.")
@click.option("--all", "whole", is_flag=True, help="All that differs, not only the first lines of it.")
@global_options
@click.pass_obj
def command(
    settings: Settings,
    before: str,
    after: str,
    series: str | None,
    rank: int | None,
    tier: str | None,
    pattern: str | None,
    read: bool,
    whole: bool,
) -> int:
    """Two checkpoints compared by tensor: what was added, removed and changed, and by how much.

    A and B are each a step (740000, 740_000), STEP@GENERATION, `latest`, any of these behind a series (1/740000), or
    else the path of a file or folder, which needs no configuration; write ./740000 for a path that looks like a step.

    A tensor that has the same checksum in both is equal, and is not read; of the others both are read, in pieces. No
    code in the checkpoints is run. The exit code is 0 whether they differ or not: with --json, `equal` tells.
    """
    from ckpt_tier.cli.differing import present
    from ckpt_tier.comparing import compare

    finder = _Finder(settings, series, rank, tier)
    found = compare(finder.find(before), finder.find(after), pattern=pattern, read=read)
    return present(found, settings, whole=whole)


class _Finder:
    """Finds what A and B stand for. The configuration is read only for what is no path."""

    def __init__(self, settings: Settings, series: str | None, rank: int | None, tier: str | None) -> None:
        self._settings = settings
        self._series = series
        self._rank = rank
        self._tier = tier

    def find(self, text: str) -> Checkpoint:
        from ckpt_tier.cli.sync import parse_step
        from ckpt_tier.inspection import at_path

        meant = _IN_A_TIER.fullmatch(text)
        if meant is None:
            return at_path(Path(text))
        series, step, generation = meant.groups()
        try:
            return self._inspection.checkpoint(
                None if step is None else parse_step(step),
                series=series or self._series,
                generation=generation,
                rank=self._rank,
                tier=self._tier,  # type: ignore[arg-type]  # click.Choice has checked it
            )
        except NotFoundError as error:
            if not Path(text).exists():
                raise
            raise NotFoundError(error.what, error.why, f"for the file or folder of that name write ./{text}") from error

    @cached_property
    def _inspection(self) -> Inspection:
        from ckpt_tier.inspection import Inspection

        return Inspection(self._settings.wiring())
