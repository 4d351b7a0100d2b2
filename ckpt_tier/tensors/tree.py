"""The names of what a pickle holds, as a user would write them: `model.layers.0.weight`, `optimizer.state.3.exp_avg`.

Keys, indices and attributes are joined by dots. The walk is iterative and bounded, since what was read may be nested
to any depth and hold itself.
"""

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from ckpt_tier.formats.check import Rejected
from ckpt_tier.formats.rebuild import Storage, Tensor
from ckpt_tier.tensors.fingerprint import Fingerprints
from ckpt_tier.tensors.nodes import Blank, Name, Node, Opaque, Passed

DEEPEST = 64
"""Levels of nesting; real states have about ten."""
MOST_NAMES = 500_000
"""Things in one file; the state of 100,000 tensors has that many."""
_MOST_NAME_TEXT = 2**28
_LONGEST_NAME = 1024
_LONGEST_VALUE = 60
_SHOWN = 6
"""Elements of a list of numbers that are shown."""
_MOST_ELEMENTS = 20_000_000
_MOST_DIGESTED = 5_000_000
"""Things in long values that their digests are taken of: some seconds."""
_NUMPY = {"f2": "<e", "f4": "<f", "f8": "<d", "i4": "<i", "i8": "<q", "b1": "<?"}
"""NumPy's scalars, as struct unpacks them; all but big-endian machines write them so."""
_TOLD = frozenset({"bool", "int", "float", "str", "NoneType"})
"""Types of which a value without a digest is told by its text."""
_SIMPLE = (bool, int, float, str, bytes, type(None), Blank)
_OF_MODULES = frozenset({"_parameters", "_buffers", "_modules"})
"""Attributes of torch.nn.Module that nobody writes: `model.0.weight`, not `model._modules.0._parameters.weight`."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is no tensor. `type` is "int", "str", "list" or the full name of a class; `value` is a short text
    of it, empty where there is none. `digest`: 16 hex digits of a SHA-256 over all of it; empty where the text says
    everything, or not all of it was looked at."""

    name: str
    type: str
    value: str = ""
    digest: str = ""

    def same_as(self, other: "Entry") -> bool | None:
        """Whether both have one value; None where what is known of them does not tell."""
        if self.type != other.type:
            return False
        if self.digest and other.digest:
            return self.digest == other.digest
        if (self.value, self.digest) != (other.value, other.digest):
            return False if self.value != other.value else None
        return True if self.type in _TOLD else None


def walk(root: Any) -> Iterator[tuple[str, Tensor | Opaque | Entry]]:
    """Everything that the tree holds, in its order, each with its name; no name comes twice.

    Raises Rejected where it is nested too deep, or holds too many names.
    """
    fingerprints = Fingerprints(_MOST_DIGESTED)
    for name, value in leaves(root):
        yield name, value if isinstance(value, Tensor | Opaque) else _entry(name, value, fingerprints)


def entry_of(name: str, value: Any) -> Entry:
    """The entry that `walk` gives for a value, if it is one of `leaves`."""
    return _entry(name, value, Fingerprints(_MOST_DIGESTED))


def leaves(root: Any) -> Iterator[tuple[str, Any]]:
    """As `walk`, but what is no tensor comes as it stands in the tree. What a `Blank` stands for is not asked: Rejected
    where a name depends on one."""
    seen: set[str] = set()
    left = _MOST_NAME_TEXT
    elements = 0
    pending: list[tuple[str, Any, int]] = [("", root, 0)]
    visits = 0
    while pending:
        name, value, depth = pending.pop()
        visits += 1
        left -= len(name)
        elements += (
            len(value) if isinstance(value, list | tuple) else len(value.items) if isinstance(value, Node) else 0
        )
        if visits > MOST_NAMES or left < 0 or elements > _MOST_ELEMENTS:
            raise Rejected(f"it holds more than {MOST_NAMES:,} things, or itself: too many to list")
        inside = _inside(value)
        if inside is None:
            unique = name
            number = 2
            while unique in seen:
                unique, number = f"{name}#{number}", number + 1
            seen.add(unique)
            yield unique, value
            continue
        if depth >= DEEPEST:
            raise Rejected(f"it is nested more than {DEEPEST} levels deep, or holds itself")
        pending += [(_joined(name, key), each, depth + 1) for key, each in reversed(inside)]


def _joined(name: str, key: str) -> str:
    if len(name) + len(key) >= _LONGEST_NAME:
        raise Rejected(f"a name in it has more than {_LONGEST_NAME:,} characters")
    return f"{name}.{key}" if name and key else name or key


