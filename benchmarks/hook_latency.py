"""How long `Tier.saved` keeps training waiting: calls straight after a real save, with the worker at work beside it.

    python benchmarks/hook_latency.py [--calls 1000] [--megabytes 4] [--busy] [--json]

Prints p50, p99 and the maximum in milliseconds, and what became of the saves. `--busy`: a second thread computes all
the while, as a training does that saves from a thread of its own.
"""

import argparse
import contextlib
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from json_figures import print_figures

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
DRAIN_SECONDS = 1800.0


@contextlib.contextmanager
def computing() -> Iterator[None]:
    """A thread that multiplies matrices until the block ends."""
    over = threading.Event()

    def compute() -> None:
        weights = torch.randn(512, 512)
        while not over.is_set():
            weights = torch.tanh(weights @ weights)

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure(folder: Path, calls: int, megabytes: float, *, busy: bool) -> tuple[list[float], ckpt_tier.Drained]:
    """Seconds of each call, and what was committed."""
    hot, cold = folder / "checkpoints", folder / "cold"
    hot.mkdir()
    cold.mkdir()
    FolderStore(cold).create_marker()
    (folder / "ckpt-tier.toml").write_text(CONFIG)
    state = {"weights": torch.randn(round(megabytes * 2**20 / 4))}
    seconds = []
    torch.set_num_threads(1)
    with ckpt_tier.open(folder / "ckpt-tier.toml") as tier:
        with computing() if busy else contextlib.nullcontext():
            for step in range(calls):
                path = hot / f"step_{step}.pt"
                torch.save(state, path)
                begun = time.perf_counter()
                tier.saved(path, step, metrics={"loss": 1.0 / (step + 1)})
                seconds.append(time.perf_counter() - begun)
        drained = tier.drain(timeout=DRAIN_SECONDS)
    return seconds, drained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--megabytes", type=float, default=4.0)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        seconds, drained = measure(Path(name), arguments.calls, arguments.megabytes, busy=arguments.busy)
    milliseconds = sorted(1000 * value for value in seconds)
    p50, p99 = statistics.median(milliseconds), statistics.quantiles(milliseconds, n=100)[98]
    if arguments.json:
        found = {
            "calls": (len(seconds), ""),
            "p50": (p50, "ms"),
            "p99": (p99, "ms"),
            "longest": (milliseconds[-1], "ms"),
            "committed": (len(drained.committed), ""),
            "pending": (len(drained.pending), ""),
        }
        print_figures([{"name": name, "value": value, "unit": unit} for name, (value, unit) in found.items()])
        return
    print(f"calls {len(seconds)}, each after a torch.save of {arguments.megabytes:g} MiB")
    print(f"p50 {p50:.3f} ms   p99 {p99:.3f} ms   max {milliseconds[-1]:.3f} ms")
    print(f"committed {len(drained.committed)}, pending {len(drained.pending)}")


if __name__ == "__main__":
    main()
