"""The document of `estimate`."""

import msgspec

from ckpt_tier.core.estimate import Assumption, Estimate, Keep


class EstimateDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`estimate`: what was asked, with everything it rests on, and the estimates for it and for other frequencies and
    retentions.

    `room_bytes` is what checkpoints may take on the hot tier, `largest_keep` the most of each series that fits at the
    peak: all that are made if that fits, 0 if not even one does. `every_if_all` is the fewest steps between saves at
    which all that are made fit, rounded up to two digits; null if not even one save fits. `price_per_gb_month` and
    `cost_per_month` are in dollars, of 10^9 bytes.
    """

    schema: str = "ckpt-tier/estimate/1"
    steps: int
    every: int
    keep: Keep
    series: int
    size_bytes: int
    interval_seconds: int | None
    uplink_bytes_per_second: int
    price_per_gb_month: float | None
    room_bytes: int
    largest_keep: int
    every_if_all: int | None
    estimates: tuple[Estimate, ...]
    assumptions: tuple[Assumption, ...]
    problems: tuple[str, ...]
