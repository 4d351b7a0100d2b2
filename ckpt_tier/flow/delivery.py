"""The delivery of one save: sent and committed, tried again while that may help. Runs in a thread of its own."""

import msgspec

from ckpt_tier.cold.tombstones import read_tombstone
from ckpt_tier.core.events import Changed, Note, Retrying, Stalled
from ckpt_tier.core.states import State
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import CancelledError, CkptTierError, IntegrityError, SourceChangedError, UnavailableError
from ckpt_tier.flow.actions import Kind
from ckpt_tier.flow.ingest import locate
from ckpt_tier.flow.known import Known
from ckpt_tier.flow.meter import Pace
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.proof import has_save, manifest_with, prove_committed
from ckpt_tier.flow.retry import persistently
from ckpt_tier.flow.upload import PrunedError, commit, note_committed, upload
from ckpt_tier.journal.saves import Save

STALLED_WAIT = 300.0
"""Seconds until a stalled upload is tried again."""


def deliver(parts: Parts, known: Known, pace: Pace, save: Save, kind: Kind) -> Save | None:
    """Brings a validated save into the cold tier, by one of the kinds UPLOAD, ADOPT and ASSEMBLE.

    Whatever fails is noted in the row, which is returned as it ends; None if the program is to stop.
    """

    def attempt() -> Save:
        begun = parts.clock.monotonic()
        if kind is Kind.ASSEMBLE:
            return commit(parts, save, begun)
        found = _found_again(parts, known, save)
        if found.generation and (kind is Kind.ADOPT or found is not save):
            if known.is_buried(found):
                return parts.journal.put(found)
            if _holds(parts, found):
                return note_committed(parts, found, adopted=True)
        known.drop(save)
        return commit(parts, upload(parts, save, pace), begun)

    def failed(error: UnavailableError, number: int, seconds: float) -> None:
        parts.emit(
            Retrying(series=save.series, step=save.step, reason=str(error), attempt=number, wait_seconds=seconds)
        )

    try:
        return persistently(attempt, parts.clock, parts.config.upload.attempts, failed)
    except SourceChangedError as error:
        return _look_again(parts, save, error)
    except PrunedError as error:
        pruned = msgspec.structs.replace(save, generation=error.generation)
        known.bury(pruned, error.at)
        return parts.journal.put(pruned)
    except CancelledError:
        return None
    except UnavailableError as error:
        known.went_away(error)
        return _stall(parts, save, error)
    except CkptTierError as error:
        return _stall(parts, save, error)
    except OSError as error:
        return _stall(parts, save, CkptTierError(f"{save.path} can't be sent", str(error)))


def _found_again(parts: Parts, known: Known, save: Save) -> Save:
    """What scanning found, with the generation that it belongs to and the metrics that the hook had said, if it was
    committed or pruned before the journal was lost: a share must not be taken for a checkpoint, nor for a share of
    another save."""
    if save.ticket is not None:
        return save
    manifests, window = parts.cold.manifests, parts.config.hot.set_window
    if any((series, step) == (save.series, save.step) for series, step, _ in known.committed):
        manifest = manifest_with(manifests, save, window)
        if manifest is not None:
            return msgspec.structs.replace(save, generation=manifest.generation, metrics=manifest.metrics)
    for (series, step, buried), at in known.marks.tombstones.items():
        if (series, step) == (save.series, save.step):
            tombstone = read_tombstone(manifests, series, step, buried)
            if has_save(tombstone.manifest, save, window):
                # The same save, and so no later than the prune, whatever the clocks say.
                return msgspec.structs.replace(save, generation=buried, saved_at=min(save.saved_at, at))
    return save


def _holds(parts: Parts, save: Save) -> bool:
    try:
        prove_committed(parts.cold.manifests, save)
    except IntegrityError as error:
        parts.emit(Note(text=f"{error}; sent again"))
        return False
    return True


def _look_again(parts: Parts, save: Save, error: SourceChangedError) -> Save:
    """The files are not what validation read: validate what is there now, or find it lost."""
    parts.emit(Changed(series=save.series, step=save.step, path=save.path, reason=str(error)))
    try:
        for file in save.files:
            locate(parts, file)
    except SourceChangedError:
        return save
    return parts.journal.put(msgspec.structs.replace(save, state=State.SAVED, reason="", retry_at=0.0))


def _stall(parts: Parts, save: Save, error: CkptTierError) -> Save:
    now = parts.clock.now()
    retry_at = now + STALLED_WAIT
    row = msgspec.structs.replace(save, state=State.STALLED, reason=str(error), retry_at=retry_at, changed_at=now)
    parts.emit(Stalled(series=save.series, step=save.step, reason=str(error), retry_at=format_time(retry_at)))
    return parts.journal.put(row)
