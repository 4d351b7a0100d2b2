"""What a few globs choose from one file, in figures: its tensors, and its plain numbers."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate

import msgspec

from ckpt_tier.errors import IntegrityError, UsageError
from ckpt_tier.formats.check import Rejected
from ckpt_tier.tensors.alike import Alike
from ckpt_tier.tensors.catalogue import catalogue
from ckpt_tier.tensors.content import BLOCK
from ckpt_tier.tensors.nouns import Catalogue, Tensor
from ckpt_tier.tensors.ranges import Ranges
from ckpt_tier.tensors.statistics import Figures, figures, of_number
from ckpt_tier.tensors.tree import Entry

MOST_CHOSEN = 2000
"""Names of one file; more than anybody looks at."""
_GAP = 32 * 2**10
"""Bytes between two records that are read along, rather than asked for in two requests."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """One name. `dtype` is "int" or "float" of a plain number; `problem` and `exit_code` say why it has no figures."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    figures: Figures | None = None
    problem: str = ""
    exit_code: int = 0


def choose(reader: Ranges, path: str, patterns: Sequence[str], alike: Alike) -> tuple[tuple[Chosen, ...], Catalogue]:
    """What of the file matches one of the globs, in its order, and the catalogue that it was taken from.

    A tensor that is damaged, or can't be read by itself, is among them with its problem. Raises IntegrityError where
    the file can't be listed, UsageError where more than `MOST_CHOSEN` match, and what reading raises.
    """
    alike.prepare(reader, path)
    held = catalogue(reader, path, alike)
    alike.learn(held)
    matches = _matcher(tuple(patterns))
    tensors = [tensor for tensor in held.tensors if matches(tensor.name)]
    wanted = [entry for entry in held.entries if matches(entry.name)]
    numbers = [(entry, value) for entry in wanted if (value := _number(entry)) is not None]
    if len(tensors) + len(numbers) > MOST_CHOSEN:
        raise UsageError(
            f"{len(tensors) + len(numbers):,} names match", f"at most {MOST_CHOSEN:,} are tracked", "narrow the pattern"
        )
    reader.ahead = 0
    found = {tensor.name: _of_tensor(reader, held, tensor) for tensor in _in_few_reads(reader, held, tensors)}
    found |= {
        entry.name: Chosen(name=entry.name, dtype=entry.type, figures=of_number(value, verified=held.is_proven))
        for entry, value in numbers
    }
    ordered = [*(tensor.name for tensor in tensors), *(entry.name for entry, _ in numbers)]
    return tuple(found[name] for name in ordered), held


@functools.lru_cache(maxsize=8)
def _matcher(patterns: tuple[str, ...]) -> Callable[[str], object]:
    """What tells whether a name matches one of the globs: one expression for all, since it is asked of every name of
    every file."""
    return re.compile("|".join(map(translate, patterns))).match


def _number(entry: Entry) -> float | None:
    if entry.type in ("int", "float") or entry.type.endswith("multiarray.scalar"):
        with contextlib.suppress(ValueError):
            return float(entry.value)
    return None


def _of_tensor(reader: Ranges, held: Catalogue, tensor: Tensor) -> Chosen:
    try:
        seen, problem, code = figures(reader, held, tensor), "", 0
    except IntegrityError as error:
        seen, problem, code = None, str(error), error.exit_code
    except UsageError as error:
        # Nobody's mistake where a glob has met it: it is told, and no failure.
        seen, problem, code = None, str(error), 0
    return Chosen(
        name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, figures=seen, problem=problem, exit_code=code
    )


def _in_few_reads(reader: Ranges, held: Catalogue, tensors: Sequence[Tensor]) -> Iterable[Tensor]:
    """The tensors by their places in the file; small records beside each other are read at once before."""
    placed = sorted((_place(held, tensor), tensor.name) for tensor in tensors)
    by_name = {tensor.name: tensor for tensor in tensors}
    read_to = 0
    for number, ((begin, end), name) in enumerate(placed):
        reach = end
        for (following, its_end), _ in placed[number + 1 :]:
            if following - reach > _GAP or its_end - begin > BLOCK:
                break
            reach = max(reach, its_end)
        if reach > max(end, read_to) and begin >= read_to and reach - begin <= BLOCK:
            with contextlib.suppress(Rejected):  # told when the tensor itself is read
                reader.read_at(begin, reach - begin)
            read_to = reach
        yield by_name[name]


def _place(held: Catalogue, tensor: Tensor) -> tuple[int, int]:
    """Where the file holds its storage or, outside of records, its own bytes."""
    storage = held.storages.get(tensor.storage or "")
    if storage is None:
        return 0, 0
    if storage.in_record:
        return storage.offset, storage.limit
    return storage.offset + tensor.begin_bytes, storage.offset + tensor.end_bytes
