"""How torch.save writes tensors into a pickle: the storages it announces, and the functions that make views of them.

Shared by all that read such pickles without running them; a global is known to them by its name alone.
"""

import pickle
from collections.abc import Callable
from typing import Any

import msgspec

from ckpt_tier.formats.dtypes import DTYPE_OF_STORAGE

VIEWS = frozenset({"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"})
PARAMETERS = frozenset({"_rebuild_parameter", "_rebuild_parameter_with_state"})
FROM_TYPE = frozenset({"_rebuild_from_type_v2", "_rebuild_from_type"})
OPAQUE = frozenset({
    "_rebuild_sparse_tensor", "_rebuild_nested_tensor", "_rebuild_wrapper_subclass",
    "_rebuild_meta_tensor_no_storage", "_rebuild_device_tensor_from_numpy",
})  # fmt: skip
"""What makes tensors that are no plain view of one storage."""

_LARGEST = 2**63

Origin = Callable[[object], str]
"""The full name of a global that a pickle names ("torch.FloatStorage"); empty for anything else."""


class Storage(msgspec.Struct, frozen=True):
    """A storage as a pickle announces it: `count` elements of `dtype` (a name like "float32")."""

    key: str
    dtype: str
    count: int


class Tensor(msgspec.Struct, frozen=True):
    """A view of a storage; offset, shape and stride in elements of `dtype`."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def storage_of(pid: tuple[Any, ...], origin: Origin) -> Storage:
    """The storage that a persistent id ("storage", type, key, place, count) announces; raises UnpicklingError."""
    if len(pid) < 5 or not isinstance(pid[2], str) or not is_count(pid[4]):
        raise pickle.UnpicklingError("a storage is announced in no known form")
    dtype = DTYPE_OF_STORAGE.get(origin(pid[1]).rpartition(".")[2])
    if dtype is None:
        raise pickle.UnpicklingError(f"a storage has the unknown type {origin(pid[1]) or '?'}")
    return Storage(pid[2], dtype, pid[4])


def view_of(args: tuple[Any, ...], origin: Origin) -> Tensor | None:
    """What _rebuild_tensor(storage, offset, size, stride) makes, and _v2, _v3 and _qtensor, which begin alike; None
    where these are not plain numbers."""
    if len(args) < 4 or not isinstance(args[0], Storage):
        return None
    storage, offset, shape, stride = args[:4]
    named = origin(args[6]) if len(args) > 6 else ""
    dtype = named.rpartition(".")[2] if named.startswith("torch.") else storage.dtype
    numbers = isinstance(shape, tuple) and isinstance(stride, tuple) and len(shape) == len(stride)
    if not numbers or not all(map(is_count, (offset, *shape, *stride))):
        return None
    return Tensor(storage, dtype, offset, shape, stride)


def is_count(value: object) -> bool:
    """Whether it is a number that a size, offset or stride can be."""
    return type(value) is int and 0 <= value < _LARGEST
