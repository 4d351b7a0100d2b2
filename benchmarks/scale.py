"""What 10,000 committed checkpoints cost: an idle `sync`, `list` and `status`, against an S3 store.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
        python benchmarks/scale.py s3://bucket/prefix --endpoint-url http://127.0.0.1:9000 \
        [--checkpoints 10000] [--json]

Three checkpoints are saved, synced and kept on the hot tier as usual; the manifests of the older steps are put there
directly, since only their number matters here. Prints seconds of wall time as whole processes, median of five. "Cold"
is with the cache of manifest bodies removed before each run.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from json_figures import figure, print_figures

from ckpt_tier.cold.documents import encode
from ckpt_tier.cold.manifest import FORMAT, Manifest, Member, place
from ckpt_tier.config import load
from ckpt_tier.core.findings import Findings
from ckpt_tier.core.nouns import FileDigest, generation_id
from ckpt_tier.core.units import format_time
from ckpt_tier.store import open_store

EVERY = 5000
CACHE = "manifests.sqlite"
NOT_PROFILED = ("--help", "list --json, warm", "list --long, warm")


def manifest(run: str, run_id: str, step: int) -> Manifest:
    """A well-formed manifest of a checkpoint that nobody will restore."""
    digest = FileDigest(f"step_{step}.pt", 1_200_000_000, 0o644, step * 10**9, f"{step:064x}", f"{step:016x}")
    identity, files = place(run, "main", step, (digest,))
    findings = Findings(format="torch-zip", level="full", checksums=100)
    return Manifest(
        format=FORMAT,
        run=run,
        run_id=run_id,
        series="main",
        step=step,
        saved_at=format_time(1.7e9 + step),
        generation=generation_id([identity]),
        save_id=None,
        layout="step_{step}.pt",
        members=(Member(id=identity, rank=None, host="node", files=files, findings=findings),),
        metrics={"loss": 1.83},
        versions={"ckpt-tier": "0"},
    )


def command(folder: Path, *arguments: str) -> float:
    """Wall seconds of one `ckpt-tier` process."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ckpt_tier", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def under_sampler(folder: Path, target: Path, *arguments: str) -> None:
    """One more `ckpt-tier` process, whose profile goes to `target`."""
    sampled = [sys.executable, "-m", "benchmarks.compare.children.profiled", str(target), *arguments]
    subprocess.run(sampled, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def forget(state: Path) -> None:
    """Removes the cache of manifest bodies, wherever below `state` it is."""
    for path in state.rglob(f"{CACHE}*"):
        path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--endpoint-url", required=True)
    parser.add_argument("--checkpoints", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profiles", type=Path, help="a folder for profiles; needs our root on PYTHONPATH")
    arguments = parser.parse_args()
    figures = []

    def report(name: str, *command_line: str, cold: bool = False) -> None:
        seconds = []
        for _ in range(arguments.runs):
            if cold:
                forget(folder / "state")
            seconds.append(command(folder, *command_line))
        figures.append(figure(name, seconds, "s"))
        if arguments.profiles and name not in NOT_PROFILED:
            if cold:
                forget(folder / "state")
            under_sampler(folder, arguments.profiles / f"{name}.json", *command_line)
        if not arguments.json:
            print(f"{name:30} {statistics.median(seconds):6.3f} s   ({min(seconds):.3f} … {max(seconds):.3f})")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        hot = folder / "checkpoints"
        hot.mkdir()
        (folder / "ckpt-tier.toml").write_text(
            f'run = "scale-{os.getpid()}"\n[hot]\npath = "checkpoints"\nlayout = "step_{{step}}.pt"\nsettle = "0s"\n'
            f'min_free = "1MB"\n[cold]\nurl = "{arguments.url}"\nendpoint_url = "{arguments.endpoint_url}"\n'
        )
        last = arguments.checkpoints * EVERY
        for step in (last - 2 * EVERY, last - EVERY, last):
            torch.save({"step": step}, hot / f"step_{step}.pt")
        command(folder, "sync", "-q")
        report("--help", "--help")
        report("list, 3 checkpoints", "list")
        config = load(folder / "ckpt-tier.toml", env=os.environ, cwd=folder)
        store = open_store(config.cold)
        made = (manifest(config.run, "0" * 16, step) for step in range(EVERY, last - 2 * EVERY, EVERY))
        with ThreadPoolExecutor(16) as pool:
            for _ in pool.map(lambda m: store.put(m.key, encode(m)), made):
                pass
        if not arguments.json:
            print(f"{arguments.checkpoints} committed checkpoints")
        report("sync, idle", "sync", "-q")
        report("list, cold", "list", cold=True)
        report("list, warm", "list")
        report("list --json, warm", "list", "--json")
        report("status, cold", "status", "-q", cold=True)
        report("status, warm", "status", "-q")
        report("list --long, warm", "list", "--long")
    if arguments.json:
        print_figures(figures)


if __name__ == "__main__":
    main()
