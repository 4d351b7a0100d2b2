"""The document of `exec`."""

import msgspec

from ckpt_tier.running import PassedOver, Resumed


class ExecDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`exec`: what became of the command and of the queue. `exit_code` is the command's; `resumed` is null where it
    began anew; `drained`: nothing waits for the cold tier; `problem` says why nobody could tell."""

    schema: str = "ckpt-tier/exec/1"
    exit_code: int
    resumed: Resumed | None
    passed_over: tuple[PassedOver, ...]
    notes: tuple[str, ...]
    drained: bool
    left_count: int
    left_bytes: int
    problem: str
