"""examples/train.py does what its first lines say."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ckpt_tier.store.folder import FolderStore

EXAMPLE = Path(__file__).parents[2] / "examples" / "train.py"


def prepared(folder: Path) -> Path:
    """A run in `folder` that keeps its checkpoints in a folder beside it."""
    for name in ("hot", "cold"):
        (folder / name).mkdir(parents=True)
    FolderStore(folder / "cold").create_marker()
    file = folder / "ckpt-tier.toml"
    file.write_text(
        'run = "example"\nstate_dir = "state"\n[hot]\npath = "hot"\nlayout = "model_step_{step}.pt"\nkeep_last = 1\n'
        'min_free = "0B"\n[cold]\nurl = "cold"\nsame_device = true\n'
    )
    return file


def train(config: Path, steps: int) -> str:
    command = [sys.executable, str(EXAMPLE), "--config", str(config), "--steps", str(steps), "--save-every", "20"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=200, check=True).stdout


@pytest.mark.slow
def test_a_run_that_lost_its_disk_ends_with_the_weights_of_one_that_did_not(tmp_path: Path) -> None:
    whole, stopped = prepared(tmp_path / "whole"), prepared(tmp_path / "stopped")
    train(whole, 80)
    assert "resuming" not in train(stopped, 40)
    shutil.rmtree(stopped.parent / "hot")
    (stopped.parent / "hot").mkdir()
    assert train(stopped, 80).startswith("resuming after step 40\nstep 60:")
    expected, got = (
        torch.load(config.parent / "hot" / "model_step_80.pt", weights_only=True) for config in (whole, stopped)
    )
    assert expected["model"].keys() == got["model"].keys()
    for name, tensor in expected["model"].items():
        assert torch.equal(tensor, got["model"][name])
    assert torch.equal(expected["rng"], got["rng"])
