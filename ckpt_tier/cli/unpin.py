"""`ckpt-tier unpin`."""

import click

from ckpt_tier.cli.settings import Settings, global_options


@click.command("unpin")
@click.argument("step", metavar="STEP")
@click.option("--series", metavar="S", help="Only in this series; else in every series that has it pinned.")
@global_options
@click.pass_obj
def command(settings: Settings, step: str, series: str | None) -> int:
    """Leave a pinned step to retention again."""
    import msgspec

    from ckpt_tier.cli import paper
    from ckpt_tier.cli.documents.marks import UnpinDocument
    from ckpt_tier.cli.sync import parse_step
    from ckpt_tier.pruning import Pruning

    unpinned = Pruning(settings.wiring()).unpin(parse_step(step), series)
    if settings.json:
        paper.say(msgspec.json.encode(UnpinDocument(unpinned=tuple(unpinned))).decode())
    elif not settings.quiet:
        for name, number in unpinned:
            paper.say(f"{paper.mark(True)} series {name}, step {number} is not pinned any more")
    return 0
