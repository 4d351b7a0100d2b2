"""The group of commands. `--help` and `--version` load none of them, and nothing heavy."""

import importlib
import itertools
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from ckpt_tier.cli.failure import closed_quietly, present, wants_traceback
from ckpt_tier.cli.settings import Settings, global_options

COMMANDS = {
    "init": "Look at a folder of checkpoints, try the cold tier, write ckpt-tier.toml.",
    "sync": "Validate, upload and commit what is new; evict what the cold tier holds.",
    "list": "The checkpoints of both tiers.",
    "inspect": "What is in a checkpoint, read by range, not fetched.",
    "track": "How a tensor or number has changed over all checkpoints, a few bytes of each.",
    "diff": "Two checkpoints compared by tensor: what changed, and by how much.",
    "exec": "Run a training with the worker beside it; resume, pass signals on, drain.",
    "restore": "Bring a checkpoint back, every byte verified.",
    "recover": "The machine is gone: bring its newest checkpoints back from the cold tier alone.",
    "status": "What would be lost now, what waits, what needs a person.",
    "report": "One page about the run: time line, lag, disk, throughput, metrics, troubles.",
    "verify": "Prove that the cold tier holds what it should.",
    "prune": "Remove by the retention policy: from the cold tier, or from the hot one now.",
    "abandon": "Training went back: leave the later steps of the old branch behind.",
    "annotate": "Note metrics of a committed checkpoint: keep_best and pin --best go by them.",
    "pin": "Keep a step, or the best by a metric, whatever retention says.",
    "unpin": "Leave a pinned step to retention again.",
    "estimate": "Before or while it runs: what a training will save, and what fits the disk.",
    "doctor": "Try everything that ckpt-tier relies on, and say what to mend.",
    "demo": "See it work: train, fill a small disk, lose it, restore, resume.",
}
"""Each command's name and its one line of help. Each is `command` in the module of its name."""


class Commands(click.Group):
    """Loads a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"ckpt_tier.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"ckpt-tier {version('ckpt-tier')}")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 unexpected, 2 usage, 3 configuration, 4 no such checkpoint, 5 integrity, "
    "6 cold tier unavailable, 7 no space, 8 locked or conflict, 9 a person is needed, 130 interrupted.",
)
@global_options
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def cli() -> None:
    """Tiered storage for training checkpoints: the last few on the local disk, every validated one in S3 or on a
    NAS, any of them back on demand.

    Start with: ckpt-tier init checkpoints/ s3://bucket/prefix
    """


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code; every error is presented here, and only here."""
    for stream in (sys.stdout, sys.stderr):
        # A name that is not UTF-8, or a locale that can't show a mark, is no reason to fail.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    settings = Settings()
    try:
        code: Any = cli.main(list(arguments), prog_name="ckpt-tier", standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except BrokenPipeError:
        return closed_quietly()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (the outermost catch: every error gets its words)
        settings.json = settings.json or "--json" in itertools.takewhile(lambda word: word != "--", arguments)
        if wants_traceback(error, settings):
            sys.excepthook(type(error), error, error.__traceback__)
        try:
            sys.stdout.flush()
            return present(error, settings)
        except BrokenPipeError:
            return closed_quietly()
    return code if isinstance(code, int) else os.EX_OK
