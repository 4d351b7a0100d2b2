"""`ckpt-tier doctor`."""

import click

from ckpt_tier.cli.settings import Settings, global_options


@click.command("doctor")
@global_options
@click.pass_obj
def command(settings: Settings) -> int:
    """Try everything that ckpt-tier relies on: the configuration, the hot folder and its disk, the state folder, the
    clock, the credentials, each permission, each thing that the cold tier must do, and what a bucket's own rules do to
    checkpoints. Each problem comes with what to do about it; -v shows everything that is good, too.

    Changes nothing: what it writes to try things (small objects below .ckpt-tier-probe/ in the cold tier, a folder in
    .ckpt-tier/ of the hot one) is removed again.

    Exits with 0 if there are only warnings, else with 3 (configuration), 6 (cold tier away), 7 (no space) or 9.
    """
    import os
    from pathlib import Path

    from ckpt_tier.cli.examining import present
    from ckpt_tier.doctor.examine import examine
    from ckpt_tier.system.clock import SystemClock

    return present(examine(settings.config, os.environ, Path.cwd(), SystemClock()), settings)
