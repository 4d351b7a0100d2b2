"""ckpt-tier: the last checkpoints on the local disk, every validated one in S3 or on a NAS, any of them back.

    tier = ckpt_tier.open("ckpt-tier.toml")
    torch.save(state, path)
    tier.saved(path, step=740_000, metrics={"loss": 1.83})

The names below are imported when they are first used, so that the command line starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_tier.errors import (
        AccessDeniedError,
        AttentionError,
        CancelledError,
        CkptTierError,
        ConfigError,
        ConflictError,
        IntegrityError,
        NoSpaceError,
        NotFoundError,
        UnavailableError,
        UsageError,
    )
    from ckpt_tier.operations import Restored
    from ckpt_tier.tier import Decision, Drained, Tier, load_tensor, open  # noqa: A004

__all__ = [
    "AccessDeniedError",
    "AttentionError",
    "CancelledError",
    "CkptTierError",
    "ConfigError",
    "ConflictError",
    "Decision",
    "Drained",
    "IntegrityError",
    "NoSpaceError",
    "NotFoundError",
    "Restored",
    "Tier",
    "UnavailableError",
    "UsageError",
    "load_tensor",
    "open",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'ckpt_tier' has no attribute {name!r}")
    module = "ckpt_tier.errors" if name.endswith("Error") else "ckpt_tier.tier"
    return getattr(import_module(module), name)
