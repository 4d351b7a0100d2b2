"""An unpickler that builds nothing: every global is a stub, and what calls them does nothing.

It follows whatever normal training states hold (optimizers, RNG states, NumPy, Namespace, Path, dataclasses, enums)
and notes the storages and tensors as it meets them. No code named in a pickle is looked up, imported or run. Memory
is the one thing a hostile pickle can still ask for: run it where memory is limited (`formats.deep_child`).
"""

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import IO, Any, ClassVar

import msgspec

from ckpt_tier.formats.dtypes import DTYPE_OF_STORAGE

MALFORMED = (
    pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError,
    OverflowError, RecursionError,
)  # fmt: skip
"""What unpickling raises on bytes that are no pickle; MemoryError is apart."""

_LARGEST = 2**63


class Stub:
    """Stands for any object. Takes every call, state and item that a pickle may give it, and keeps nothing."""

    __slots__ = ()
    origin: ClassVar[str] = ""

    def __new__(cls, *args: object, **kwargs: object) -> "Stub":
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> "Stub":
        return Stub()

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """For list subclasses."""

    def extend(self, items: object) -> None:
        """For list subclasses."""

    def add(self, item: object) -> None:
        """For set subclasses."""


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


class Inventory:
    """What was met while unpickling."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self.tensors: list[Tensor] = []
        self.opaque_tensors = 0
        """Tensors whose storage, shape or stride is not plain numbers (sparse, meta, wrapper subclasses)."""
        self.globals: set[str] = set()


class InertUnpickler(pickle.Unpickler):
    """Reads one pickle from `file` into `inventory`; `load` raises one of MALFORMED, or MemoryError."""

    def __init__(self, file: IO[bytes], inventory: Inventory) -> None:
        # Latin-1 takes every byte of the str objects of Python 2.
        super().__init__(file, encoding="latin1")
        self._inventory = inventory
        self._stubs: dict[str, type[Stub]] = {}

    def find_class(self, module: str, name: str) -> Any:
        module, name = _modern(module, name)
        origin = f"{module}.{name}"
        if origin not in self._stubs:
            self._inventory.globals.add(origin)
            self._stubs[origin] = self._stub_for(origin)
        return self._stubs[origin]

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or not pid:
            return Stub()
        kind = pid[0].decode("ascii", "replace") if isinstance(pid[0], bytes) else pid[0]
        if kind == "module" and len(pid) > 1:
            return pid[1]
        if kind != "storage":
            return Stub()
        if len(pid) < 5 or not isinstance(pid[2], str) or not _is_count(pid[4]):
            raise pickle.UnpicklingError("a storage is announced in no known form")
        dtype = DTYPE_OF_STORAGE.get(_last_name(pid[1]))
        if dtype is None:
            raise pickle.UnpicklingError(f"a storage has the unknown type {_origin(pid[1]) or '?'}")
        storage = Storage(pid[2], dtype, pid[4])
        if self._inventory.storages.setdefault(storage.key, storage) != storage:
            raise pickle.UnpicklingError(f"storage {storage.key} is announced twice, and differently")
        return storage

    def _stub_for(self, origin: str) -> type[Stub]:
        if origin in _GIVE_CLASSES or origin.startswith(("cloudpickle.cloudpickle._make_skel", "builtins.type")):
            return _calling(origin, lambda *args: Stub)
        module, _, name = origin.rpartition(".")
        if not module.startswith("torch"):
            return type("Stub", (Stub,), {"origin": origin, "__slots__": ()})
        if name in _VIEWS:
            return _calling(origin, self._view)
        if name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return _calling(origin, lambda *args: args[0])
        if name in ("_rebuild_from_type_v2", "_rebuild_from_type"):
            return _calling(origin, _from_type)
        if name in _OPAQUE:
            return _calling(origin, self._opaque)
        return type("Stub", (Stub,), {"origin": origin, "__slots__": ()})

    def _view(self, *args: Any) -> Any:
        """_rebuild_tensor(storage, offset, size, stride), and _v2, _v3 and _qtensor, which begin alike."""
        tensor = _tensor(*args)
        if tensor is None:
            return self._opaque()
        self._inventory.tensors.append(tensor)
        return Stub()

    def _opaque(self, *args: object) -> Any:
        self._inventory.opaque_tensors += 1
        return Stub()


_VIEWS = frozenset({"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"})
_OPAQUE = frozenset({
    "_rebuild_sparse_tensor", "_rebuild_nested_tensor", "_rebuild_wrapper_subclass",
    "_rebuild_meta_tensor_no_storage", "_rebuild_device_tensor_from_numpy",
})  # fmt: skip
_GIVE_CLASSES = frozenset({"builtins.getattr"})
"""Nested classes are pickled as getattr(Outer, "Inner") below protocol 4, and then instantiated."""


def _tensor(*args: Any) -> Tensor | None:
    if len(args) < 4 or not isinstance(args[0], Storage):
        return None
    storage, offset, shape, stride = args[:4]
    dtype = _last_name(args[6]) if len(args) > 6 and _origin(args[6]).startswith("torch.") else storage.dtype
    numbers = isinstance(shape, tuple) and isinstance(stride, tuple) and len(shape) == len(stride)
    if not numbers or not all(map(_is_count, (offset, *shape, *stride))):
        return None
    return Tensor(storage, dtype, offset, shape, stride)


def _from_type(function: Any, kind: object, args: Any, *state: object) -> Any:
    if isinstance(function, type) and issubclass(function, Stub) and isinstance(args, tuple):
        return function(*args)
    return Stub()


def _calling(origin: str, function: Callable[..., Any]) -> type[Stub]:
    """A stub class that a call turns into whatever `function` gives."""
    return type("Stub", (Stub,), {
        "origin": origin,
        "__slots__": (),
        "__new__": lambda cls, *args, **kwargs: function(*args),
    })  # fmt: skip


def _modern(module: str, name: str) -> tuple[str, str]:
    """Python 3's name of a global that a pickle of protocol 2 calls by its name in Python 2."""
    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[module, name]
    return IMPORT_MAPPING.get(module, module), name


def _origin(value: object) -> str:
    if isinstance(value, type) and issubclass(value, Stub):
        return value.origin
    return ""


def _last_name(value: object) -> str:
    return _origin(value).rpartition(".")[2]


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _LARGEST
