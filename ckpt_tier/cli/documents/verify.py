"""The document of `verify`."""

import msgspec

from ckpt_tier.flow.verify import Verified


class VerifyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`verify`: a verdict for each checkpoint. `proved` is "presence" or "content"."""

    schema: str = "ckpt-tier/verify/1"
    proved: str
    good_count: int
    bad_count: int
    read_bytes: int
    elapsed_seconds: int
    checkpoints: tuple[Verified, ...]
