"""`ckpt-tier pin`."""

import click

from ckpt_tier.cli.settings import Settings, global_options


@click.command("pin")
@click.argument("step", metavar="STEP")
@click.option("--series", metavar="S", help="Only in this series; else in every series that has the step.")
@click.option("--reason", metavar="TEXT", default="", help="Why, for whoever wonders later.")
@global_options
@click.pass_obj
def command(settings: Settings, step: str, series: str | None, reason: str) -> int:
    """Keep a step, all its generations, in both tiers, whatever retention says, until `unpin`.

    The pin is a small object in the cold tier: it holds for everybody who uses that run. A step that is pinned already
    gets the new reason.
    """
    import msgspec

    from ckpt_tier.cli import paper
    from ckpt_tier.cli.documents import PinDocument
    from ckpt_tier.cli.sync import parse_step
    from ckpt_tier.pruning import Pruning

    pins = Pruning(settings.wiring()).pin(parse_step(step), series, reason)
    if settings.json:
        paper.say(msgspec.json.encode(PinDocument(pinned=tuple(pins))).decode())
    elif not settings.quiet:
        for pin in pins:
            paper.say(f"{paper.mark(True)} pinned series {pin.series}, step {pin.step}")
    return 0
