"""Sending a validated save to the cold tier, and committing it: data, proof that it is there, manifest."""

import socket

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.manifest import FORMAT, Manifest, Member, place, sums
from ckpt_tier.cold.receipts import Receipt, manifest_of_set
from ckpt_tier.cold.tombstones import pruned_at, was_saved_again
from ckpt_tier.core.events import Committed, Note, Warned
from ckpt_tier.core.nouns import generation_id
from ckpt_tier.core.sets import Waiting, set_of, waiting_for
from ckpt_tier.core.states import State
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import ConflictError, SourceChangedError, UnavailableError
from ckpt_tier.flow.ingest import locate, software_versions
from ckpt_tier.flow.line import JOBS
from ckpt_tier.flow.meter import Meter, Pace, file_meter
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.proof import manifest_with, prove_arrived
from ckpt_tier.journal.saves import Save
from ckpt_tier.store.protocol import Source
from ckpt_tier.system.streams import at_once

RATE_MEMORY = 0.7
"""Weight of the past in the running mean of the upload rate."""


class PrunedError(ConflictError):
    """The generation was pruned from the cold tier, at second `at` of the store's clock, since it was saved."""

    def __init__(self, manifest: Manifest, at: float) -> None:
        super().__init__(f"step {manifest.step} of series {manifest.series} was pruned", format_time(at))
        self.generation = manifest.generation
        self.at = at


def upload(parts: Parts, save: Save, pace: Pace) -> Save:
    """Sends the save's bytes, their checksum list and, for a share, its receipt; the row ends as UPLOADED.

    Can be called again after any error, and after a kill: whole pieces that arrived are not sent again. Raises
    SourceChangedError when a file is not what validation read, ConflictError when the save id has brought other files.
    """
    member = member_of(parts, save)
    if save.is_share:
        save = msgspec.structs.replace(save, generation=None)  # its set says which, once it is whole
    save = _note(parts, save, State.UPLOADING)
    begun = parts.clock.monotonic()
    sent = _send(parts, save, member, pace)
    sums_key = _prefix(parts, save, member) + keys.sums_name(member.id)
    parts.cold.store.put(sums_key, sums(member))
    took_long = parts.clock.monotonic() - begun > parts.config.cold.grace / 2
    for each in sent:
        if took_long or each.meter.found_some:
            _renew(parts, each, just_put=sums_key)
    moved = sum(each.meter.moved_bytes for each in sent)
    _learn_rate(parts, moved, parts.clock.monotonic() - begun)
    if save.is_share:
        prove_arrived(parts.cold.store, _prefix(parts, save, member), member.files)
        parts.cold.receipts.post(receipt_of(parts, save, member))
    return _note(parts, save, State.UPLOADED)


class _Sent(msgspec.Struct, frozen=True):
    """One file on its way, or there."""

    key: str
    source: Source
    meter: Meter


def _send(parts: Parts, save: Save, member: Member, pace: Pace) -> list[_Sent]:
    """Sends the files: those of one piece a few at a time, a larger one alone, since its pieces fill the line."""
    files = []
    for saved, file in zip(save.files, member.files, strict=True):
        if saved.pieces is None:
            raise SourceChangedError(f"{saved.path} has not been validated")
        source = Source(path=locate(parts, saved), size=file.size, crc64nvme=file.crc64nvme, pieces=saved.pieces)
        meter = file_meter(parts.emit, pace, series=save.series, step=save.step, path=saved.path, size=file.size)
        files.append(_Sent(file.key, source, meter))

    def send(each: _Sent) -> None:
        parts.cold.store.upload(each.key, each.source, each.meter)

    at_once(send, [each for each in files if len(each.source.pieces.crcs) == 1], JOBS)
    for each in files:
        if len(each.source.pieces.crcs) > 1:
            send(each)
    return files


def _renew(parts: Parts, sent: _Sent, *, just_put: str) -> None:
    """Writes an object anew that an earlier attempt had left there more than half the grace ago: nothing refers to it
    yet, and a prune that looks before our manifest is there would take it for rubbish (see `flow.reclaim`).

    `just_put` is the key of an object that was written a moment ago: it tells the store's time.
    """
    store = parts.cold.store

    def is_old() -> bool:
        return store.stat(just_put).modified - store.stat(sent.key).modified > parts.config.cold.grace / 2

    if is_old():
        store.refresh(sent.key, sent.source, sent.meter)
        if is_old():
            raise UnavailableError(f"{sent.key} could not be written anew", "a prune may be about to delete it")


def commit(parts: Parts, save: Save, begun: float) -> Save:
    """Proves the checkpoint's objects present, then puts its manifest, then resolves the save's ticket.

    To be called when `upload` has just returned `save`, or for a share that it has returned at any time.

    A crash before the manifest leaves data that nothing refers to, and the row as it was: the next start proves them
    again. A crash after it leaves a row and ticket that the next start finds committed. `begun`: the monotonic
    second at which the delivery began. Raises PrunedError, and commits nothing, when the generation was pruned since
    the save: the caller's listing may be older than that.

    A share whose set is not whole stays UPLOADED, with the reason in its row.
    """
    if save.is_share:
        return _commit_share(parts, save, begun)
    manifest = manifest_of(parts, save)
    _refuse_pruned(parts, manifest)
    for member in manifest.members:
        prove_arrived(parts.cold.store, _prefix(parts, save, member), member.files)
    new = parts.cold.manifests.commit(manifest)
    return note_committed(parts, save, elapsed=parts.clock.monotonic() - begun, adopted=not new)


