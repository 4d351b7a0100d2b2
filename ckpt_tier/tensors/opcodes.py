"""A pickle read as data: its opcodes make a tree of plain nodes. Nothing is imported, called, hashed or compared.

A stack machine of our own, after https://github.com/python/cpython/blob/main/Lib/pickletools.py, whose readers take
the arguments. `pickle.Unpickler`, however inert its globals are, is safe only in a process of its own: a few bytes ask
it for gigabytes, and the hash of a deeply nested key overflows the C stack. Here each opcode costs a bounded amount of
memory, their number is bounded, and long strings are passed over unread; so it runs where it is needed, many files
in a row.
"""

import io
import pickle
import pickletools
import struct
from collections.abc import Callable, Collection
from typing import Any, BinaryIO

from ckpt_tier.formats.check import Reader, Rejected
from ckpt_tier.formats.inert import modern_name
from ckpt_tier.formats.rebuild import (
    FROM_TYPE,
    OPAQUE,
    PARAMETERS,
    VIEWS,
    Storage,
    storage_of,
    view_of,
)
from ckpt_tier.formats.window import Window
from ckpt_tier.tensors.arguments import READERS, Source
from ckpt_tier.tensors.nodes import Blank, Name, Node, Opaque, Pickled

MOST_OPCODES = 5_000_000
"""Some seconds and half a gigabyte at the most; the state of 100,000 tensors has that many."""
_BUFFER = 4 * 2**20
_LONGEST_TENSOR_SHAPE = 64
_MALFORMED = (
    pickle.UnpicklingError, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, struct.error,
)  # fmt: skip


def read_pickle(reader: Reader, start: int, length: int) -> Pickled:
    """The pickle that begins at `start` within the next `length` bytes of the file; `end` is where it ends.

    Raises Rejected where it is damaged, or too large to be listed.
    """
    with io.BufferedReader(Window(reader, start, length), min(_BUFFER, max(1, length))) as file:
        source = Source(file, length)
        machine = _Machine()
        root = _run(machine, source, _TABLE)
        return Pickled(root, machine.names, machine.storages, start + file.tell())


def read_with_blanks(text: bytes, varying: Collection[int]) -> Any:
    """The root of the pickle, with a `Blank` for each number of a fixed width that one of the bytes at `varying` is
    part of. Raises Rejected where it is damaged, or what it holds may depend on such a number: a tensor's size.
    """
    source = _Marked(io.BytesIO(text), len(text), frozenset(varying))
    return _run(_OfBlanks(), source, _TABLE_OF_BLANKS)


def _run(machine: "_Machine", source: Source, table: "_Table") -> Any:
    try:
        return machine.run(source, table)
    except _MALFORMED as error:
        raise Rejected(f"its pickle is damaged: {ascii(str(error)[:120])[1:-1] or type(error).__name__}") from error


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_IGNORED = frozenset({"PROTO", "FRAME"})
_PUSHED = frozenset({
    "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "SHORT_BINSTRING", "BINSTRING", "STRING", "UNICODE",
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
})  # fmt: skip


class _Machine:
    def __init__(self) -> None:
        self.names: set[str] = set()
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, source: Source, table: "_Table") -> Any:
        read, stack = source.raw, self._stack
        for _ in range(MOST_OPCODES):
            name, reader, act = table[read(1)]
            argument = None if reader is None else reader(source)
            if act is not None:
                act(self, argument)
            elif name in _PUSHED:
                stack.append(argument)
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name == "STOP":
                return stack.pop()
            elif name not in _IGNORED:
                raise ValueError(f"the opcode {name} is not used in checkpoints")
        raise Rejected(f"its pickle has more than {MOST_OPCODES:,} opcodes, too many to list what it holds")

    def _top(self) -> list[Any]:
        """All since the last mark, taken from the stack."""
        at = self._marks.pop()
        taken = self._stack[at:]
        del self._stack[at:]
        return taken

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def pop(self, _: Any) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        self._top()

    def dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def tuple_since_mark(self, _: Any) -> None:
        self._stack.append(tuple(self._top()))

    def tuple_of(self, count: int) -> None:
        taken = self._stack[-count:]
        if len(taken) < count:
            raise IndexError("the stack is empty")
        self._stack[-count:] = [tuple(taken)]

    def empty_list(self, _: Any) -> None:
        self._stack.append([])

    def list_since_mark(self, _: Any) -> None:
        self._stack.append(self._top())

    def empty_dict(self, _: Any) -> None:
        self._stack.append(Node("dict"))

    def empty_set(self, _: Any) -> None:
        self._stack.append(Node("set"))

    def dict_since_mark(self, _: Any) -> None:
        flat = self._top()
        self._stack.append(Node("dict"))
        self._set(flat)

    def frozenset(self, _: Any) -> None:
        self._stack.append(_filled("frozenset", self._top()))

    def append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def appends(self, _: Any) -> None:
        self._extend(self._top())

    def setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def setitems(self, _: Any) -> None:
        self._set(self._top())

    def build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Node):
            target.state = state

    def named(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._name(module, name)

    def stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._name(module, name)

    def inst(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        args = tuple(self._top())
        self._name(module, name)
        self._stack.append(self._make(self._stack.pop(), args))

    def obj(self, _: Any) -> None:
        kind, *args = self._top()
        self._stack.append(self._make(kind, tuple(args)))

    def reduce(self, _: Any) -> None:
        args, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self._make(function, args))

    def newobj_ex(self, _: Any) -> None:
        _options, args, kind = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._stack.append(self._make(kind, args))

    def persistent(self, argument: Any) -> None:
        pid = self._stack.pop() if argument is None else argument
        if isinstance(pid, tuple) and pid and pid[0] in ("storage", b"storage"):
            storage = storage_of(pid, _origin)
            if self.storages.setdefault(storage.key, storage) != storage:
                raise ValueError(f"storage {storage.key} is announced twice, and differently")
            self._stack.append(storage)
        elif isinstance(pid, tuple) and len(pid) > 1 and pid[0] in ("module", b"module"):
            self._stack.append(pid[1])
        else:
            self._stack.append(Node("persistent id"))

    def _name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a global has no name")
        full = Name(".".join(modern_name(module, name)))
        self.names.add(full)
        self._stack.append(full)

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Node):
            target.items.extend(items)
        elif isinstance(target, list):
            target.extend(items)

    def _set(self, flat: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Node):
            target.pairs.extend(zip(flat[::2], flat[1::2], strict=True))

    def _make(self, function: Any, args: Any) -> Any:
        """What a call would make."""
        if not isinstance(args, tuple):
            raise TypeError("the arguments of a call are no tuple")
        origin = _origin(function)
        module, _, name = origin.rpartition(".")
        if module.startswith("torch"):
            if name in VIEWS:
                view = view_of(args, _origin)
                return view if view is not None and len(view.shape) <= _LONGEST_TENSOR_SHAPE else Opaque()
            if name in OPAQUE:
                return Opaque()
            if name in PARAMETERS:
                return args[0]
            if name in FROM_TYPE and len(args) > 2 and _origin(args[0]).rpartition(".")[2] not in FROM_TYPE:
                return self._make(args[0], args[2])
        if origin == "copyreg._reconstructor":
            return Node(_origin(args[0]) or "object")
        if origin == "builtins.getattr" and _origin(args[0]) and isinstance(args[1], str):
            # So nested classes are pickled below protocol 4.
            return Name(f"{args[0]}.{args[1]}")
        # So bytes are pickled in protocol 2.
        if origin == "_codecs.encode" and isinstance(args[0], str):
            return args[0].encode("latin1")
        if origin == "builtins.bytes" and not args:
            return b""
        if len(args) == 1 and isinstance(args[0], list):
            return _filled(origin or "object", args[0])
        if len(args) == 1 and isinstance(args[0], Node) and args[0].kind == "dict":
            made = Node(origin or "object")
            made.pairs = args[0].pairs
            return made
        return Node(origin or "object", args)


