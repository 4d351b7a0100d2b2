"""`ckpt-tier init`."""

import sys
from pathlib import Path

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import UsageError

_EXAMPLE = "ckpt-tier init checkpoints/ s3://bucket/prefix"


@click.command("init")
@click.argument("hot", required=False, type=click.Path(path_type=Path))
@click.argument("url", required=False)
@click.option("--run", "run_name", metavar="NAME", help="The run's name in the cold tier; else made from HOT's parent.")
@click.option("--endpoint-url", metavar="URL", help="The S3 server, where it is not AWS.")
@click.option("--region", metavar="NAME", help="The region of the bucket.")
@click.option("--ca-bundle", metavar="FILE", help="Certificates to trust (PEM), for a private authority.")
@click.option("--keep-last", type=click.IntRange(min=1), metavar="N", help="Checkpoints each series keeps here (3).")
@click.option("--layout", metavar="PATTERN", help="Such as 'model_step_{step}.pt'; else recognised.")
@click.option("--same-device", is_flag=True, help="Allow a cold folder on the disk of the hot one.")
@click.option(
    "--level",
    type=click.Choice(["fast", "full", "deep"]),
    default="full",
    show_default=True,
    help="How closely to check what is there now.",
)
@click.option("--force", is_flag=True, help="Replace an existing ckpt-tier.toml; the old one stays as .bak.")
@global_options
@click.pass_obj
def command(
    settings: Settings,
    hot: Path | None,
    url: str | None,
    run_name: str | None,
    endpoint_url: str | None,
    region: str | None,
    ca_bundle: str | None,
    keep_last: int | None,
    layout: str | None,
    same_device: bool,
    level: str,
    force: bool,
) -> int:
    """Look at HOT, the folder that training saves into; try URL, where checkpoints will be kept (s3://bucket/prefix,
    or a folder such as a mounted NAS); write ckpt-tier.toml here, and say what to do next.

    Without URL there is no cold tier: `prune --tier hot` keeps the newest on this disk, and nothing is a second copy.
    Changes nothing in HOT. When something fails, nothing is written.
    """
    asks = not settings.json and sys.stdin.isatty() and sys.stdout.isatty()
    if hot is None:
        if not asks:
            raise UsageError("init needs HOT", fix=f"such as: {_EXAMPLE}")
        hot = Path(click.prompt("The folder that training saves into", default="checkpoints"))
    if url is None and asks:
        url = click.prompt("Where to keep checkpoints (s3://bucket/prefix, or a folder; empty: nowhere)", default="")
    if not url and (endpoint_url or region or ca_bundle or same_device):
        raise UsageError("there is no URL that these options could be for", fix=f"such as: {_EXAMPLE}")
    from ckpt_tier.cli.setting_up import Wanted, set_up

    cold: dict[str, str | bool | None] = {
        "url": url or None,
        "endpoint_url": endpoint_url,
        "region": region,
        "ca_bundle": ca_bundle,
        "same_device": same_device or None,
    }
    wanted = Wanted(
        hot=hot, cold=cold, run=run_name, keep_last=keep_last, layout=layout, level=level, force=force,
        file=settings.config,
    )  # fmt: skip
    return set_up(settings, wanted)
