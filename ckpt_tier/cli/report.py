"""`ckpt-tier report`."""

from pathlib import Path

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import UsageError


@click.command("report")
@click.argument("out", required=False, metavar="OUT.html", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--track",
    "keys",
    metavar="KEY",
    multiple=True,
    help="A tensor or number, or a glob, as for `track`; may be repeated.",
)
@click.option("--force", is_flag=True, help="Replace OUT even if it is no page of this command.")
@global_options
@click.pass_obj
def command(settings: Settings, out: Path | None, keys: tuple[str, ...], force: bool) -> int:
    """One page about the run: every checkpoint over the tiers, durability lag, the disk and when it is full,
    throughput, metrics, tracked parameters, and what needs a person and why.

    A file that needs nothing else: no network, no script, light and dark, readable on a phone. With --json the same in
    figures goes to stdout, and OUT may be left out. When the cold tier can't be reached, the page tells what is known
    here, and the exit code is 6.
    """
    if out is None and not settings.json:
        raise UsageError("say where the page goes", fix="such as: ckpt-tier report out.html")
    from ckpt_tier.cli.reporting import make

    return make(settings, out, keys, force=force)
