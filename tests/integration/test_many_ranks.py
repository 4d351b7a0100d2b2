"""Many ranks against a real MinIO, in real processes that have nothing in common but the store."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.minio import Bucket
from tests.ready import started, wait_for

RANKS = 6
LAYOUT = "step_{step}.pt"
SAVE = """
import sys, torch, ckpt_tier
rank = int(sys.argv[1])
tier = ckpt_tier.open("ckpt-tier.toml", worker=False)
print("ready", flush=True)
sys.stdin.readline()
path = tier.config.hot.path / "step_5.pt"
torch.save({"rank": rank, "w": torch.randn(1000)}, path)
tier.saved(path, step=5, rank=rank, world_size=int(sys.argv[2]), metrics={"loss": 1.5})
"""
DDP = """
import sys, torch, ckpt_tier
import torch.distributed as dist
import torch.multiprocessing as mp

def train(rank, world, rendezvous):
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 8))
    tier = ckpt_tier.open("ckpt-tier.toml", worker=False)
    for step in (5, 6):
        model(torch.randn(4, 8)).sum().backward()
        dist.barrier()
        tier.save({"rank": rank, "model": model.module.state_dict()}, step=step)
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.spawn(train, args=(4, sys.argv[1]), nprocs=4)
"""


def prepared(folder: Path, bucket: Bucket, layout: str = LAYOUT) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "ckpt-tier.toml").write_text(
        f'run = "many"\nstate_dir = "state"\n[hot]\npath = "checkpoints"\nlayout = "{layout}"\nmin_free = "1B"\n'
        f'[cold]\nurl = "{bucket.url}"\nendpoint_url = "{bucket.endpoint_url}"\n'
    )
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=os.environ, text=True, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done


def save_together(nodes: list[Path]) -> None:
    """One process for each rank, all of them alive before the first saves, as in any training."""
    processes = [started(SAVE, rank, len(nodes), cwd=node) for rank, node in enumerate(nodes)]
    wait_for(*processes)
    for process in processes:
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0


def manifests(bucket: Bucket) -> list[str]:
    listed = bucket.client.list_objects_v2(Bucket=bucket.bucket, Prefix="many/main/manifests/")
    return [entry["Key"] for entry in listed.get("Contents", [])]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_six_ranks_by_six_processes_each_with_only_its_own_folder(s3: Bucket, tmp_path: Path) -> None:
    nodes = [prepared(tmp_path / str(rank), s3) for rank in range(RANKS)]
    save_together(nodes)
    for node in nodes[:-1]:
        run(node, "-m", "ckpt_tier", "sync")
    assert manifests(s3) == []
    said = run_failing(nodes[0], "restore", "--latest", "--rank", "0", code=5)
    assert "no checkpoint of series 'main' is good" in said
    run(nodes[-1], "-m", "ckpt_tier", "sync")
    assert len(manifests(s3)) == 1
    for rank, node in enumerate(nodes):
        run(node, "-m", "ckpt_tier", "restore", "--step", "5", "--rank", str(rank), "--to", "back")
        assert sha256(node / "back/step_5.pt") == sha256(node / "checkpoints/step_5.pt")
        run(node, "-m", "ckpt_tier", "sync")
    assert len(manifests(s3)) == 1


def run_failing(folder: Path, *arguments: str, code: int) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ckpt_tier", *arguments],
        cwd=folder,
        env=os.environ,
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def test_from_ddp_over_gloo_the_ranks_know_themselves(s3: Bucket, tmp_path: Path) -> None:
    node = prepared(tmp_path / "node", s3, "step_{step}/rank_{rank}.pt")
    (node / "train.py").write_text(DDP)
    run(node, "train.py", str(tmp_path / "rendezvous"))
    run(node, "-m", "ckpt_tier", "sync")
    assert len(manifests(s3)) == 2
    before = {
        path.relative_to(node / "checkpoints"): sha256(path) for path in (node / "checkpoints").rglob("rank_*.pt")
    }
    assert len(before) == 8
    for step in (5, 6):
        run(node, "-m", "ckpt_tier", "restore", "--step", str(step), "--to", "back")
    assert {path: sha256(node / "back" / path) for path in before} == before


@pytest.mark.parametrize("kill_after", [0.6, 1.0, 1.4])
def test_a_killed_worker_of_one_rank_loses_nothing_and_commits_later(
    s3: Bucket, tmp_path: Path, kill_after: float
) -> None:
    nodes = [prepared(tmp_path / str(rank), s3) for rank in range(2)]
    save_together(nodes)
    run(nodes[0], "-m", "ckpt_tier", "sync")
    with subprocess.Popen([sys.executable, "-m", "ckpt_tier", "sync", "-q"], cwd=nodes[1], env=os.environ) as process:
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
    for node in nodes:
        run(node, "-m", "ckpt_tier", "sync")
    assert len(manifests(s3)) == 1
