"""A verification, and what is said about it."""

import contextlib
import math

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.bar import Bar
from ckpt_tier.cli.documents.verify import VerifyDocument
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.stopping import Stop
from ckpt_tier.cli.words import plural, rate, seconds
from ckpt_tier.core.units import format_size
from ckpt_tier.errors import IntegrityError
from ckpt_tier.flow.verify import Proved, Verified
from ckpt_tier.operations import Operations
from ckpt_tier.system.clock import SystemClock


def prove(settings: Settings, *, series: str | None, step: int | None, read: bool) -> int:
    """Verifies, prints each bad checkpoint and the account. Raises IntegrityError if there is a bad one."""
    stop = Stop()
    stop.install(interrupt=False)  # what only reads leaves nothing to put in order: Ctrl-C ends it at once
    clock = SystemClock(stop.request)
    operations = Operations(settings.wiring(clock))
    begun = clock.monotonic()
    total = len(operations.entries(series, step))
    verdicts: list[Verified] = []
    show_bar = paper.is_terminal() and not settings.json and not settings.quiet
    with Bar("verifying", total, of_things=True) if show_bar else contextlib.nullcontext() as bar:
        for verdict in operations.verify(series, step, read=read):
            verdicts.append(verdict)
            if bar is not None:
                bar.advance()
            if verdict.problem and not settings.json:
                text = f"bad  series {verdict.series}  step {verdict.step}  {verdict.generation}  {verdict.problem}"
                bar.print(paper.plain(text)) if bar is not None else paper.say(paper.plain(text))
    elapsed = clock.monotonic() - begun
    proved = Proved.CONTENT if read else Proved.PRESENCE
    bad = [verdict for verdict in verdicts if verdict.problem]
    size = sum(verdict.size_bytes for verdict in verdicts)
    if settings.json:
        document = VerifyDocument(
            proved=proved,
            good_count=len(verdicts) - len(bad),
            bad_count=len(bad),
            read_bytes=size if read else 0,
            elapsed_seconds=math.ceil(elapsed),
            checkpoints=tuple(verdicts),
        )
        paper.say(msgspec.json.encode(document).decode())
    elif not settings.quiet:
        paper.say(_account(len(verdicts), len(bad), size, elapsed, read=read))
    if bad:
        first = bad[0]
        raise IntegrityError(
            f"{plural(len(bad), 'checkpoint')} of {len(verdicts):,} can't be restored",
            f"step {first.step} of series {first.series}: {first.problem}",
            "where the hot tier still has it, `ckpt-tier sync` sends it again; else restore an older step",
        )
    return 0


def _account(total: int, bad: int, size: int, elapsed: float, *, read: bool) -> str:
    if not total:
        return "There is nothing to verify: no checkpoint is committed."
    good = f"{paper.mark(not bad)} {total - bad:,} of {plural(total, 'checkpoint')} good"
    if read:
        speed = rate(size, elapsed)
        told = f"{format_size(size)} in {seconds(elapsed)}" + (f", {speed}" if speed else "")
        return f"{good} ({told})\n  content: every byte was read, and its SHA-256 and CRC are those of the manifest"
    return (
        f"{good} ({format_size(size)}, in {seconds(elapsed)})\n"
        "  presence: every object is there with its size and noted checksum; --read proves content"
    )
