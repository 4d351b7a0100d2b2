"""`ckpt-tier list`."""

import click

from ckpt_tier.cli.settings import Settings, global_options


@click.command("list")
@click.option("--series", metavar="S", help="Only this series.")
@click.option("--long", is_flag=True, help="Read every manifest: sizes and times of all, and whole generation ids.")
@global_options
@click.pass_obj
def command(settings: Settings, series: str | None, long: bool) -> int:
    """The checkpoints of both tiers, by series and step.

    A step that was saved twice has two generations, and both are shown. When the cold tier can't be reached, the hot
    tier's checkpoints are shown, and the exit code is 6.
    """
    import msgspec

    from ckpt_tier.cli import paper
    from ckpt_tier.cli.documents.list import ListDocument
    from ckpt_tier.cli.failure import present
    from ckpt_tier.cli.listing import listing
    from ckpt_tier.errors import UnavailableError
    from ckpt_tier.operations import Operations

    wiring = settings.wiring()
    away: list[UnavailableError] = []
    rows = Operations(wiring).checkpoints(series, read_all=long, away=away.append)
    if settings.json:
        problem = str(away[0]) if away else ""
        document = ListDocument(run=wiring.config.run, cold_error=problem, checkpoints=tuple(rows))
        paper.say(msgspec.json.encode(document).decode())
    elif rows or not away:
        paper.say(listing(rows, long=long))
    return present(away[0], settings) if away else 0
