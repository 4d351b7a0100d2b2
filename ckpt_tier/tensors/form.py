"""A pickle as a form: everything in it is known but a few numbers (the step, the learning rate), which the next pickle
of the same training fills in.

Taking a pickle apart is most of what looking into a file costs; and the pickles of one training say the same. The form
is made by the same stack machine, which gets a `Blank` for each number that was seen to differ and never asks
what it stands for. Where that would matter (the size of a tensor, a name) there is no form. A text that differs from
the form in anything but its blanks does not fit it, and is taken apart as any other.
"""

import struct
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from ckpt_tier.formats.check import Rejected
from ckpt_tier.formats.rebuild import Tensor
from ckpt_tier.tensors.foretelling import LONGEST, varying
from ckpt_tier.tensors.nodes import Blank, Node, Opaque
from ckpt_tier.tensors.opcodes import read_with_blanks
from ckpt_tier.tensors.tree import Entry, entry_of, leaves

_MOST_LENGTHS = 8
_MOST_ATTEMPTS = 4
"""Forms that are made for pickles of one length: in each, more is open than in the last."""
_MOST_SEARCHED = 100_000
"""Things that are searched for blanks."""


class Form(msgspec.Struct, frozen=True, eq=False):
    """What all pickles that fit have in common.

    Attributes:
        bare: the text, with zeros where the blanks are.
        spans: where the blanks are, each from its first byte to behind its last.
        entries: in their order; those that hold a blank as one text has filled them.
        open: of these, the index, the name, and what is to be filled in.
    """

    bare: bytes
    spans: tuple[tuple[int, int], ...]
    entries: tuple[Entry, ...]
    open: tuple[tuple[int, str, Any], ...]

    def fill(self, text: bytes) -> tuple[Entry, ...] | None:
        """The entries of this pickle; None if it does not fit."""
        if _bare(text, self.spans) != self.bare:
            return None
        entries = list(self.entries)
        for index, name, value in self.open:
            entries[index] = entry_of(name, _filled(value, text))
        return tuple(entries)


def make_form(text: bytes, differs: Collection[int], entries: tuple[Entry, ...]) -> Form | None:
    """The form that `text`, which holds `entries`, fits, with the numbers open that have bytes at `differs`; None
    where more may depend on one of these."""
    try:
        values = [
            (name, value)
            for name, value in leaves(read_with_blanks(text, differs))
            if not isinstance(value, Tensor | Opaque)
        ]
        blanks = [_blanks_in(value) for _, value in values]
    except Rejected:
        return None
    found = [(index, name, value) for index, (name, value) in enumerate(values) if blanks[index]]
    if not all(_can_be_filled(value) for _, _, value in found):
        return None
    spans = tuple((blank.begin, blank.end) for each in blanks for blank in each)
    form = Form(_bare(text, spans), spans, entries, tuple(found))
    return form if form.fill(text) == entries else None


class Forms:
    """The forms of one training's pickles, by their length. Safe from any thread: what is kept never changes, and
    entries are put one by one."""

    def __init__(self) -> None:
        self._by_size: dict[int, _Known] = {}

    def learn(self, text: bytes, entries: tuple[Entry, ...]) -> Form | None:
        """The form that this pickle and those before it of its length fit, if there is one."""
        known = self._by_size.get(len(text))
        if known is None:
            if len(text) <= LONGEST and len(self._by_size) < _MOST_LENGTHS:
                self._by_size[len(text)] = _Known(text)
            return None
        if known.form is not None and known.form.fill(text) is not None:
            return known.form
        differs = varying(known.text, text)
        if differs is None or known.attempts >= _MOST_ATTEMPTS:
            return None
        open_now = known.varying | differs
        form = make_form(text, open_now, entries)
        self._by_size[len(text)] = _Known(known.text, open_now, form, known.attempts + 1)
        return form


class _Known(msgspec.Struct, frozen=True, eq=False):
    text: bytes
    varying: frozenset[int] | set[int] = frozenset()
    form: Form | None = None
    attempts: int = 0


def _bare(text: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    if not spans:
        return text
    bare = bytearray(text)
    for begin, end in spans:
        bare[begin:end] = bytes(end - begin)
    return bytes(bare)


def _blanks_in(value: Any) -> list[Blank]:
    """All of them, to any depth. Raises Rejected where there is too much to be searched."""
    found: list[Blank] = []
    pending, searched = [value], 0
    while pending:
        each = pending.pop()
        searched += 1
        if searched > _MOST_SEARCHED:
            raise Rejected("it holds too many things to be a form")
        if isinstance(each, Blank):
            found.append(each)
        elif isinstance(each, list | tuple):
            pending += each
        elif isinstance(each, Node):
            pending += [each.state, *each.items, *each.args, *(part for pair in each.pairs for part in pair)]
    return found


def _can_be_filled(value: Any) -> bool:
    """Whether it is a blank, or a list or tuple with blanks, and plain otherwise."""
    if isinstance(value, list | tuple):
        return not any(isinstance(each, list | tuple | Node) for each in value)
    return isinstance(value, Blank)


def _filled(value: Any, text: bytes) -> Any:
    if isinstance(value, Blank):
        return struct.unpack(value.form, text[value.begin : value.end])[0]
    if isinstance(value, list | tuple):
        return type(value)(_filled(each, text) for each in value)
    return value
