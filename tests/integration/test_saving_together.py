"""Two real processes of a torch.distributed group (gloo) ask when to save, each with a loss of its own."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as mp

import ckpt_tier
from ckpt_tier.core.metrics import Best
from tests.builders import TwoTiers

RANKS = 2


def one_rank(rank: int, root: str) -> None:
    """Runs in a process of its own."""
    dist.init_process_group("gloo", init_method=f"file://{root}/meeting", rank=rank, world_size=RANKS)
    tiers = TwoTiers(Path(root) / f"rank-{rank}")
    tiers.set(save={"every": 10, "best": Best("loss")})
    group: Any = dist.group.WORLD
    tier = ckpt_tier.open(tiers.config, worker=False, process_group=group)
    tier.save_on_signal()
    said = [str(tier.should_save(step, loss=float(step * (1 - 2 * (rank % 2)) + 5))) for step in (1, 2, 10)]
    if rank == 0:
        os.kill(os.getpid(), signal.SIGUSR1)
    said.append(str(tier.should_save(11, loss=50.0)))
    if rank == 1:  # alone: no collective
        said.append(str(ckpt_tier.open(tiers.config, worker=False).should_save(7)))
    (Path(root) / f"said-{rank}.json").write_text(json.dumps(said))
    dist.barrier()
    dist.destroy_process_group()


def test_with_a_group_every_rank_gets_what_rank_0_decides(tmp_path: Path) -> None:
    mp.spawn(one_rank, (str(tmp_path),), nprocs=RANKS)
    said = [json.loads((tmp_path / f"said-{rank}.json").read_text()) for rank in range(RANKS)]
    together = [
        "loss 6 is the first",
        "loss 7 is no better than 6 (min); step 10 is the next of every 10 steps",
        "step 10 of every 10 steps",
        "asked for by SIGUSR1",
    ]
    assert [each[:4] for each in said] == [together] * RANKS
    assert said[1][4] == "step 10 is the next of every 10 steps"
