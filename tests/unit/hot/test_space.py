import shutil
from pathlib import Path

import pytest

from ckpt_tier.hot.space import space


def test_space_is_what_this_user_may_still_write(tmp_path: Path) -> None:
    got, known = space(tmp_path), shutil.disk_usage(tmp_path)
    assert got.total == known.total
    assert abs(got.free - known.free) < 2**30
    assert 0 < got.free <= got.total


def test_a_missing_folder_has_no_space(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        space(tmp_path / "gone")
