"""What a training or a person says about a checkpoint: numbers by name, and which of two is the better."""

import math
from typing import Literal, Self

import msgspec

from ckpt_tier.errors import UsageError

MAX_NAME_BYTES = 50
"""Of a metric that is noted later: its name is part of a file's name, of which most systems take 255 bytes."""
_MODES: dict[str, Literal["min", "max"]] = {"min": "min", "max": "max"}
_BEST_FIX = 'write it like "loss", "loss, min" or "accuracy, max"'


class Best(msgspec.Struct, frozen=True):
    """By which metric a checkpoint is better than another, and which way."""

    metric: str
    mode: Literal["min", "max"] = "min"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "loss" (the least is the best), "loss, min" or "accuracy, max"; raises UsageError."""
        name, comma, mode = (part.strip() for part in text.rpartition(","))
        if not comma:
            name, mode = mode, "min"
        if mode not in _MODES:
            raise UsageError(f"{text!r} does not say min or max", fix=_BEST_FIX)
        if not name or not name.isprintable():
            raise UsageError(f"{text!r} names no metric", fix=_BEST_FIX)
        return cls(name, _MODES[mode])

    def is_better(self, value: float, than: float) -> bool:
        """Strictly: of equals neither is."""
        return value < than if self.mode == "min" else value > than

    def __str__(self) -> str:
        """The form that `parse` reads."""
        return f"{self.metric}, {self.mode}"


def check_metric(name: str) -> str:
    """`name`, if a metric can be noted under it later; raises UsageError."""
    if not name.strip() or not name.isprintable():
        raise UsageError(f"{name!r} is no name of a metric", "it is empty or can't be printed")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise UsageError(f"the metric's name {name[:60]!r} is too long", f"it may have {MAX_NAME_BYTES} bytes")
    return name


def finite(value: object) -> float | None:
    """A number of Python, NumPy or torch; None if it is none, or not finite."""
    try:
        number = None if isinstance(value, str | bytes) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ArithmeticError, RuntimeError):  # the last: torch, of several elements
        return None
    return number if number is not None and math.isfinite(number) else None
