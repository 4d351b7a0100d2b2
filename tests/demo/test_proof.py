"""The demo's proof, fed with real trainings: it must see any difference."""

import contextlib
import os
from pathlib import Path

import msgspec
import pytest
import torch

from ckpt_tier.demo.ground import Ground, disk_use
from ckpt_tier.demo.messages import Task
from ckpt_tier.demo.process import Training
from ckpt_tier.demo.proof import same_losses
from ckpt_tier.errors import CkptTierError, IntegrityError, UsageError


def trained(task: Task, folder: Path) -> Training:
    training = Training(task, env=dict(os.environ), log=folder / "training.log")
    with contextlib.ExitStack() as stack:
        stack.callback(training.end)
        training.result()
    return training


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """An uninterrupted run of 12 steps."""
    return trained(Task(last_step=12), tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of the same run after step 6, saved through the hook; no worker is needed for that."""
    ground = Ground(tmp_path_factory.mktemp("ground") / "demo", None, keep_last=3)
    config = ground.config()
    task = Task(last_step=6, config=str(ground.config_file), save_every=6, budget=50_000_000, worker=False)
    trained(task, ground.folder)
    return config.hot.path / "model_step_6.pt"


def resumed_from(state: dict[str, object], folder: Path) -> Training:
    torch.save(state, folder / "changed.pt")
    return trained(Task(last_step=12, resume=str(folder / "changed.pt")), folder)


@pytest.mark.slow
def test_a_resumed_run_is_the_same_run_to_the_last_bit(whole: Training, checkpoint: Path, tmp_path: Path) -> None:
    resumed = trained(Task(last_step=12, resume=str(checkpoint)), tmp_path)
    assert len(same_losses(whole.losses, resumed.losses, range(7, 13))) == 64
    assert resumed.digest == whole.digest


@pytest.mark.slow
@pytest.mark.parametrize("part", ["rng", "optimizer", "model"])
def test_a_state_that_comes_back_almost_right_is_found_out(
    whole: Training, checkpoint: Path, tmp_path: Path, part: str
) -> None:
    """The random state of another seed; one momentum lost; one layer off by a millionth."""
    state = torch.load(checkpoint, weights_only=True)
    match part:
        case "rng":
            torch.manual_seed(1)
            state["rng"] = torch.get_rng_state()
        case "optimizer":
            state["optimizer"]["state"][0]["exp_avg"].zero_()
        case "model":
            state["model"]["3.weight"] *= 1 + 8 * torch.finfo(torch.float32).eps
    resumed = resumed_from(state, tmp_path)
    with pytest.raises(IntegrityError, match=r"the losses differ at step \d+"):
        same_losses(whole.losses, resumed.losses, range(7, 13))
    assert resumed.digest != whole.digest


def test_a_loss_that_differs_in_its_last_bit_is_found_out() -> None:
    loss = 2.95694899559021
    with pytest.raises(IntegrityError, match="step 3"):
        same_losses({3: loss.hex()}, {3: (loss + 2**-51).hex()}, range(3, 4))


def test_a_run_that_stopped_early_proves_nothing() -> None:
    with pytest.raises(IntegrityError, match=r"step 2: uninterrupted 1\.0"):
        same_losses({1: (1.0).hex(), 2: (1.0).hex()}, {1: (1.0).hex()}, range(1, 3))
    with pytest.raises(IntegrityError, match="step 1: uninterrupted none"):
        same_losses({}, {}, range(1, 2))


@pytest.mark.slow
def test_a_training_that_fails_says_why(tmp_path: Path) -> None:
    training = Training(
        Task(last_step=1, resume=str(tmp_path / "gone.pt")), env=dict(os.environ), log=tmp_path / "training.log"
    )
    with contextlib.ExitStack() as stack:
        stack.callback(training.end)
        with pytest.raises(CkptTierError, match=r"gone\.pt"):
            training.result()


def test_disk_use_counts_a_file_with_two_names_once(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "a").write_bytes(b"12345")
    os.link(tmp_path / "a", tmp_path / "below" / "b")
    (tmp_path / "c").write_bytes(b"12")
    assert disk_use(tmp_path) == 7


def test_a_folder_that_is_not_the_demos_any_more_is_not_deleted(tmp_path: Path) -> None:
    ground = Ground(tmp_path / "demo", None, keep_last=3)
    (ground.hot / "model_step_1.pt").write_bytes(b"1")
    (ground.folder / ".ckpt-tier-demo").write_text("of somebody else")
    for delete in (ground.remove, ground.lose_hot_tier):
        with pytest.raises(UsageError, match="not the demo's"):
            delete()
    assert (ground.hot / "model_step_1.pt").exists()


def test_removing_leaves_what_somebody_else_put_into_the_folder(tmp_path: Path) -> None:
    ground = Ground(tmp_path / "demo", None, keep_last=3)
    (ground.folder / "notes.txt").write_text("mine")
    ground.remove()
    assert [path.name for path in ground.folder.iterdir()] == ["notes.txt"]


def test_a_task_says_the_same_after_its_way_over_the_command_line() -> None:
    task = Task(last_step=3, config="/a b/ckpt-tier.toml", save_every=1, budget=5, die_at=2, pace=0.5)
    assert msgspec.json.decode(msgspec.json.encode(task), type=Task) == task
