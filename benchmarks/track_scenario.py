"""What it costs to track one scalar over 83 checkpoints: bytes, requests, seconds, in turn with fetching one of them.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
        python benchmarks/track_scenario.py s3://bucket/prefix --endpoint-url http://127.0.0.1:9000 \
        [--size 120 | --size 1200 --holes /data/of/this/minio]
    python benchmarks/track_scenario.py /a/folder --sparse --size 1200

The checkpoints hold a model of 24 layers with AdamW's state and a scalar `k` in each layer, 700 tensors, besides the
step and the learning rate, so that no two pickles are the same. To a store they are uploaded by `sync`. With `--sparse`
the cold tier is a folder, and they are put there as sparse files (all weights are zero), which take no room: so their
real size can be had. With `--holes` they are uploaded to a MinIO on this machine, and what is zero in its files is
given back to the disk after each; the files stay what they are. `--fetched` is the size of the one that is fetched, in
MB; 0 fetches none. Seconds are those of whole processes, imports included, all but "again" with an empty `state_dir`;
their modules are compiled, as those of an installed program. Shown are the median of `--rounds`, the least and the
most.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ckpt_tier.cold.documents import encode
from ckpt_tier.cold.manifest import FORMAT, Manifest, Member, place
from ckpt_tier.cold.runs import join_run
from ckpt_tier.config import load
from ckpt_tier.core.findings import Findings
from ckpt_tier.core.nouns import FileDigest, generation_id
from ckpt_tier.core.units import format_size, format_time
from ckpt_tier.store import open_store
from ckpt_tier.store.folder import FolderStore

LAYERS = 24
PARTS = ("attention.query", "attention.key", "attention.value", "attention.output", "mlp.rise", "mlp.fall")
EVERY = 5000
BEGUN = 1.7e9
KEY = "model.layers.11.swelu.k"
ALL_KEYS = "model.layers.*.swelu.k"


def state(step: int, size: int) -> dict[str, Any]:
    """A training state of about `size` bytes: weights in bfloat16, and two moments of four bytes each."""
    each = max(1, size // (LAYERS * len(PARTS) * 10))
    model: dict[str, torch.Tensor] = {}
    for layer in range(LAYERS):
        model |= {f"layers.{layer}.{part}.weight": torch.zeros(each, dtype=torch.bfloat16) for part in PARTS}
        model[f"layers.{layer}.swelu.k"] = torch.tensor(1.0 + layer / 10 + step / 1e6)
    moments = {
        index: {
            "step": torch.tensor(float(step)),
            "exp_avg": torch.zeros(value.numel()),
            "exp_avg_sq": torch.zeros(value.numel()),
        }
        for index, value in enumerate(model.values())
    }
    group = {"lr": 3e-4 / (1 + step / 1e5), "betas": (0.9, 0.999), "params": list(moments)}
    return {"model": model, "optimizer": {"state": moments, "param_groups": [group]}, "step": step}


class SparseFile:
    """What torch.save writes to: bytes that are all zero are passed over, and so take no room."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, data: bytes) -> int:
        if len(data) > 4096 and not any(bytes(data[:4096])) and bytes(data).count(0) == len(data):
            self._file.seek(len(data), os.SEEK_CUR)
        else:
            self._file.write(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.truncate()
        self._file.close()


def put_sparse(folder: Path, cold: Path, steps: range, size: int) -> None:
    """Commits sparse checkpoints, as `sync` would, but for the proofs: their digests are made up."""
    config = load(folder / "ckpt-tier.toml", env=os.environ, cwd=folder)
    store = open_store(config.cold)
    run = join_run(store, config.run, None, new_id="0" * 16, now=BEGUN)
    for step in steps:
        work = folder / "one.pt"
        file = SparseFile(work)
        torch.save(state(step, size), file)
        file.close()
        name = f"model/step_{step}.pt"
        digest = FileDigest(name, work.stat().st_size, 0o644, step * 10**9, f"{step:064x}", f"{step:016x}")
        identity, files = place(config.run, "model", step, (digest,))
        there = cold / files[0].key
        there.parent.mkdir(parents=True)
        work.rename(there)
        findings = Findings(format="torch-zip", level="full", checksums=700)
        made = Manifest(
            format=FORMAT,
            run=config.run,
            run_id=run.id,
            series="model",
            step=step,
            saved_at=format_time(BEGUN + step),
            generation=generation_id([identity]),
            save_id=None,
            layout="{series}/step_{step}.pt",
            members=(Member(id=identity, rank=None, host="node", files=files, findings=findings),),
            metrics={},
            versions={"ckpt-tier": "0"},
        )
        store.put(made.key, encode(made))


class Seconds(NamedTuple):
    """What one process has taken."""

    wall: float
    cpu: float


def command(folder: Path, *arguments: str) -> tuple[Seconds, str]:
    """Runs `ckpt-tier`: what it has taken, and its output."""
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    begun, before = time.perf_counter(), cpu_of_children()
    done = subprocess.run(
        [sys.executable, "-m", "ckpt_tier", *arguments],
        cwd=folder,
        env=compiled,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Seconds(time.perf_counter() - begun, cpu_of_children() - before), done.stdout


def cpu_of_children() -> float:
    """Seconds of all that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def track(folder: Path, *arguments: str) -> tuple[Seconds, str]:
    """Tracks once: what it has taken, and what it has cost besides."""
    seconds, out = command(folder, "track", "--series", "model", *arguments, "--json")
    found = json.loads(out)
    values = sum(value["figures"]["verified"] for each in found["checkpoints"] for value in each["values"])
    return seconds, (
        f"{len(found['checkpoints'])} checkpoints, {values} values proven by their CRC32, "
        f"{format_size(found['read_bytes'])} of {format_size(found['size_bytes'])} read, {found['requests']} requests"
    )


def fetch(folder: Path) -> tuple[Seconds, str]:
    """Fetches the large one once."""
    shutil.rmtree(folder / "back", ignore_errors=True)
    seconds, _ = command(folder, "restore", "-q", "--series", "large", "--latest", "--to", "back")
    return seconds, f"{format_size(sum(path.stat().st_size for path in (folder / 'back').rglob('*.pt')))} fetched"


def told(seconds: list[Seconds]) -> str:
    """The median of each, with the least and the most."""
    shown = []
    for name in Seconds._fields:
        values = [getattr(each, name) for each in seconds]
        shown.append(f"{statistics.median(values):.2f} s {name} ({min(values):.2f}-{max(values):.2f})")
    return ", ".join(shown)


def report(folder: Path, rounds: int, fetched: int) -> None:
    """Each in turn, so that what else the machine does falls on all of them; the first round is not counted."""
    asked: dict[str, Callable[[], tuple[Seconds, str]]] = {
        "one scalar, nothing remembered": lambda: track(folder, KEY),
        "one scalar again": lambda: track(folder, KEY),
        "a scalar of each layer": lambda: track(folder, ALL_KEYS),
    }
    if fetched:
        asked[f"fetching one of {fetched:,} MB, nothing remembered"] = lambda: fetch(folder)
    taken: dict[str, list[Seconds]] = {name: [] for name in asked}
    costs = dict.fromkeys(asked, "")
    for number in range(rounds + 1):
        for name, ask in asked.items():
            if not name.endswith("again"):
                shutil.rmtree(folder / "state", ignore_errors=True)
            seconds, costs[name] = ask()
            if number:
                taken[name].append(seconds)
    for name, seconds_of in taken.items():
        print(f"{name}: {costs[name]}, {told(seconds_of)}")


def dig(data: Path, known: set[Path]) -> None:
    """Gives back to the disk what is zero in MinIO's files, of which `known` have been seen."""
    for path in data.rglob("part.*"):
        if path not in known and path.stat().st_size > 2**20:
            subprocess.run(["fallocate", "--dig-holes", str(path)], check=True)
            known.add(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--endpoint-url", default="")
    parser.add_argument("--checkpoints", type=int, default=83)
    parser.add_argument("--size", type=int, default=120, help="MB of each")
    parser.add_argument("--fetched", type=int, default=1200, help="MB of the one that is fetched")
    parser.add_argument("--sparse", action="store_true")
    parser.add_argument("--holes", type=Path, metavar="DATA", help="MinIO's folder of data")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    steps = range(EVERY, (arguments.checkpoints + 1) * EVERY, EVERY)
    folder = Path(tempfile.mkdtemp())
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    hot = folder / "checkpoints"
    (hot / "model").mkdir(parents=True)
    (hot / "large").mkdir()
    (folder / "ckpt-tier.toml").write_text(
        f'run = "track-{os.getpid()}"\n[hot]\npath = "checkpoints"\nlayout = "{{series}}/step_{{step}}.pt"\n'
        f'settle = "0s"\nkeep_last = 1\nmin_free = "1MB"\n[cold]\nurl = "{arguments.url}"\n'
        + (f'endpoint_url = "{arguments.endpoint_url}"\n' if arguments.endpoint_url else "same_device = true\n")
    )
    try:
        if arguments.sparse:
            cold = Path(arguments.url)
            cold.mkdir(parents=True, exist_ok=True)
            FolderStore(cold).create_marker()
            put_sparse(folder, cold, steps, arguments.size * 10**6)
        known: set[Path] = set()
        for index, step in enumerate(steps if not arguments.sparse else ()):
            path = hot / "model" / f"step_{step}.pt"
            file = SparseFile(path)
            torch.save(state(step, arguments.size * 10**6), file)
            file.close()
            os.utime(path, (BEGUN + step,) * 2)
            if index % 20 == 19 or (arguments.holes and index % 3 == 2):
                command(folder, "sync", "-q")
            if arguments.holes:
                dig(arguments.holes, known)
        if arguments.fetched:
            torch.save(state(EVERY, arguments.fetched * 10**6), hot / "large" / f"step_{EVERY}.pt")
        if arguments.fetched or not arguments.sparse:
            command(folder, "sync", "-q")
        # So that every one is read from the cold tier: what lies on this disk is read from there.
        shutil.rmtree(hot / "model")
        report(folder, arguments.rounds, arguments.fetched)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
