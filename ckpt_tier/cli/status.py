"""`ckpt-tier status`."""

import click

from ckpt_tier.cli.settings import Settings, global_options


@click.command("status")
@global_options
@click.pass_obj
def command(settings: Settings) -> int:
    """One screen: what needs a person, what would be lost if this machine died now, what waits, what runs out.

    Exits with 5 if a committed checkpoint was found damaged, with 9 if something else needs a person, with 6 if the
    cold tier can't be reached.
    """
    import msgspec

    from ckpt_tier.cli import paper
    from ckpt_tier.cli.overview import exit_code, overview
    from ckpt_tier.operations import Operations

    now = Operations(settings.wiring()).status()
    if settings.json:
        paper.say(msgspec.json.encode(now).decode())
    else:
        paper.say(overview(now, brief=settings.quiet))
    return exit_code(now)
