"""The document of `list`."""

import msgspec

from ckpt_tier.flow.listing import Listed


class ListDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`list`: the checkpoints of both tiers, by series and step. `cold_error` says why the cold tier could not be
    reached, and then only the hot tier's are listed; empty if it could."""

    schema: str = "ckpt-tier/list/1"
    run: str
    cold_error: str = ""
    checkpoints: tuple[Listed, ...]
