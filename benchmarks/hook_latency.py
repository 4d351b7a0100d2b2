"""How long `Tier.saved` keeps training waiting: calls straight after a real save, with the worker at work beside it.

    python benchmarks/hook_latency.py [--calls 1000] [--megabytes 4]

Prints p50, p99 and the maximum in milliseconds, and what became of the saves.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

import ckpt_tier
from ckpt_tier.store.folder import FolderStore

CONFIG = """
run = "latency"
state_dir = "state"
[hot]
path = "checkpoints"
layout = "step_{step}.pt"
keep_last = 2
min_free = "100MB"
[cold]
url = "cold"
same_device = true
"""


def measure(folder: Path, calls: int, megabytes: float) -> tuple[list[float], ckpt_tier.Drained]:
    """Seconds of each call, and what was committed."""
    hot, cold = folder / "checkpoints", folder / "cold"
    hot.mkdir()
    cold.mkdir()
    FolderStore(cold).create_marker()
    (folder / "ckpt-tier.toml").write_text(CONFIG)
    state = {"weights": torch.randn(round(megabytes * 2**20 / 4))}
    seconds = []
    with ckpt_tier.open(folder / "ckpt-tier.toml") as tier:
        for step in range(calls):
            path = hot / f"step_{step}.pt"
            torch.save(state, path)
            begun = time.perf_counter()
            tier.saved(path, step, metrics={"loss": 1.0 / (step + 1)})
            seconds.append(time.perf_counter() - begun)
        drained = tier.drain(timeout=600)
    return seconds, drained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--megabytes", type=float, default=4.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        seconds, drained = measure(Path(name), arguments.calls, arguments.megabytes)
    milliseconds = sorted(1000 * value for value in seconds)
    p99 = statistics.quantiles(milliseconds, n=100)[98]
    print(f"calls {len(seconds)}, each after a torch.save of {arguments.megabytes:g} MiB")
    print(f"p50 {statistics.median(milliseconds):.3f} ms   p99 {p99:.3f} ms   max {milliseconds[-1]:.3f} ms")
    print(f"committed {len(drained.committed)}, pending {len(drained.pending)}")


if __name__ == "__main__":
    main()
