"""Sending a validated save to the cold tier, and committing it: data, HEAD, manifest."""

import socket

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.manifest import FORMAT, Manifest, Member, place, sums
from ckpt_tier.cold.tombstones import pruned_at, was_saved_again
from ckpt_tier.core.events import Committed, Note
from ckpt_tier.core.nouns import generation_id
from ckpt_tier.core.states import State
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import ConflictError, SourceChangedError, UnavailableError
from ckpt_tier.flow.ingest import locate, software_versions
from ckpt_tier.flow.meter import Meter, Pace, file_meter
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.proof import prove_present
from ckpt_tier.journal.saves import Save
from ckpt_tier.store.protocol import Source

RATE_MEMORY = 0.7
"""Weight of the past in the running mean of the upload rate."""


class PrunedError(ConflictError):
    """The generation was pruned from the cold tier, at second `at` of the store's clock, since it was saved."""

    def __init__(self, save: Save, at: float) -> None:
        super().__init__(f"step {save.step} of series {save.series} was pruned from the cold tier", format_time(at))
        self.at = at


def upload(parts: Parts, save: Save, pace: Pace) -> Save:
    """Sends the save's bytes and their checksum list; the row ends as UPLOADED.

    Can be called again after any error, and after a kill: whole pieces that arrived are not sent again. Raises
    SourceChangedError when the file is not what validation read.
    """
    manifest = manifest_of(parts, save)
    [member] = manifest.members
    [file] = member.files
    pieces = save.pieces
    if pieces is None:
        raise SourceChangedError(f"{save.path} has not been validated")
    save = _note(parts, save, State.UPLOADING)
    begun = parts.clock.monotonic()
    source = Source(path=locate(parts, save), size=file.size, crc64nvme=file.crc64nvme, pieces=pieces)
    meter = file_meter(parts.emit, pace, series=save.series, step=save.step, path=save.path, size=file.size)
    parts.cold.store.upload(file.key, source, meter)
    prefix = keys.member_prefix(manifest.run, manifest.series, manifest.step, member.id)
    parts.cold.store.put(prefix + keys.sums_name(member.id), sums(member))
    _renew(parts, file.key, source, meter, just_put=prefix + keys.sums_name(member.id))
    _learn_rate(parts, meter.moved_bytes, parts.clock.monotonic() - begun)
    return _note(parts, save, State.UPLOADED)


def _renew(parts: Parts, key: str, source: Source, meter: Meter, *, just_put: str) -> None:
    """Writes an object anew that an earlier attempt had left there more than half the grace ago: nothing refers to it
    yet, and a prune that looks before our manifest is there would take it for rubbish (see `flow.sweep`).

    `just_put` is the key of an object that was written a moment ago: it tells the store's time.
    """
    store = parts.cold.store

    def is_old() -> bool:
        return store.stat(just_put).modified - store.stat(key).modified > parts.config.cold.grace / 2

    if is_old():
        store.refresh(key, source, meter)
        if is_old():
            raise UnavailableError(f"{key} could not be written anew", "a prune may be about to delete it")


def commit(parts: Parts, save: Save, begun: float) -> Save:
    """Proves the save's objects present, then puts its manifest, then resolves its ticket.

    A crash before the manifest leaves data that nothing refers to, and the row as it was: the next start proves them
    again. A crash after it leaves a row and ticket that the next start finds committed. `begun`: the monotonic
    second at which the delivery began. Raises PrunedError, and commits nothing, when the generation was pruned since
    the save: the caller's listing may be older than that.
    """
    manifest = manifest_of(parts, save)
    at = pruned_at(parts.cold.manifests, save.series, save.step, manifest.generation)
    if at is not None and not was_saved_again(save.saved_at, at):
        raise PrunedError(save, at)
    prove_present(parts.cold.store, manifest.files)
    new = parts.cold.manifests.commit(manifest)
    return note_committed(parts, save, elapsed=parts.clock.monotonic() - begun, adopted=not new)


def note_committed(parts: Parts, save: Save, *, elapsed: float = 0.0, adopted: bool = False) -> Save:
    """Notes that the cold tier holds the save."""
    row = _note(parts, save, State.COMMITTED)
    if save.ticket:
        # With a link the ticket goes after it: until then it says whose bytes the link has, journal or not.
        if not save.link:
            parts.inbox.resolve(save.ticket)
        parts.inbox.dismiss(save.ticket)
    parts.emit(
        Committed(
            series=save.series,
            step=save.step,
            generation=save.generation or "",
            size_bytes=save.size,
            elapsed_seconds=elapsed,
            adopted=adopted,
        )
    )
    return row


def note_pruned(parts: Parts, save: Save, reason: str) -> None:
    """Notes that nothing is left to do for a save whose generation was committed once and pruned since."""
    _note(parts, save, State.COMMITTED)
    if save.ticket and not save.link:
        parts.inbox.resolve(save.ticket)
    parts.emit(Note(text=f"step {save.step} of series {save.series} is not uploaded again: {reason}"))


def manifest_of(parts: Parts, save: Save) -> Manifest:
    """The manifest that commits a validated save. The same row always gives the same manifest."""
    if save.digest is None or save.findings is None:
        raise SourceChangedError(f"{save.path} has not been validated")
    run = parts.config.run
    identity, files = place(run, save.series, save.step, (save.digest,))
    return Manifest(
        format=FORMAT,
        run=run,
        run_id=parts.cold.run.id,
        series=save.series,
        step=save.step,
        saved_at=format_time(save.saved_at),
        generation=generation_id([identity]),
        save_id=save.save_id,
        layout=parts.config.hot.layout,
        members=(Member(id=identity, rank=None, host=socket.gethostname(), files=files, findings=save.findings),),
        metrics=save.metrics,
        versions=software_versions(),
    )


def _note(parts: Parts, save: Save, state: State) -> Save:
    return parts.journal.put(
        msgspec.structs.replace(save, state=state, reason="", retry_at=0.0, changed_at=parts.clock.now())
    )


def _learn_rate(parts: Parts, moved: int, seconds: float) -> None:
    if moved and seconds > 0:
        facts = parts.journal.facts
        rate = moved / seconds
        mean = facts.upload_bytes_per_second
        mean = rate if mean == 0 else RATE_MEMORY * mean + (1 - RATE_MEMORY) * rate
        parts.journal.learn(msgspec.structs.replace(facts, upload_bytes_per_second=mean))
