"""`ckpt-tier annotate`."""

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import UsageError


@click.command("annotate")
@click.argument("step", metavar="STEP")
@click.argument("values", metavar="METRIC=NUMBER...", nargs=-1, required=True)
@click.option("--series", metavar="S", help="The series, where several have the step.")
@click.option("--generation", metavar="ID", help="This generation; else, of several, the one saved last.")
@global_options
@click.pass_obj
def command(settings: Settings, step: str, values: tuple[str, ...], series: str | None, generation: str | None) -> int:
    """Note metrics of a checkpoint that is committed: a validation loss that was known only later, say.

    `keep_best` in both tiers, `list` and `pin --best` see them beside those that the hook was told. A metric that is
    noted again, or that the hook had told, counts as it was noted last.
    """
    import msgspec

    from ckpt_tier.cli import paper
    from ckpt_tier.cli.documents.marks import AnnotateDocument
    from ckpt_tier.cli.sync import parse_step
    from ckpt_tier.noting import annotate

    done = annotate(settings.wiring(), parse_step(step), _metrics(values), series=series, generation=generation)
    if settings.json:
        paper.say(msgspec.json.encode(AnnotateDocument(annotated=done)).decode())
    elif not settings.quiet:
        told = " ".join(f"{name}={value:.6g}" for name, value in done.noted.items()) or "nothing new"
        which = f"series {done.series}, step {done.step} ({done.generation[:8]})"
        paper.say(f"{paper.mark(True)} noted of {which}: {paper.plain(told)}")
    return 0


def _metrics(values: tuple[str, ...]) -> dict[str, float]:
    """From loss=1.83 and the like. Raises UsageError."""
    from ckpt_tier.core.metrics import check_metric, finite

    metrics: dict[str, float] = {}
    for text in values:
        name, equals, number = text.partition("=")
        try:
            value = finite(float(number))
        except ValueError:
            value = None
        if not equals or value is None:
            raise UsageError(f"{text!r} is no metric", "it has no finite number", "write it like loss=1.83")
        if check_metric(name) in metrics:
            raise UsageError(f"{name!r} is given twice", fix="give each metric once")
        metrics[name] = value
    return metrics
