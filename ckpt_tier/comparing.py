"""What `diff` asks: two checkpoints compared by tensor, with as few bytes read as that takes. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ckpt_tier.errors import NotFoundError
from ckpt_tier.inspection import Checkpoint
from ckpt_tier.tensors.catalogue import catalogue
from ckpt_tier.tensors.compared import ComparedSide, Comparison
from ckpt_tier.tensors.difference import Known, Side, foreseen, measured
from ckpt_tier.tensors.lanes import Lanes, in_lanes
from ckpt_tier.tensors.matching import Matching, file_names, match, match_files
from ckpt_tier.tensors.nouns import Catalogue, Tensor
from ckpt_tier.tensors.sources import Source, remembering
from ckpt_tier.tensors.summary import Heads, summed_up

_BATCH = 2**23
"""Bytes of tensors that one thread takes at a time: small neighbours come in one request."""
_PIECE = 2**20
_MOST_REMEMBERED = 64
"""Files of a checkpoint whose heads are kept while it is compared: some 256 KiB each."""


class _Views(msgspec.Struct, frozen=True):
    """Two tensors to be read. Those of other names that are the very same views are read with them."""

    files: tuple[int, int]
    before: Side
    after: Side

    @property
    def identity(self) -> tuple[object, ...]:
        return (*self.files, *(_view(side.tensor) for side in (self.before, self.after)))

    @property
    def place(self) -> tuple[int, int, int]:
        storage = self.before.storage
        return (*self.files, 0 if storage is None else storage.offset + self.before.tensor.begin_bytes)


def compare(before: Checkpoint, after: Checkpoint, *, pattern: str | None = None, read: bool = False) -> Comparison:
    """What differs between the two; with `pattern`, of the names that this glob matches.

    A tensor whose checksum is the same on both sides is not read, unless `read` asks for it.

    Raises IntegrityError, UnavailableError, SourceChangedError, ConfigError (the installed torch lacks a dtype), and
    NotFoundError where `pattern` matches nothing.
    """
    before, after = _remembering(before), _remembering(after)
    with in_lanes() as lanes:
        heads = _heads(before, after, lanes)
        if pattern is not None:
            heads = _matching(heads, pattern)
        tensors = match([held.by_name for held in heads.before], [held.by_name for held in heads.after], heads.pairs)
        known = _known(heads, tensors, (before, after), lanes, read=read)
        opaque = [] if pattern is not None else [pair for pair in heads.opaque if read or pair not in heads.same]
        same = lanes.each(lambda pair: _same_bytes(before.files[pair[0]], after.files[pair[1]], lanes), opaque)
    values = match(
        [{value.name: value for value in held.entries} for held in heads.before],
        [{value.name: value for value in held.entries} for held in heads.after],
        heads.pairs,
    )
    differing = [pair for pair, is_same in zip(opaque, same, strict=True) if not is_same]
    return summed_up(heads, tensors, known, values, differing, (_side(before), _side(after)))


def _remembering(of: Checkpoint) -> Checkpoint:
    if len(of.files) > _MOST_REMEMBERED:
        return of
    return msgspec.structs.replace(of, files=tuple(remembering(file) for file in of.files))


def _heads(before: Checkpoint, after: Checkpoint, lanes: Lanes) -> Heads:
    names = [file_names([file.path for file in each.files], each.step, each.layout) for each in (before, after)]
    pairs = match_files(*names)
    same = frozenset((i, j) for i, j in pairs if _same_content(before.files[i], after.files[j]))
    twin = {j: i for i, j in same}
    first = lanes.each(_catalogue, before.files)
    others = [number for number in range(len(after.files)) if number not in twin]
    read = dict(zip(others, lanes.each(lambda number: _catalogue(after.files[number]), others), strict=True))
    second = [
        read[number] if number in read else msgspec.structs.replace(first[twin[number]], path=file.path)
        for number, file in enumerate(after.files)
    ]
    return Heads(before=tuple(first), after=tuple(second), pairs=tuple(pairs), same=same)


def _catalogue(file: Source) -> Catalogue:
    with file.open() as reader:
        return catalogue(reader, file.path)


def _same_content(one: Source, other: Source) -> bool:
    return one.sha256 is not None and (one.sha256, one.size) == (other.sha256, other.size)


def _matching(heads: Heads, pattern: str) -> Heads:
    before, after = (tuple(held.matching(pattern) for held in side) for side in (heads.before, heads.after))
    if not any(held.tensors or held.entries for held in (*before, *after)):
        raise NotFoundError(
            f"no name in either checkpoint matches {pattern!r}", fix="see the names with `ckpt-tier inspect --all`"
        )
    return msgspec.structs.replace(heads, before=before, after=after)


def _known(
    heads: Heads, tensors: Matching[Tensor], sides: tuple[Checkpoint, Checkpoint], lanes: Lanes, *, read: bool
) -> list[Known]:
    """What can be said of each pair of tensors, after as much reading as that takes."""
    views = [
        _Views((was.file, now.file), Side(heads.before[was.file], was.thing), Side(heads.after[now.file], now.thing))
        for was, now in tensors.both
    ]
    known = [foreseen(each.before, each.after, same_file=each.files in heads.same, read=read) for each in views]
    unknown = {each.identity: each for each, result in zip(views, known, strict=True) if result is None}
    if not unknown:
        return [result for result in known if result is not None]
    import torch  # noqa: F401  (once, here, and not in several threads at a time)

    batches = list(_batches(sorted(unknown.values(), key=lambda each: each.place)))
    told = [result for found in lanes.each(lambda batch: _read(batch, sides, lanes), batches) for result in found]
    by_view = dict(zip((each.identity for batch in batches for each in batch), told, strict=True))
    return [result or by_view[each.identity] for each, result in zip(views, known, strict=True)]


def _batches(views: Sequence[_Views]) -> Iterator[list[_Views]]:
    batch: list[_Views] = []
    size = 0
    for each in views:
        if batch and (each.files != batch[0].files or size >= _BATCH):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += each.before.tensor.size_bytes
    yield batch


def _read(batch: Sequence[_Views], sides: tuple[Checkpoint, Checkpoint], lanes: Lanes) -> list[Known]:
    first, second = batch[0].files
    with sides[0].files[first].open() as old, sides[1].files[second].open() as new:
        return [measured(each.before, lanes.stoppable(old), each.after, lanes.stoppable(new)) for each in batch]


def _same_bytes(one: Source, other: Source, lanes: Lanes) -> bool:
    if one.size != other.size:
        return False
    with one.open() as old, other.open() as new:
        first, second = lanes.stoppable(old), lanes.stoppable(new)
        return all(
            first.read_at(start, length) == second.read_at(start, length)
            for start in range(0, one.size, _PIECE)
            if (length := min(_PIECE, one.size - start))
        )


def _view(tensor: Tensor) -> tuple[object, ...]:
    return tensor.storage, tensor.dtype, tensor.shape, tensor.stride, tensor.begin_bytes


def _side(of: Checkpoint) -> ComparedSide:
    return ComparedSide(
        where=of.where,
        place=of.place,
        series=of.series,
        step=of.step,
        generation=of.generation,
        saved_at=of.saved_at,
        files=len(of.files),
        size_bytes=sum(file.size for file in of.files),
        requests=of.cost.requests,
        read_bytes=of.cost.read_bytes,
        notes=of.notes,
    )
