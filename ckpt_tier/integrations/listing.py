"""What `ls` and `info` of ``ckpt://`` tell, level by level."""

from __future__ import annotations

from typing import Any

import msgspec

from ckpt_tier.errors import NotFoundError
from ckpt_tier.inspection import Checkpoint
from ckpt_tier.integrations.configured import Configured, no_such_file
from ckpt_tier.integrations.places import Place
from ckpt_tier.integrations.tree import by_path
from ckpt_tier.tensors.sources import Source

Info = dict[str, Any]
"""One entry, as fsspec wants it."""


def entries(here: Configured, place: Place) -> list[Info]:
    """What is directly below the place; of a file the file itself. Raises NotFoundError, UnavailableError."""
    if place.run is None:
        return [_folder(Place(run=run)) for run in here.runs()]
    tree = here.tree(place.run)
    if place.series is None:
        return [_folder(msgspec.structs.replace(place, series=name)) for name in tree.series()]
    if not place.is_within_step:
        return [
            _folder(msgspec.structs.replace(place, step=step.number, generation=generation))
            for step in tree.steps(place.series)
            for generation in (None, *(step.generations if len(step.generations) > 1 else ()))
        ]
    return _below(tree.checkpoint(place), place)


def entry(here: Configured, place: Place) -> Info:
    """The place itself. Raises NotFoundError, UnavailableError."""
    if place.run is not None:
        tree = here.tree(place.run)
        if place.is_within_step:
            checkpoint = tree.checkpoint(place)
            source = by_path(checkpoint.files).get(place.path)
            if source is not None:
                return file_info(checkpoint, source, place)
            if place.path:
                _below(checkpoint, place)
        elif place.series is None:
            tree.series()
        elif place.series not in tree.series():
            tree.steps(place.series)
            raise NotFoundError(f"there is no series {place.series!r}")
    return _folder(place)


def _below(checkpoint: Checkpoint, place: Place) -> list[Info]:
    """The files and folders directly below a path of a checkpoint."""
    found: dict[str, Info] = {}
    prefix = f"{place.path}/" if place.path else ""
    for path, source in by_path(checkpoint.files).items():
        if path == place.path:
            return [file_info(checkpoint, source, place)]
        if path.startswith(prefix):
            name, is_deeper, _ = path.removeprefix(prefix).partition("/")
            there = msgspec.structs.replace(place, path=prefix + name)
            found[name] = _folder(there) if is_deeper else file_info(checkpoint, source, there)
    if not found:
        raise no_such_file(checkpoint, place)
    return [found[name] for name in sorted(found)]


def _folder(place: Place) -> Info:
    return {"name": str(place), "size": 0, "type": "directory"}


def file_info(checkpoint: Checkpoint, source: Source, place: Place) -> Info:
    digest = source.digest
    return {
        "name": str(place),
        "size": source.size,
        "type": "file",
        "tier": checkpoint.where,
        "series": checkpoint.series,
        "step": checkpoint.step,
        "generation": checkpoint.generation,
        "saved_at": checkpoint.saved_at,
        "rank": source.rank,
        "sha256": digest.sha256 if digest else None,
        "mtime": digest.mtime_ns / 1e9 if digest else None,
    }
