"""`ckpt-tier sync`."""

import signal

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.core.nouns import MAX_STEP
from ckpt_tier.errors import ConflictError, UsageError


@click.command("sync")
@click.option("--watch", is_flag=True, help="Go on until stopped: take up new checkpoints as they come.")
@click.option("--dry-run", is_flag=True, help="Print every action and its reason; change nothing.")
@click.option(
    "--dismiss", metavar="STEP|all", multiple=True, help="Stop reporting a lost step (may be given several times)."
)
@click.option("--for-training", is_flag=True, hidden=True)
@global_options
@click.pass_obj
def command(settings: Settings, watch: bool, dry_run: bool, dismiss: tuple[str, ...], for_training: bool) -> int:
    """Validate what is new on the hot tier, upload and commit it, and evict what the cold tier provably holds.

    Without an option: one pass, until nothing is due. Exits with 9 if a person is needed then (rejected, stalled,
    lost, disk filling up).
    """
    if sum((watch, dry_run, bool(dismiss))) > 1:
        raise UsageError("--watch, --dry-run and --dismiss exclude each other", fix="give one of them")
    if dry_run:
        from ckpt_tier.cli.plan import show_plan

        return show_plan(settings)
    if dismiss:
        return _dismiss(settings, dismiss)
    if watch:
        return _watch(settings, for_training=for_training)
    from ckpt_tier.cli.one_pass import one_pass

    return one_pass(settings)


def _watch(settings: Settings, *, for_training: bool) -> int:
    from ckpt_tier.cli.emitting import emitting
    from ckpt_tier.cli.stopping import Stop
    from ckpt_tier.system.clock import SystemClock
    from ckpt_tier.worker import Signals, watch

    stop = Stop()
    stop.install(hangup=False)
    signals = Signals(stop.request)
    signals.install()
    clock = SystemClock()
    try:
        if settings.json:
            from ckpt_tier.cli.json_lines import JsonLines

            watch(settings.load, JsonLines(clock), signals, for_training=for_training)
        else:
            with emitting(settings, clock, "uploading") as emit:
                watch(settings.load, emit, signals, for_training=for_training)
    except ConflictError:
        if for_training:
            return 0  # another worker has the folder: that is all training needs
        raise
    return 128 + signal.SIGINT if stop.received == signal.SIGINT else 0


def _dismiss(settings: Settings, wanted: tuple[str, ...]) -> int:
    from ckpt_tier.cli import paper
    from ckpt_tier.operations import Operations

    steps = None if "all" in wanted else {parse_step(text) for text in wanted}
    dismissed = Operations(settings.wiring()).dismiss(steps)
    if settings.json:
        import msgspec

        from ckpt_tier.cli.documents.sync import DismissedDocument

        paper.say(msgspec.json.encode(DismissedDocument(dismissed=tuple(dismissed))).decode())
        return 0
    for series, step in dismissed:
        paper.say(f"dismissed series={series} step={step}")
    if not dismissed:
        paper.say("nothing that is reported as lost matches: see `ckpt-tier status`")
    return 0


def parse_step(text: str) -> int:
    """A step from digits, with _ or , between them as people write large numbers. Raises UsageError."""
    digits = text.replace("_", "").replace(",", "")
    if not (digits.isascii() and digits.isdigit()) or int(digits) > MAX_STEP:
        raise UsageError(f"{text!r} is not a step", "a step is a whole number", "write it like 740000 or 740_000")
    return int(digits)
