"""What an upload beside it costs a training: the time of its steps with and without, turn by turn.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
        python benchmarks/step_time.py s3://bucket/prefix --endpoint-url http://127.0.0.1:9000 [--turns 5] [--json]

The training is a small network on one thread. A turn is a stretch of steps without, then a stretch that begins with a
save handed over to the worker and ends when that is committed. Compared are the medians of all steps of either kind;
the save itself belongs to neither.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from json_figures import figure, print_figures

import ckpt_tier

QUIET_SECONDS = 5.0
LONGEST = 300.0


class Training:
    """A step is a forward and a backward pass, some milliseconds of one core."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._network = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Tanh(), torch.nn.Linear(512, 512))
        self._data = torch.randn(128, 512)

    def step(self) -> float:
        """Its seconds."""
        begun = time.perf_counter()
        self._network.zero_grad()
        self._network(self._data).square().mean().backward()
        return time.perf_counter() - begun


def measure(folder: Path, url: str, endpoint_url: str, size: int, turns: int) -> tuple[list[float], list[float]]:
    """Seconds of the steps without and with an upload."""
    (folder / "checkpoints").mkdir()
    (folder / "ckpt-tier.toml").write_text(
        f'run = "steps-{os.getpid()}"\nstate_dir = "state"\n[hot]\npath = "checkpoints"\nlayout = "step_{{step}}.pt"\n'
        f'keep_last = 1\nmin_free = "1MB"\n[cold]\nurl = "{url}"\nendpoint_url = "{endpoint_url}"\n'
    )
    training = Training()
    state = {"weights": torch.randn(size // 4)}
    without, beside = [], []
    with ckpt_tier.open(folder / "ckpt-tier.toml") as tier:
        for turn in range(turns):
            end = time.monotonic() + QUIET_SECONDS
            while time.monotonic() < end:
                without.append(training.step())
            path = folder / "checkpoints" / f"step_{turn}.pt"
            torch.save(state, path)
            os.sync()
            tier.saved(path, turn)
            end = time.monotonic() + LONGEST
            while tier.drain(timeout=0).pending and time.monotonic() < end:
                beside += [training.step() for _ in range(20)]
    return without, beside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--endpoint-url", required=True)
    parser.add_argument("--megabytes", type=float, default=1200.0)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        size = round(arguments.megabytes * 1e6)
        without, beside = measure(Path(name), arguments.url, arguments.endpoint_url, size, arguments.turns)
    ratio = statistics.median(beside) / statistics.median(without)
    if arguments.json:
        print_figures(
            [
                figure("step without an upload", [1000 * value for value in without], "ms"),
                figure("step beside an upload", [1000 * value for value in beside], "ms"),
                {"name": "ratio", "value": ratio, "unit": "x"},
            ]
        )
        return
    print(f"{len(without)} steps without: {1000 * statistics.median(without):.3f} ms")
    print(f"{len(beside)} steps beside an upload: {1000 * statistics.median(beside):.3f} ms, {ratio:.3f} x")


if __name__ == "__main__":
    main()
