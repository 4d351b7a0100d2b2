"""An unpickler that builds nothing: every global is a stub, and what calls them does nothing.

It follows whatever normal training states hold (optimizers, RNG states, NumPy, Namespace, Path, dataclasses, enums)
and notes the storages and tensors as it meets them. No code named in a pickle is looked up, imported or run. Memory
is the one thing a hostile pickle can still ask for: run it where memory is limited (`formats.deep_child`).
"""

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import IO, Any, ClassVar

from ckpt_tier.formats.rebuild import FROM_TYPE, OPAQUE, PARAMETERS, VIEWS, Storage, Tensor, storage_of, view_of

MALFORMED = (
    pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError,
    OverflowError, RecursionError,
)  # fmt: skip
"""What unpickling raises on bytes that are no pickle; MemoryError is apart."""


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
        module, name = modern_name(module, name)
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
        storage = storage_of(pid, _origin)
        if self._inventory.storages.setdefault(storage.key, storage) != storage:
            raise pickle.UnpicklingError(f"storage {storage.key} is announced twice, and differently")
        return storage

    def _stub_for(self, origin: str) -> type[Stub]:
        if origin in _GIVE_CLASSES or origin.startswith(("cloudpickle.cloudpickle._make_skel", "builtins.type")):
            return _calling(origin, lambda *args: Stub)
        module, _, name = origin.rpartition(".")
        if not module.startswith("torch"):
            return type("Stub", (Stub,), {"origin": origin, "__slots__": ()})
        if name in VIEWS:
            return _calling(origin, self._view)
        if name in PARAMETERS:
            return _calling(origin, lambda *args: args[0])
        if name in FROM_TYPE:
            return _calling(origin, _from_type)
        if name in OPAQUE:
            return _calling(origin, self._opaque)
        return type("Stub", (Stub,), {"origin": origin, "__slots__": ()})

    def _view(self, *args: Any) -> Any:
        tensor = view_of(args, _origin)
        if tensor is None:
            return self._opaque()
        self._inventory.tensors.append(tensor)
        return Stub()

    def _opaque(self, *args: object) -> Any:
        self._inventory.opaque_tensors += 1
        return Stub()


_GIVE_CLASSES = frozenset({"builtins.getattr"})
"""Nested classes are pickled as getattr(Outer, "Inner") below protocol 4, and then instantiated."""


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


def modern_name(module: str, name: str) -> tuple[str, str]:
    """Python 3's name of a global that a pickle of protocol 2 calls by its name in Python 2."""
    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[module, name]
    return IMPORT_MAPPING.get(module, module), name


def _origin(value: object) -> str:
    if isinstance(value, type) and issubclass(value, Stub):
        return value.origin
    return ""
