"""Two tiers with three steps in them, the oldest only in the cold one, and a file that configures them."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from ckpt_tier.integrations.filesystem import CkptFileSystem
from tests.builders import TwoTiers


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    tiers = TwoTiers(tmp_path)
    for step in (5, 10, 15):
        tiers.write(step)
    tiers.sync()
    return tiers


@pytest.fixture
def config(tiers: TwoTiers) -> Path:
    """What another process would read."""
    file = tiers.root / "ckpt-tier.toml"
    file.write_text(
        f'run = "run"\nstate_dir = "{tiers.state_dir}"\n[hot]\npath = "hot"\n'
        f'layout = "{tiers.config.hot.layout}"\n[cold]\nurl = "cold"\nsame_device = true\n'
    )
    return file


@pytest.fixture
def fs(config: Path) -> Iterator[CkptFileSystem]:
    """The filesystem, known to fsspec whether or not the installed project has its entry point yet."""
    fsspec.register_implementation("ckpt", CkptFileSystem, clobber=True)
    yield fsspec.filesystem("ckpt", config=str(config))
    CkptFileSystem.clear_instance_cache()