def _filled(kind: str, items: list[Any]) -> Node:
    """With `items` themselves, not a copy: a pickle could ask for many of a long list."""
    made = Node(kind)
    made.items = items
    return made


def _origin(value: object) -> str:
    return value if isinstance(value, Name) else ""


_ACTS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark, "POP": _Machine.pop, "POP_MARK": _Machine.pop_mark, "DUP": _Machine.dup,
    "PUT": _Machine.put, "BINPUT": _Machine.put, "LONG_BINPUT": _Machine.put, "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get, "BINGET": _Machine.get, "LONG_BINGET": _Machine.get,
    "TUPLE": _Machine.tuple_since_mark, "LIST": _Machine.list_since_mark, "DICT": _Machine.dict_since_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1), "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "EMPTY_LIST": _Machine.empty_list, "EMPTY_DICT": _Machine.empty_dict, "EMPTY_SET": _Machine.empty_set,
    "FROZENSET": _Machine.frozenset, "APPEND": _Machine.append, "APPENDS": _Machine.appends,
    "ADDITEMS": _Machine.appends, "SETITEM": _Machine.setitem, "SETITEMS": _Machine.setitems,
    "BUILD": _Machine.build, "GLOBAL": _Machine.named, "STACK_GLOBAL": _Machine.stack_global,
    "INST": _Machine.inst, "OBJ": _Machine.obj, "REDUCE": _Machine.reduce, "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.newobj_ex, "PERSID": _Machine.persistent, "BINPERSID": _Machine.persistent,
}  # fmt: skip
_Table = dict[bytes, tuple[str, Callable[[Any], Any] | None, Callable[[_Machine, Any], None] | None]]
_TABLE: _Table = {
    opcode.code.encode("latin1"): (
        opcode.name,
        READERS.get(opcode.name),
        _ACTS.get(opcode.name),
    )
    for opcode in pickletools.opcodes
}
_TABLE[b""] = ("the end", lambda source: source.read(1), None)  # which says that it ends too early


class _OfBlanks(_Machine):
    """Never asks what a blank stands for: only a tensor's size and place do, and then it becomes opaque."""

    def _make(self, function: Any, args: Any) -> Any:
        made = super()._make(function, args)
        if isinstance(made, Opaque):
            raise ValueError("a tensor may depend on a number that is left open")  # noqa: TRY004 (the pickle's fault)
        return made


class _Marked(Source):
    """A pickle of which some bytes are not to be looked at."""

    def __init__(self, file: BinaryIO, size: int, varying: frozenset[int]) -> None:
        super().__init__(file, size)
        self._varying = varying

    def number_or_blank(self, reader: Callable[[Any], Any], form: str) -> Any:
        begin = self.tell()
        value = reader(self)
        end = self.tell()
        return value if self._varying.isdisjoint(range(begin, end)) else Blank(begin, end, form)


_WIDTHS = {"BINFLOAT": ">d", "BININT": "<i", "BININT1": "<B", "BININT2": "<H"}


def _or_blank(reader: Callable[[Any], Any], form: str) -> Callable[[Any], Any]:
    return lambda source: source.number_or_blank(reader, form)


_TABLE_OF_BLANKS: _Table = {
    code: (name, _or_blank(READERS[name], _WIDTHS[name]) if name in _WIDTHS else reader, act)
    for code, (name, reader, act) in _TABLE.items()
}
