"""What a pickle's tree is made of, beside Python's own None, bool, int, float, str, bytes, list and tuple."""

from typing import Any

from ckpt_tier.formats.rebuild import Storage


class Name(str):
    """A global that the pickle names: "torch.float32"."""

    __slots__ = ()


class Passed:
    """A string of `length` bytes that was passed over."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length


class Blank:
    """A number that is left open: its place in the pickle's bytes, and how `struct` unpacks it."""

    __slots__ = ("begin", "end", "form")

    def __init__(self, begin: int, end: int, form: str) -> None:
        self.begin = begin
        self.end = end
        self.form = form


class Opaque:
    """A tensor that is no plain view of one storage: sparse, meta, a wrapper of others."""

    __slots__ = ()


class Node:
    """A dict, a set, or an object: `kind` is "dict", "set", "frozenset" or the full name of what made it.

    `pairs` and `items` are what was put into it, in order (of equal keys the last one counts), `args` what it was made
    from, `state` what it was given to set itself up.
    """

    __slots__ = ("args", "items", "kind", "pairs", "state")

    def __init__(self, kind: str, args: tuple[Any, ...] = ()) -> None:
        self.kind = kind
        self.args = args
        self.items: list[Any] = []
        self.pairs: list[tuple[Any, Any]] = []
        self.state: Any = None


class Pickled:
    """What one pickle holds. `root`: one of Python's own, or of this module and
    `formats.rebuild`'s; it may be nested to any depth, and hold itself."""

    def __init__(self, root: Any, names: set[str], storages: dict[str, Storage], end: int) -> None:
        self.root = root
        self.names = names
        self.storages = storages
        self.end = end
