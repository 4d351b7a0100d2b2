"""A restore, and what is said about it."""

from pathlib import Path

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.documents.restore import NotRestored, PassedOverDocument, RestoredDocument, RestoreDocument
from ckpt_tier.cli.emitting import emitting
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.stopping import Stop
from ckpt_tier.cli.words import rate, seconds
from ckpt_tier.core import events
from ckpt_tier.core.states import State
from ckpt_tier.core.units import format_duration, format_size, format_time, parse_time
from ckpt_tier.operations import Operations
from ckpt_tier.restoring import BroughtBack, Restored
from ckpt_tier.system.clock import SystemClock
from ckpt_tier.wiring import Wiring


def bring_back(
    settings: Settings,
    *,
    step: int | None,
    series: str | None,
    generation: str | None,
    rank: int | None,
    to: Path | None,
    force: bool,
) -> int:
    """Restores and prints what came back. Raises what `Operations.restore` raises."""
    stop = Stop()
    stop.install()
    clock = SystemClock(stop.request)
    wiring = settings.wiring(clock)
    seen: list[events.Event] = []
    with emitting(settings, clock, "restoring") as emit:

        def note_and_emit(event: events.Event) -> None:
            if isinstance(event, events.Restored | events.PassedOver | events.Warned):
                seen.append(event)
            if not isinstance(event, events.Restored):
                emit(event)

        back = Operations(wiring).restore(
            note_and_emit,
            step=step,
            series=[series] if series else [],
            generation=generation,
            rank=rank,
            to=to,
            force=force,
        )
    if back.restored or len(back.failed) > 1:  # a failure alone needs no account beside its error
        _tell(settings, wiring, back, seen)
    if error := back.error():
        raise error
    return 0


def _tell(settings: Settings, wiring: Wiring, back: BroughtBack, seen: list[events.Event]) -> None:
    """`seen`: what was said on the way."""
    restored = back.restored
    done = {(e.series, e.step): e for e in seen if isinstance(e, events.Restored)}
    passed_over = [e for e in seen if isinstance(e, events.PassedOver)]
    hot_alone = not_committed_yet(restored, has_cold=wiring.config.has_cold)
    notes = [*(e.text for e in seen if isinstance(e, events.Warned)), *hot_alone]
    hold = wiring.config.hot.hold if restored and restored[0].root == wiring.config.hot.path else None
    documents = [
        restored_document(each, done[each.series, each.step], None if hold is None else wiring.clock.now() + hold)
        for each in restored
    ]
    if settings.json:
        document = RestoreDocument(
            restored=tuple(documents),
            passed_over=tuple(PassedOverDocument(series=e.series, step=e.step, reason=e.reason) for e in passed_over),
            failed=not_restored(back),
            notes=tuple(notes),
        )
        paper.say(msgspec.json.encode(document).decode())
    elif not settings.quiet:
        for each in documents:
            _print(each, done[each.series, each.step].elapsed_seconds)
        if hold:
            paper.say(f"Held on the hot tier for {format_duration(hold)}: not evicted before that ([hot] hold).")
        for note in hot_alone:
            paper.say(f"{paper.style('note:', 'yellow')} {note}")
        say_failed(back)


def not_restored(back: BroughtBack) -> tuple[NotRestored, ...]:
    return tuple(NotRestored(series=series, reason=str(error)) for series, error in back.failed.items())


def say_failed(back: BroughtBack) -> None:
    for series, error in back.failed.items():
        paper.say(f"{paper.mark(False)} series {series}: {paper.plain(str(error))}")


def restored_document(back: Restored, event: events.Restored, held_until: float | None) -> RestoredDocument:
    return RestoredDocument(
        series=back.series,
        step=back.step,
        generation=back.generation,
        root=str(back.root),
        path=str(back.path),
        committed=back.committed,
        files=tuple(str(path) for path in back.files),
        size_bytes=event.size_bytes,
        fetched_bytes=back.fetched_bytes,
        elapsed_seconds=round(event.elapsed_seconds),
        held_until=None if held_until is None else format_time(held_until),
    )


def _print(back: RestoredDocument, elapsed: float) -> None:
    paper.say(f"{paper.mark(True)} series {back.series}, step {back.step}, generation {back.generation}")
    for file in back.files:
        paper.say(f"  {file}")
    if back.fetched_bytes or not back.size_bytes:
        speed = rate(back.fetched_bytes, elapsed)
        told = f"{format_size(back.size_bytes)} in {seconds(elapsed)}" + (f", {speed}" if speed else "")
        paper.say(f"  {told}, every byte verified")
    else:
        paper.say(f"  {format_size(back.size_bytes)} already there, identical: nothing was fetched")


def not_committed_yet(restored: list[Restored], *, has_cold: bool) -> list[str]:
    """What should be known of a checkpoint that only the hot tier has."""
    why = "not committed yet; `ckpt-tier sync` takes it up" if has_cold else "there is no cold tier"
    return [
        f"step {back.step} of series {back.series} is on the hot tier alone, and {why}"
        for back in restored
        if not back.committed
    ]


def newer_on_hot(operations: Operations, restored: list[Restored]) -> list[str]:
    """What a restore from the cold tier alone can't know of: files on the hot tier that were saved later."""
    notes = []
    everything = operations.checkpoints(restored[0].series if len(restored) == 1 else None) if restored else []
    for back in restored:
        rows = [row for row in everything if row.series == back.series]
        taken = next((row for row in rows if (row.step, row.generation) == (back.step, back.generation)), None)
        if taken is None or taken.saved_at is None:
            continue
        newer = [
            row
            for row in rows
            if row.hot
            and row.committed_at is None
            and row.state != State.REJECTED
            and row.saved_at is not None
            and parse_time(row.saved_at) > parse_time(taken.saved_at)
        ]
        if newer:
            last = max(newer, key=lambda row: row.saved_at or "")
            notes.append(
                f"the hot tier has step {last.step} of series {last.series}, saved later and not committed yet; "
                "`ckpt-tier sync` takes it up"
            )
    return notes
