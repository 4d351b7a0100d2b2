from pathlib import Path

import pytest

from tests.builders import TwoTiers


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    """Two empty tiers below one temporary folder, keeping the newest two."""
    return TwoTiers(tmp_path)
