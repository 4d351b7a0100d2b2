"""What `ckpt-tier.toml`, the environment and a call's arguments mean. See `docs/configuration.md`."""

from ckpt_tier.config.keys import KEYS, SECTIONS, Key
from ckpt_tier.config.load import FILE_NAME, default_state_dir, find, from_mapping, load
from ckpt_tier.config.model import (
    ColdConfig,
    Config,
    FreeSpace,
    HotConfig,
    LevelName,
    UploadConfig,
    ValidateConfig,
    WatchConfig,
)
from ckpt_tier.config.render import render, render_portable

__all__ = [
    "FILE_NAME",
    "KEYS",
    "SECTIONS",
    "ColdConfig",
    "Config",
    "FreeSpace",
    "HotConfig",
    "Key",
    "LevelName",
    "UploadConfig",
    "ValidateConfig",
    "WatchConfig",
    "default_state_dir",
    "find",
    "from_mapping",
    "load",
    "render",
    "render_portable",
]
