"""What `load_tensor` asks: one tensor of one checkpoint, by ranges, from the tier that has it nearest."""

from __future__ import annotations

import difflib
import itertools
from typing import TYPE_CHECKING

from ckpt_tier.errors import NotFoundError, SourceChangedError, UsageError
from ckpt_tier.inspection import Checkpoint, Inspection
from ckpt_tier.tensors.catalogue import catalogue
from ckpt_tier.tensors.content import read_tensor
from ckpt_tier.tensors.nouns import Catalogue
from ckpt_tier.tensors.tree import printable
from ckpt_tier.wiring import Wiring

if TYPE_CHECKING:
    import torch

    from ckpt_tier.tensors.sources import Source

_COMPARED = 20_000
"""Names that a name that is not there is compared with: some tenths of a second."""


def load_tensor(
    wiring: Wiring,
    step: int | None,
    name: str,
    *,
    series: str | None = None,
    generation: str | None = None,
    rank: int | None = None,
) -> torch.Tensor:
    """The tensor, on the CPU. See `ckpt_tier.Tier.load_tensor`."""
    inspection = Inspection(wiring)

    def load() -> torch.Tensor:
        return _read(inspection.checkpoint(step, series=series, generation=generation, rank=rank), name)

    try:
        return load()
    except (SourceChangedError, FileNotFoundError):  # the hot copy went, or became another one, amid the reading
        return load()


def _read(checkpoint: Checkpoint, name: str) -> torch.Tensor:
    held: list[tuple[Source, Catalogue]] = []
    for file in checkpoint.files:
        with file.open() as reader:
            held.append((file, catalogue(reader, file.path)))
    holders = [(file, found) for file, found in held if name in found.by_name]
    if not holders:
        raise _no_such_tensor(checkpoint, name, [found for _, found in held])
    if len(holders) > 1:
        raise _several(checkpoint, name, [file for file, _ in holders])
    [(file, found)] = holders
    with file.open() as reader:
        return read_tensor(reader, found, found.by_name[name]).tensor


def _no_such_tensor(checkpoint: Checkpoint, name: str, held: list[Catalogue]) -> NotFoundError:
    values = {entry.name: entry for found in held for entry in found.entries}
    names = list(itertools.islice((tensor.name for found in held for tensor in found.tensors), _COMPARED))
    near = difflib.get_close_matches(name, names, 3)
    if name in values:
        why = f"that is a value, of type {printable(values[name].type)}, and no tensor"
    elif near:
        why = f"the nearest names are {', '.join(near)}"
    elif names:
        why = f"it has {len(names):,} tensors with other names"
    else:
        why = "none of its files is of a format that tensors can be read from"
    return NotFoundError(
        f"there is no tensor {name!r} in step {checkpoint.step}",
        why,
        f"`ckpt-tier inspect --step {checkpoint.step} --all` lists them",
    )


def _several(checkpoint: Checkpoint, name: str, files: list[Source]) -> UsageError:
    what = f"{len(files)} files of step {checkpoint.step} have a tensor {name!r}"
    ranks = [str(file.rank) for file in files if file.rank is not None]
    if len(ranks) == len(files) == len(set(ranks)):
        return UsageError(what, f"they are of the ranks {', '.join(ranks)}", f"name one of them: rank={ranks[0]}")
    return UsageError(
        what,
        f"they are {', '.join(file.path for file in files)}",
        "open the one you mean through ckpt://RUN/SERIES/STEP/path",
    )
