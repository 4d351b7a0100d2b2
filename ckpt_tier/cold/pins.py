"""Pins: small objects that keep a step, all its generations, in both tiers until somebody removes them.

A pin is written and removed by a person only; no retention rule, no prune and no restore touches it.
"""

from collections.abc import Iterable

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.documents import MAX_DOCUMENT_BYTES, decode, encode
from ckpt_tier.cold.listings import Span, listed
from ckpt_tier.cold.manifests import PARALLEL_READS, Manifests
from ckpt_tier.errors import IntegrityError, MissingKeyError
from ckpt_tier.system.asking import answers

PIN_FORMAT = 1
PINNED = "pinned"
MOST_READ = 500


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """``pins/<step>.json``. `pinned_at` is RFC 3339; `reason` is what the person said, may be empty."""

    format: int = PIN_FORMAT
    series: str
    step: int
    pinned_at: str
    reason: str = ""


def list_pins(manifests: Manifests, series: Iterable[str]) -> set[tuple[str, int]]:
    """The pinned (series, step) in the cold tier. The name alone counts: what can't be read still pins."""
    spans = [Span(name, keys.pins_prefix(manifests.run, name)) for name in series]
    return {
        (found.series, step)
        for found in listed(manifests.store, spans)
        if (step := keys.parse_pin_name(found.name)) is not None
    }


def is_pinned(manifests: Manifests, series: str, step: int) -> bool:
    """Whether the step is pinned now: one request."""
    try:
        manifests.store.stat(keys.pin_key(manifests.run, series, step))
    except MissingKeyError:
        return False
    return True


def read_pins(manifests: Manifests, series: Iterable[str]) -> dict[tuple[str, int], str]:
    """The pinned (series, step) with what was said about each: "pinned: best for the paper".

    Of more than `MOST_READ`, the later ones are not asked for their words, and one that can't be read has none: it
    pins all the same.
    """
    pins = sorted(list_pins(manifests, series))
    asked = pins[:MOST_READ]
    words = dict(zip(asked, answers(lambda pin: _words(manifests, *pin), asked, PARALLEL_READS), strict=True))
    return {pin: words.get(pin, PINNED) for pin in pins}


def _words(manifests: Manifests, series: str, step: int) -> str:
    key = keys.pin_key(manifests.run, series, step)
    try:
        pin = decode(manifests.store.get(key, MAX_DOCUMENT_BYTES), Pin, key)
    except (IntegrityError, MissingKeyError):
        return PINNED
    return f"{PINNED}: {pin.reason}" if pin.reason else PINNED


def write_pin(manifests: Manifests, pin: Pin) -> None:
    """Pins a step; one that is pinned already gets the new reason."""
    manifests.store.put(keys.pin_key(manifests.run, pin.series, pin.step), encode(pin))


def remove_pin(manifests: Manifests, series: str, step: int) -> None:
    """Unpins a step; one that is not pinned is success."""
    manifests.store.delete(keys.pin_key(manifests.run, series, step))