def _inside(value: Any) -> list[tuple[str, Any]] | None:
    """What is in a container, by key; None for what is listed as one thing."""
    if isinstance(value, list | tuple):
        return None if _is_plain(value) else [(str(index), each) for index, each in enumerate(value)]
    if not isinstance(value, Node):
        return None
    if value.pairs:
        # What else such an object has (a state_dict's `_metadata`) is not the user's.
        return [(_key(key), each) for key, each in value.pairs]
    if value.items:
        return None if _is_plain(value.items) else [(str(index), each) for index, each in enumerate(value.items)]
    # An object with __slots__ has a pair of states.
    for state in value.state if isinstance(value.state, tuple) else (value.state,):
        if isinstance(state, Node) and state.pairs:
            return [pair for key, each in state.pairs for pair in _attribute(key, each)]
    if any(isinstance(arg, Tensor | Opaque) for arg in value.args):
        return [(str(index), each) for index, each in enumerate(value.args)]
    return None


def _attribute(key: Any, value: Any) -> list[tuple[str, Any]]:
    name = _key(key)
    if name in _OF_MODULES and isinstance(value, Node):
        return [("", value)] if value.pairs else []
    is_empty = isinstance(value, Node) and not (value.pairs or value.items or value.state or value.args)
    return [] if name.startswith("_") and (is_empty or value is None) else [(name, value)]


def _is_plain(values: list[Any] | tuple[Any, ...]) -> bool:
    return all(isinstance(value, _SIMPLE) for value in values)


def _key(key: Any) -> str:
    if isinstance(key, str):
        if len(key) > _LONGEST_NAME:
            raise Rejected(f"a name in it has more than {_LONGEST_NAME:,} characters")
        return printable(key)
    return _shown(key) or type(key).__name__.lower()


def printable(text: str) -> str:
    """`text` on one line, whatever it holds."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _entry(name: str, value: Any, fingerprints: Fingerprints) -> Entry:
    if isinstance(value, Node):
        array = _is_array(value) and value.args and isinstance(value.args[0], Name)
        kind, shown = str(value.args[0] if array else value.kind), _shown(value)
    elif isinstance(value, Storage):
        kind, shown = "storage", f"{value.count} of {value.dtype}"
    elif isinstance(value, Name):
        kind, shown = "global", _shown(value)
    elif isinstance(value, Passed):
        kind, shown = "bytes", f"{value.length} bytes"
    else:
        kind, shown = type(value).__name__, _shown(value)
    digest = "" if _says_all(value) else fingerprints.of(value)
    return Entry(
        name=name, type=_cut(printable(kind[:200]).removeprefix("builtins.")), value=_cut(shown), digest=digest
    )


def _says_all(value: Any) -> bool:
    """Whether its text is all of it."""
    if isinstance(value, Storage | Passed):
        return False
    if isinstance(value, str):
        return type(value) is str and len(value) <= _LONGEST_VALUE and value.isprintable()
    return isinstance(value, bool | float | type(None)) or (isinstance(value, int) and value.bit_length() <= 128)


def _is_array(node: Node) -> bool:
    return node.kind.endswith(".multiarray._reconstruct")


def _of_node(node: Node) -> str:
    if _is_array(node) and isinstance(node.state, tuple) and len(node.state) > 1:
        return f"shape {_of_many(node.state[1])}"
    if node.kind.endswith(".multiarray.scalar"):
        return _of_scalar(*node.args[:2])
    if node.kind.startswith("pathlib."):
        return "/".join(_shown(part) for part in node.args[:_SHOWN]).replace("//", "/")
    return _of_many(node.items) if node.items else _of_many(node.args).strip("()")


def _of_scalar(dtype: Any = None, data: Any = None) -> str:
    form = (
        _NUMPY.get(dtype.args[0]) if isinstance(dtype, Node) and dtype.args and isinstance(dtype.args[0], str) else ""
    )
    if form and isinstance(data, bytes) and len(data) == struct.calcsize(form):
        return repr(struct.unpack(form, data)[0])
    return ""


def _of_many(values: Any) -> str:
    if not isinstance(values, list | tuple) or not _is_plain(values[: _SHOWN + 1]):
        return ""
    shown = [_cut(_shown(each)) for each in values[: _SHOWN if len(values) <= _SHOWN else 3]]
    text = ", ".join(shown if len(values) == len(shown) else [*shown, "…"])
    text = f"[{text}]" if isinstance(values, list) else f"({text})"
    return text if len(values) == len(shown) else f"{text} of {len(values):,}"


def _shown(value: Any) -> str:
    if isinstance(value, bool | float | type(None)):
        return repr(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 128 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, str):
        return printable(value[: 2 * _LONGEST_VALUE])
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, Blank):
        raise Rejected("a number that is left open can't be shown")
    return _of_node(value) if isinstance(value, Node) else _of_many(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
