"""kill -9 at random moments of `prune` and of `restore`: what is lost, and what is half-visible.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
        python benchmarks/prune_campaign.py s3://bucket/prefix --endpoint-url http://127.0.0.1:9000 [--kills 100]

Rounds of 30 checkpoints are synced; `prune` to the newest three and every tenth is killed after a random time, until it
is through. After each kill every manifest that is there must be complete, and what the policy keeps must be there. Then
`restore` of a checkpoint of 120 MB is killed in the same way: nothing but the whole file may ever be seen at its place.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from ckpt_tier.config import load
from ckpt_tier.flow.proof import prove_present
from ckpt_tier.wiring import Wiring

STEPS = range(30)
KEPT = {0, 10, 20, 27, 28, 29}
LARGE = 1000


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prepared(folder: Path, url: str, endpoint_url: str, number: int) -> str:
    """Everything is committed; returns the SHA-256 of the large one."""
    hot = folder / "checkpoints"
    hot.mkdir()
    (folder / "ckpt-tier.toml").write_text(
        f'run = "prunes-{os.getpid()}-{number}"\nstate_dir = "state"\n[hot]\npath = "checkpoints"\n'
        f'layout = "step_{{step}}.pt"\nkeep_last = 1\nsettle = "0s"\nmin_free = "1MB"\n'
        f'[cold]\nurl = "{url}"\nendpoint_url = "{endpoint_url}"\nkeep_last = 3\nkeep_every = 10\n'
    )
    now = time.time()
    torch.save({"w": torch.randn(30_000_000)}, hot / f"step_{LARGE}.pt")
    os.utime(hot / f"step_{LARGE}.pt", (now - 10_000, now - 10_000))  # the oldest by time, the newest by step
    for step in STEPS:
        torch.save({"step": step, "w": torch.randn(1000)}, hot / f"step_{step}.pt")
        os.utime(hot / f"step_{step}.pt", (now - 5000 + step,) * 2)
    digest = sha256(hot / f"step_{LARGE}.pt")
    start(folder, "sync", "-q").wait()
    return digest


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "ckpt_tier", *arguments], cwd=folder, stdout=subprocess.DEVNULL)


def committed(folder: Path) -> set[int]:
    """The steps with a manifest, each of which is proven complete."""
    wiring = Wiring(load(folder / "ckpt-tier.toml", env=os.environ, cwd=folder))
    found = wiring.cold.manifests.entries("main")
    for entry in found:
        prove_present(wiring.store, wiring.cold.manifests.read_fresh(entry).files)
    return {entry.step for entry in found}


def killed(folder: Path, after: float, *arguments: str) -> bool:
    """Whether the kill came before the end."""
    process = start(folder, *arguments)
    try:
        assert process.wait(timeout=after) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--endpoint-url", required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    prunes = restores = rounds = 0
    while prunes < arguments.kills or restores < arguments.kills:
        folder = Path(tempfile.mkdtemp())
        rounds += 1
        digest = prepared(folder, arguments.url, arguments.endpoint_url, rounds)
        assert committed(folder) == {*STEPS, LARGE}
        for _ in range(arguments.kills):
            after = chance.uniform(0.3, 1.6) if prunes < arguments.kills else 600
            if not killed(folder, after, "prune", "--yes", "-q"):
                break
            prunes += 1
            there = committed(folder)
            assert there >= {*KEPT, LARGE}, there
        assert start(folder, "prune", "--yes", "-q").wait() == 0
        assert committed(folder) == {*KEPT, LARGE}
        back = folder / "back" / f"step_{LARGE}.pt"
        for _ in range(arguments.kills):
            after = chance.uniform(0.3, 1.6) if restores < arguments.kills else 600
            if not killed(folder, after, "restore", "-q", "--step", str(LARGE), "--to", "back"):
                break
            restores += 1
            assert not back.exists() or sha256(back) == digest, "half a file was visible"
        assert start(folder, "restore", "-q", "--step", str(LARGE), "--to", "back").wait() == 0
        assert sha256(back) == digest
        shutil.rmtree(folder)
        print(f"round {rounds}: prune killed {prunes} times, restore {restores} times, nothing lost", flush=True)
    print(f"{prunes} kills of prune, {restores} kills of restore, {rounds} rounds: nothing lost, nothing half-visible")


if __name__ == "__main__":
    main()
