"""`ckpt-tier exec`."""

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import UsageError


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--resume", is_flag=True, help="First bring the newest good checkpoint back, as `restore --latest`.")
@click.option(
    "--grace",
    metavar="TIME",
    default="60s",
    show_default=True,
    help="How long the queue may drain after the command's end.",
)
@click.option("--series", metavar="S", help="With --resume: of this series.")
@click.option("--rank", metavar="R", type=click.IntRange(0), help="With --resume: only this rank's share.")
@click.argument("command_words", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED)
@global_options
@click.pass_obj
def command(
    settings: Settings,
    resume: bool,
    grace: str,
    series: str | None,
    rank: int | None,
    command_words: tuple[str, ...],
) -> int:
    """Run a training with the worker beside it: one line for containers and job schedulers.

    With --resume, {path} and {step} in its words stand for the checkpoint that it goes on from; where there is none
    yet, words with {path} or {step} are left out, with the option before a bare one. CKPT_TIER_RESUME and
    CKPT_TIER_RESUME_STEP in its environment say the same.

    Signals are passed on to the command. After its end the queue is drained; Ctrl-C or a second SIGTERM ends that at
    once. The exit code is the command's: 128 + n if signal n ended it, 127 if it is not found, 126 if it can't be run.
    """
    if not command_words:
        raise UsageError("there is no command to run", fix="ckpt-tier exec --resume -- python train.py --resume {path}")
    if (series is not None or rank is not None) and not resume:
        raise UsageError("--series and --rank say what to resume", fix="add --resume, or leave them out")
    from ckpt_tier.cli.beside import run_beside
    from ckpt_tier.core.units import parse_duration

    return run_beside(settings, command_words, resume=resume, grace=parse_duration(grace), series=series, rank=rank)
