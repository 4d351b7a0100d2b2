"""kill -9 at random moments of `prune` and of `restore`: what is lost, and what is half-visible.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
        python benchmarks/prune_campaign.py s3://bucket/prefix --endpoint-url http://127.0.0.1:9000 [--kills 100]

Rounds of 30 checkpoints are synced; `prune` to the newest three and every tenth is killed after a random time, until it
is through. After each kill every manifest that is there must be complete, and what the policy keeps must be there. Then
`restore` of a checkpoint of 120 MB is killed in the same way: nothing but the whole file may ever be seen at its place.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

import torch
from campaign import Campaign, sha256, start

from ckpt_tier.config import load
from ckpt_tier.flow.proof import prove_present
from ckpt_tier.wiring import Wiring

STEPS = range(30)
KEPT = {0, 10, 20, 27, 28, 29}
LARGE = 1000


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


def committed(folder: Path) -> set[int]:
    """The steps with a manifest, each of which is proven complete."""
    wiring = Wiring(load(folder / "ckpt-tier.toml", env=os.environ, cwd=folder))
    found = wiring.cold.manifests.entries("main")
    for entry in found:
        prove_present(wiring.store, wiring.cold.manifests.read_fresh(entry).files)
    return {entry.step for entry in found}


def main() -> None:
    campaign = Campaign(__doc__)
    prunes, restores = campaign.kills(), campaign.kills()
    rounds = 0
    while not (prunes.done and restores.done):
        folder = Path(tempfile.mkdtemp())
        rounds += 1
        digest = prepared(folder, campaign.url, campaign.endpoint_url, rounds)
        assert committed(folder) == {*STEPS, LARGE}
        while prunes.hit(start(folder, "prune", "--yes", "-q"), 0.3, 1.6):
            there = committed(folder)
            assert there >= {*KEPT, LARGE}, there
        assert start(folder, "prune", "--yes", "-q").wait() == 0
        assert committed(folder) == {*KEPT, LARGE}
        back = folder / "back" / f"step_{LARGE}.pt"
        while restores.hit(start(folder, "restore", "-q", "--step", str(LARGE), "--to", "back"), 0.3, 1.6):
            assert not back.exists() or sha256(back) == digest, "half a file was visible"
        assert start(folder, "restore", "-q", "--step", str(LARGE), "--to", "back").wait() == 0
        assert sha256(back) == digest
        shutil.rmtree(folder)
        print(
            f"round {rounds}: prune killed {prunes.count} times, restore {restores.count} times, nothing lost",
            flush=True,
        )
    print(
        f"{prunes.count} kills of prune, {restores.count} kills of restore, {rounds} rounds: "
        "nothing lost, nothing half-visible"
    )


if __name__ == "__main__":
    main()
