"""Tensors summed up by the beginnings of their names, so that a large model fits a screen."""

from collections.abc import Sequence

import msgspec

from ckpt_tier.tensors.nouns import Catalogue, Tensor

MOST_GROUPS = 20


class Group(msgspec.Struct, frozen=True):
    """Some tensors. `size_bytes` is of their storages in the file, each counted once; the dtypes are sorted."""

    name: str
    count: int
    size_bytes: int
    dtypes: tuple[str, ...]


def groups(catalogue: Catalogue) -> list[Group]:
    """By as many levels of the names as give at most `MOST_GROUPS`, at least one."""
    deepest = max((tensor.name.count(".") for tensor in catalogue.tensors), default=0)
    best = _by_beginning(catalogue.tensors, 1)
    for depth in range(2, deepest + 1):
        finer = _by_beginning(catalogue.tensors, depth)
        if len(finer) > MOST_GROUPS:
            break
        best = finer
    return [_group(name, members, catalogue) for name, members in best.items()]


def size_in_file(tensors: Sequence[Tensor], catalogue: Catalogue) -> int:
    """Bytes of the storages of these tensors, each once."""
    keys = {tensor.storage for tensor in tensors if tensor.storage is not None}
    return sum(catalogue.storages[key].size_bytes for key in keys)


def _by_beginning(tensors: Sequence[Tensor], depth: int) -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        levels = tensor.name.split(".")
        found.setdefault(".".join(levels[: min(depth, max(1, len(levels) - 1))]), []).append(tensor)
    return found


def _group(name: str, members: list[Tensor], catalogue: Catalogue) -> Group:
    dtypes = tuple(sorted({tensor.dtype for tensor in members}))
    return Group(name, len(members), size_in_file(members, catalogue), dtypes)
