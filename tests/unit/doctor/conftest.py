from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt_tier.config import Config, from_mapping
from ckpt_tier.store.folder import FolderStore


@pytest.fixture
def hot(tmp_path: Path) -> Path:
    """An empty hot folder."""
    folder = tmp_path / "hot"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    """An empty cold folder, marked as one."""
    folder = tmp_path / "cold"
    folder.mkdir()
    FolderStore(folder).create_marker()
    return folder


@pytest.fixture
def configured(tmp_path: Path, hot: Path, cold: Path) -> Callable[..., Config]:
    """Makes a configuration of the two folders; arguments are keys of [hot] and [cold]."""

    def make(hot: dict[str, Any] | None = None, cold: dict[str, Any] | None = None, **top: Any) -> Config:
        document = {
            "run": "swelu",
            "state_dir": "state",
            **top,
            "hot": {"path": "hot", "layout": "step_{step}.bin", "min_free": "1B", **(hot or {})},
            "cold": {"url": "cold", "same_device": True, **(cold or {})},
        }
        return from_mapping(document, env={"HOME": str(tmp_path)}, cwd=tmp_path)

    return make
