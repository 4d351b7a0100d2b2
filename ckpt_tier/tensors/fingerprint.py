"""A digest of a value that a pickle holds, so that two long ones can be told apart, or told to be equal."""

from hashlib import sha256
from typing import Any

from ckpt_tier.tensors.nodes import Name, Node

DIGITS = 16
_SETS = frozenset({"set", "frozenset", "builtins.set", "builtins.frozenset"})
_PLAIN = (bool, int, float, str, bytes, type(None))


class Fingerprints:
    """Takes the digests of many values, and looks at no more than `most` things that they hold, all together."""

    def __init__(self, most: int) -> None:
        self._left = most

    def of(self, value: Any) -> str:
        """`DIGITS` hex digits of a SHA-256 over all of the value; empty where not all of it is known (a string that was
        passed over, a tensor), or there is too much of it, or it holds itself."""
        digest = sha256()
        pending = [value]
        while pending:
            each = pending.pop()
            written, held = _written(each), _held(each)
            self._left -= len(held)
            if written is None or self._left < 0:
                return ""
            digest.update(written)
            pending += held
        return digest.hexdigest()[:DIGITS]


def _written(value: Any) -> bytes | None:
    """What tells this value from others, but for what it holds; None if nobody knows."""
    if isinstance(value, Node):
        if value.kind in _SETS:
            return _marked("set", "\0".join(sorted(map(_text, value.items)))) if _is_plain(value.items) else None
        return _marked(value.kind, f"{len(value.args)} {len(value.items)} {len(value.pairs)}")
    if isinstance(value, list | tuple):
        return _marked(type(value).__name__, str(len(value)))
    if isinstance(value, Name):
        return _marked("global", str(value))
    return _marked(type(value).__name__, _text(value)) if isinstance(value, _PLAIN) else None


def _held(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, Node) and value.kind not in _SETS:
        return [value.state, *(part for pair in value.pairs for part in pair), *value.items, *value.args]
    return []


def _is_plain(values: list[Any]) -> bool:
    return all(isinstance(value, _PLAIN) for value in values)


def _text(value: Any) -> str:
    # Python refuses to write a very long integer in decimal digits.
    return hex(value) if type(value) is int else repr(value)


def _marked(kind: str, text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return f"{len(kind)} {kind} {len(data)} ".encode("utf-8", "surrogatepass") + data