def _refuse_pruned(parts: Parts, manifest: Manifest) -> None:
    at = pruned_at(parts.cold.manifests, manifest.series, manifest.step, manifest.generation)
    if at is not None and not was_saved_again(manifest.saved, at):
        raise PrunedError(manifest, at)


def _commit_share(parts: Parts, save: Save, begun: float) -> Save:
    there = manifest_with(parts.cold.manifests, save, parts.config.hot.set_window)
    if there is not None:  # another rank was the last, and has committed it
        return note_committed(parts, msgspec.structs.replace(save, generation=there.generation), adopted=True)
    manifest = _whole(parts, save)
    if isinstance(manifest, Waiting):
        return _wait(parts, save, manifest)
    _refuse_pruned(parts, manifest)
    # A share is proven by whoever posts its receipt.
    prove_arrived(parts.cold.store, keys.step_prefix(parts.config.run, save.series, save.step), manifest.files)
    new = parts.cold.manifests.commit(manifest)
    members = {member.id for member in manifest.members}
    for other in parts.journal.saves():
        place = (other.series, other.step, other.state)
        if place == (save.series, save.step, State.UPLOADED) and other.member in members and other.id != save.id:
            note_committed(parts, msgspec.structs.replace(other, generation=manifest.generation), adopted=True)
    row = msgspec.structs.replace(save, generation=manifest.generation)
    return note_committed(parts, row, elapsed=parts.clock.monotonic() - begun, adopted=not new)


def note_committed(parts: Parts, save: Save, *, elapsed: float = 0.0, adopted: bool = False) -> Save:
    """Notes that the cold tier holds the save."""
    row = _note(parts, save, State.COMMITTED)
    if save.ticket:
        # With a link the ticket goes after it: until then it says whose bytes the link has, journal or not.
        if not save.links:
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
    if save.ticket and not save.links:
        parts.inbox.resolve(save.ticket)
    parts.emit(Note(text=f"step {save.step} of series {save.series} is not uploaded again: {reason}"))


def _whole(parts: Parts, save: Save) -> Manifest | Waiting:
    """The manifest of the set that a share belongs to, from its receipts alone."""
    names = parts.cold.receipts.names(save.series, save.step)
    if save.save_id is not None and save.world_size is not None:
        # One of many ranks is asked so after each of them: the others' receipts are read when all are there.
        there = keys.named_ranks(names, save.save_id, save.world_size)
        missing = [rank for rank in range(save.world_size) if rank not in there]
        if missing and save.rank in there:
            return waiting_for(missing, save.world_size)
    receipts, damaged = parts.cold.receipts.read(names)
    mine = next((each for each in receipts if (each.rank, each.member_id) == (save.rank, save.member)), None)
    for error in damaged:
        parts.emit(Warned(text=str(error), fix=error.fix))
    if mine is None:
        raise UnavailableError("the receipt that was just posted is not listed", "", "it is asked for again")
    found = set_of(mine, receipts, window=parts.config.hot.set_window, now=parts.clock.now())
    return found if isinstance(found, Waiting) else manifest_of_set(found)


def _wait(parts: Parts, save: Save, waiting: Waiting) -> Save:
    # The delivery of the last share may have committed the set since its receipts were read, and noted it in this row.
    if save.reason == waiting.why:
        return parts.journal.get(save.id) or save
    return parts.journal.amend(
        save, reason=waiting.why, overtaken=save.overtaken or waiting.ambiguous, changed_at=parts.clock.now()
    )


def _prefix(parts: Parts, save: Save, member: Member) -> str:
    return keys.member_prefix(parts.config.run, save.series, save.step, member.id)


def member_of(parts: Parts, save: Save) -> Member:
    """What the save contributes to its checkpoint."""
    if save.digests is None or save.findings is None:
        raise SourceChangedError(f"{save.path} has not been validated")
    identity, files = place(parts.config.run, save.series, save.step, save.digests)
    return Member(id=identity, rank=save.rank, host=socket.gethostname(), files=files, findings=save.findings)


def receipt_of(parts: Parts, save: Save, member: Member) -> Receipt:
    """A share's proof of upload. The same row always gives the same receipt."""
    if save.rank is None or save.world_size is None:
        raise SourceChangedError(f"{save.path} is no share of a known number of ranks")
    return Receipt(
        format=FORMAT,
        run=parts.config.run,
        run_id=parts.cold.run.id,
        series=save.series,
        step=save.step,
        rank=save.rank,
        world_size=save.world_size,
        save_id=save.save_id,
        saved_at=format_time(save.saved_at),
        during=save.during,
        layout=parts.config.hot.layout,
        member=member,
        metrics=save.metrics,
        versions=software_versions(),
    )


def manifest_of(parts: Parts, save: Save) -> Manifest:
    """The manifest that commits a validated save of one member. The same row always gives the same manifest."""
    member = member_of(parts, save)
    return Manifest(
        format=FORMAT,
        run=parts.config.run,
        run_id=parts.cold.run.id,
        series=save.series,
        step=save.step,
        saved_at=format_time(save.saved_at),
        generation=generation_id([member.id]),
        save_id=save.save_id,
        layout=parts.config.hot.layout,
        members=(member,),
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
