"""The one way in which JSON is written to the store, and the one way in which it is read.

Written canonically: sorted keys, no NaN, fields fixed by the format version. Read with suspicion: a cap on the size,
no duplicate keys, then conversion to the typed structure.
"""

import json
import math
from typing import TypeVar

import msgspec

from ckpt_tier.errors import IntegrityError

MAX_DOCUMENT_BYTES = 16 * 2**20
"""Room for a manifest of some 30,000 files; more than that is refused before it is parsed."""

T = TypeVar("T", bound=msgspec.Struct)


def encode(document: msgspec.Struct) -> bytes:
    """Canonical JSON: the same structure gives the same bytes. Raises ValueError on NaN or infinity."""
    tree = msgspec.to_builtins(document)
    _refuse_non_finite(tree)
    return msgspec.json.encode(tree, order="sorted") + b"\n"


def decode(data: bytes, kind: type[T], name: str) -> T:
    """The structure in `data`; raises IntegrityError naming `name` on anything but a well-formed one."""
    try:
        tree = json.loads(
            data, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant, parse_float=_finite
        )
        document = msgspec.convert(tree, kind)
        # What can't be written again (half a surrogate pair, a number beyond 64 bits) was not written by us.
        msgspec.json.encode(document)
    except (ValueError, OverflowError, RecursionError, msgspec.ValidationError) as error:
        raise IntegrityError(
            f"{name} can't be read", str(error), "it was not written by this program, or by a newer version of it"
        ) from error
    return document


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return tree


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is no number that JSON readers agree on")
    return number


def _refuse_non_finite(tree: object) -> None:
    if isinstance(tree, float) and not math.isfinite(tree):
        raise ValueError(f"{tree} can't be written as JSON")
    if isinstance(tree, dict):
        for value in tree.values():
            _refuse_non_finite(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            _refuse_non_finite(value)
