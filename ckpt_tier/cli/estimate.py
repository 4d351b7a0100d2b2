"""`ckpt-tier estimate`."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.core.nouns import MAX_STEP
from ckpt_tier.core.units import parse_count, parse_duration, parse_rate, parse_size
from ckpt_tier.errors import UsageError

N = TypeVar("N", int, float)

_EXABYTE = 10**18
_CENTURY = 36_525 * 86_400.0


@click.command("estimate")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--steps", metavar="N", help="Steps of the training, such as 757500 or 757.5k; else those so far.")
@click.option("--every", metavar="N", help="Steps between checkpoints; else as FOLDER shows.")
@click.option("--size", metavar="SIZE", help="Of one checkpoint of one series, such as 1.2GB; else the median.")
@click.option("--keep", metavar="N|all", help="Checkpoints each series keeps on the hot tier; else keep_last.")
@click.option("--series", metavar="N", help="Models trained side by side; else those of FOLDER.")
@click.option("--interval", metavar="TIME", help="Time between two saves, such as 25min; else as FOLDER shows.")
@click.option("--uplink", metavar="RATE", help="To the cold tier, such as 100MB/s; else as measured by uploads.")
@click.option("--price", metavar="$", help="Of a GB in the cold tier for a month, such as 0.023.")
@click.option(
    "--budget",
    metavar="SIZE",
    help="Room on the hot tier; else the disk's. Without --keep: the most that fits; without --every: how often, if "
    "all are kept.",
)
@global_options
@click.pass_obj
def command(
    settings: Settings,
    folder: Path | None,
    steps: str | None,
    every: str | None,
    size: str | None,
    keep: str | None,
    series: str | None,
    interval: str | None,
    uplink: str | None,
    price: str | None,
    budget: str | None,
) -> int:
    """What a training will save at the asked frequency and retention and at others: space on both tiers, time on the
    uplink, cost, what is lost at worst if the machine dies, and what fits the disk.

    What is not given is measured in FOLDER, else in the configuration's hot folder; what can't be measured is assumed,
    and said. Changes nothing, and asks the cold tier nothing.
    """
    from ckpt_tier.cli.estimates import show
    from ckpt_tier.config import find
    from ckpt_tier.estimating import Given, answer, look

    given = Given(
        steps=_read("--steps", steps, parse_count, MAX_STEP),
        every=_read("--every", every, parse_count, MAX_STEP),
        size=_read("--size", size, parse_size, _EXABYTE),
        keep="all" if keep == "all" else _read("--keep", keep, _parse_keep, MAX_STEP),
        series=_read("--series", series, parse_count, 10**6),
        interval=_read("--interval", interval, parse_duration, _CENTURY),
        uplink=_read("--uplink", uplink, parse_rate, _EXABYTE),
        price=_read("--price", price, _parse_price, 10.0**6),
        budget=_read("--budget", budget, parse_size, _EXABYTE),
    )
    config = settings.load() if find(settings.config, env=os.environ, cwd=Path.cwd()) else None
    return show(settings, answer(given, look(folder, config, env=os.environ, cwd=Path.cwd())))


def _read(option: str, text: str | None, parse: Callable[[str], N], most: N) -> N | None:
    """The value of an option, above 0 and at most `most`; None if it is not given. Raises UsageError."""
    if text is None:
        return None
    try:
        value = parse(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error.what}", error.why, error.fix) from error
    if not 0 < value <= most:
        fix = "give less" if value > most else "give more than 0"
        raise UsageError(f"{option}: {text!r} is {'too much' if value > most else 'nothing'}", fix=fix)
    return value


def _parse_keep(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{text!r} is not a number of checkpoints", fix='write it like "3", or "all"')
    return int(text)


def _parse_price(text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not math.isfinite(price):
        raise UsageError(f"{text!r} is not a price", fix='write it in $ for a GB and month, like "0.023"')
    return price
