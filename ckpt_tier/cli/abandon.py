"""`ckpt-tier abandon`."""

import click

from ckpt_tier.cli.settings import Settings, global_options


@click.command("abandon")
@click.option("--after", metavar="STEP", required=True, help="The step that training went back to.")
@click.option("--series", metavar="S", help="Only this series; else every series of the run.")
@click.option("--undo", is_flag=True, help="Take back what was abandoned after this step.")
@global_options
@click.pass_obj
def command(settings: Settings, after: str, series: str | None, undo: bool) -> int:
    """Training went back to STEP and goes on from there: what was saved until now for later steps lies on a branch that
    it has left.

    Nothing is deleted, and every step can still be restored by its number. But `restore --latest`, `status` and
    retention follow the new branch from now on.
    """
    import msgspec

    from ckpt_tier.cli import paper
    from ckpt_tier.cli.documents.marks import AbandonDocument
    from ckpt_tier.cli.sync import parse_step
    from ckpt_tier.cli.words import plural
    from ckpt_tier.pruning import Pruning

    pruning = Pruning(settings.wiring())
    step = parse_step(after)
    left = pruning.take_back(step, series) if undo else pruning.abandon(step, series)
    if settings.json:
        paper.say(msgspec.json.encode(AbandonDocument(undone=undo, branches=tuple(left))).decode())
    elif not settings.quiet:
        for each in left:
            told = plural(each.checkpoints, "committed checkpoint")
            verb = "count again" if undo else "abandoned, still restorable by step"
            paper.say(f"{paper.mark(True)} series {each.series}: {told} after step {step} {verb}")
    return 0
