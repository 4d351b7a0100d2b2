"""The documents of `pin`, `unpin`, `annotate` and `abandon`."""

import msgspec

from ckpt_tier.cold.pins import Pin
from ckpt_tier.noting import Annotated
from ckpt_tier.pruning import BestCheckpoint, LeftBranch


class PinDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`pin`: what is pinned now. `best`: with --best the generations that were found, the best of each series first."""

    schema: str = "ckpt-tier/pin/1"
    pinned: tuple[Pin, ...]
    best: tuple[BestCheckpoint, ...] = ()


class AnnotateDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`annotate`: what was noted of which generation; it is empty where all of it was known."""

    schema: str = "ckpt-tier/annotate/1"
    annotated: Annotated


class UnpinDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`unpin`: (series, step) of what is not pinned any more."""

    schema: str = "ckpt-tier/unpin/1"
    unpinned: tuple[tuple[str, int], ...]


class AbandonDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`abandon`: the branches that training has left; `undone`: that count again."""

    schema: str = "ckpt-tier/abandon/1"
    undone: bool
    branches: tuple[LeftBranch, ...]
