"""`ckpt-tier report`."""

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import UsageError


@click.command("report")
@click.argument("out", metavar="[OUT.html]", required=False)
@click.option("--series", metavar="S", help="Only this series.")
@click.option("--track", "keys", metavar="KEY", multiple=True, help="Draw this too: as for `track`; may be repeated.")
@click.option("--force", is_flag=True, help="Replace a file that is no report.")
@global_options
@click.pass_obj
def command(settings: Settings, out: str | None, series: str | None, keys: tuple[str, ...], force: bool) -> int:
    """The whole run on one page that needs no network: where each checkpoint lies, how long it took to be safe, disk,
    throughput, metrics, and what needs a person.

    A report that is there already is replaced, in one step; `-` writes the page to stdout. With --json the same comes
    as a document, and OUT.html may be left out. When the cold tier can't be reached, the page shows what this machine
    knows of it and says so, and the exit code is 6; else it is 0, whatever the page says.
    """
    if out is None and not settings.json:
        raise UsageError("there is no file to write the page to", fix="ckpt-tier report report.html, or --json")
    if out == "-" and settings.json:
        raise UsageError("stdout takes the page or the JSON document, not both", fix="name a file, or leave one out")
    from ckpt_tier.cli.reporting import write_report

    return write_report(settings, out, series=series, track=keys, force=force)
