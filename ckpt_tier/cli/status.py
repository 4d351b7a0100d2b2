"""`ckpt-tier status`."""

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import UsageError


@click.command("status")
@click.option("--disk", is_flag=True, help="The hot tier's disk: what takes room, what could go, when it is full.")
@click.option("--check", is_flag=True, help="With --disk: one line, and only if a person should come; for cron.")
@click.option("--min-free", metavar="SPACE", help='With --disk: such as "50GiB" or "10%"; else [hot] min_free.')
@click.option("--within", metavar="DURATION", help="With --disk: full before this is for a person, such as 12h; 6h.")
@global_options
@click.pass_obj
def command(settings: Settings, disk: bool, check: bool, min_free: str | None, within: str | None) -> int:
    """One screen: what needs a person, what would be lost if this machine died now, what waits, what runs out.

    Exits with 5 if a committed checkpoint was found damaged, with 9 if something else needs a person, with 6 if the
    cold tier can't be reached.

    With --disk, what takes room instead; --check exits with 9 if the disk is filling up, else with 0.
    """
    if (check or min_free or within) and not disk:
        raise UsageError("--check, --min-free and --within are about the disk", fix="add --disk")
    if disk:
        from ckpt_tier.cli.disk import show_disk

        return show_disk(settings, check=check, min_free=min_free, within=within)
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
