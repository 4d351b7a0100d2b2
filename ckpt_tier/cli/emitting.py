"""Which rendering of events this call wants."""

import contextlib
from collections.abc import Iterator

from ckpt_tier.cli import paper
from ckpt_tier.cli.settings import Settings
from ckpt_tier.core.events import Emit, Event
from ckpt_tier.system.clock import Clock


@contextlib.contextmanager
def emitting(settings: Settings, clock: Clock, verb: str) -> Iterator[Emit]:
    """Bars on a terminal, log lines elsewhere, nothing with --json (the command prints its document)."""
    if settings.json:
        yield _nothing
    elif paper.is_terminal():
        from ckpt_tier.cli.screen import Screen

        with Screen(clock, verb, verbose=settings.verbose, quiet=settings.quiet) as screen:
            yield screen
    else:
        from ckpt_tier.cli.log_lines import LogLines

        yield LogLines(clock, verbose=settings.verbose, quiet=settings.quiet)


def _nothing(_: Event) -> None:
    return
