"""`ckpt-tier recover`."""

from pathlib import Path

import click

from ckpt_tier.cli.settings import Settings, global_options


@click.command("recover")
@click.argument("url")
@click.option("--run", "run_name", metavar="NAME", help="The run; needed where URL holds several.")
@click.option(
    "--to", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), required=True, help="The new hot folder."
)
@click.option("--series", metavar="S", help="Only this series; else every one.")
@click.option("--endpoint-url", metavar="URL", help="The S3 server, where it is not AWS.")
@click.option("--region", metavar="NAME", help="The region of the bucket.")
@click.option("--profile", metavar="NAME", help="The AWS profile that gives the credentials.")
@click.option("--ca-bundle", metavar="FILE", help="Certificates to trust (PEM), for a private authority.")
@click.option(
    "--addressing",
    type=click.Choice(["auto", "path", "virtual"]),
    metavar="A",
    help="auto, path or virtual: where the bucket's name goes.",
)
@click.option("--same-device", is_flag=True, help="Allow a cold folder on the disk of the hot one.")
@click.option("--force", is_flag=True, help="Move an existing different checkpoint aside instead of stopping.")
@global_options
@click.pass_obj
def command(
    settings: Settings,
    url: str,
    run_name: str | None,
    to: Path,
    series: str | None,
    endpoint_url: str | None,
    region: str | None,
    profile: str | None,
    ca_bundle: str | None,
    addressing: str | None,
    same_device: bool,
    force: bool,
) -> int:
    """On a new machine, with nothing but URL and credentials: write ckpt-tier.toml here, bring the newest good
    checkpoint of every series back to --to, and say what to resume from.

    The configuration is the copy that `sync` keeps in the run, without what names code, and with URL and --to as given
    here. One that is there already and differs is never replaced. Damaged checkpoints, and those with NaN values, are
    passed over. It can be stopped at any moment: the same command goes on.
    """
    from ckpt_tier.cli.recovering import Wanted, recover

    cold: dict[str, str | bool | None] = {
        "url": url,
        "endpoint_url": endpoint_url,
        "region": region,
        "profile": profile,
        "ca_bundle": ca_bundle,
        "addressing": addressing,
        "same_device": same_device or None,
    }
    wanted = Wanted(
        cold={name: value for name, value in cold.items() if value is not None},
        run=run_name,
        hot=to,
        series=series,
        force=force,
    )
    return recover(settings, wanted)
