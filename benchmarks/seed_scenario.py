"""The scenario this tool was made for, scaled: six folders of 83 checkpoints of 12 MB, five of them corrupt.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
        python benchmarks/seed_scenario.py s3://bucket/prefix --endpoint-url http://127.0.0.1:9000

`init`, `sync` (must exit 9 and name the five), then: everything valid is committed, each folder holds its own newest
three valid ones, random steps restore byte-identical, and one member is read back with nothing but `aws s3 cp` and
`sha256sum -c` where the AWS command line is on PATH.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

SERIES = 6
STEPS = range(5_000, 84 * 5_000, 5_000)
WEIGHTS = 3_000_000
"""Floats in a checkpoint: 12 MB."""
RESTORED = 12


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make(hot: Path) -> dict[tuple[str, int], str]:
    """Saves all checkpoints, as a training of the past would have; (series, step) → SHA-256."""
    sums = {}
    now = time.time()
    for index, step in enumerate(STEPS):
        for series in range(SERIES):
            path = hot / f"model_gpu{series}" / f"model_step_{step}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"weights": torch.randn(WEIGHTS), "step": step}, path)
            os.utime(path, (now - 60 * (len(STEPS) - index),) * 2)
            sums[str(series), step] = sha256(path)
    return sums


def spoil(hot: Path) -> set[tuple[str, int]]:
    """Cuts three files short, two of them newest ones, and flips a bit in two others."""
    cut = [("0", STEPS[-1]), ("3", STEPS[-1]), ("5", STEPS[40])]
    flipped = [("1", STEPS[-2]), ("4", STEPS[10])]
    for (series, step), kind in [(c, "cut") for c in cut] + [(f, "flip") for f in flipped]:
        path = hot / f"model_gpu{series}" / f"model_step_{step}.pt"
        times = path.stat()
        with path.open("r+b") as file:
            if kind == "cut":
                file.truncate(path.stat().st_size * 2 // 3)
            else:
                file.seek(6_000_000)
                byte = file.read(1)[0]
                file.seek(6_000_000)
                file.write(bytes([byte ^ 0x10]))
        os.utime(path, (times.st_atime, times.st_mtime))
    return {*cut, *flipped}


def tier(folder: Path, *arguments: str) -> tuple[int, str, float]:
    """Exit code, standard output and wall seconds of one command."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ckpt_tier", *arguments], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    return done.returncode, done.stdout, time.monotonic() - begun


def read_back_by_hand(folder: Path, url: str, endpoint_url: str, run: str) -> str:
    """One member, with nothing but the AWS command line and coreutils."""
    if shutil.which("aws") is None:
        return "not run: there is no `aws` on PATH"
    target = folder / "by-hand"
    prefix = f"{url}/{run}/2/data/{STEPS[50]:012d}/"
    copy = ["aws", "s3", "cp", "--recursive", "--quiet", "--endpoint-url", endpoint_url, prefix, str(target)]
    subprocess.run(copy, check=True)
    [member] = target.iterdir()
    check = subprocess.run(
        ["sha256sum", "-c", f"SHA256SUMS.{member.name}"], cwd=member, check=True, stdout=subprocess.PIPE, text=True
    )
    return f"{' '.join(copy[:4])} … {prefix} && sha256sum -c: {check.stdout.strip()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--endpoint-url", required=True)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    hot = folder / "checkpoints"
    try:
        sums = make(hot)
        spoilt = spoil(hot)
        valid = set(sums) - spoilt
        run = f"seed-{os.getpid()}"
        init = ("init", "checkpoints", arguments.url, "--endpoint-url", arguments.endpoint_url, "--run", run)
        code, _, seconds = tier(folder, *init)
        print(f"init: exit {code}, {seconds:.1f} s")
        size = sum(path.stat().st_size for path in hot.rglob("*.pt"))
        code, _, seconds = tier(folder, "sync", "--quiet")
        print(f"sync: exit {code}, {seconds:.1f} s for {size / 1e9:.2f} GB, {size / seconds / 1e6:.0f} MB/s")
        assert code == 9
        _, out, _ = tier(folder, "status", "--json")
        reported = {(a["series"], a["step"]) for a in json.loads(out)["attention"] if a["state"] == "rejected"}
        assert reported == spoilt, reported
        print(f"rejected and reported: {len(reported)} of {len(spoilt)}")
        _, out, _ = tier(folder, "list", "--json")
        committed = {(c["series"], c["step"]) for c in json.loads(out)["checkpoints"] if c["committed_at"]}
        assert committed == valid
        print(f"committed: {len(committed)} of {len(valid)} valid ones")
        for series in map(str, range(SERIES)):
            there = {int(p.stem.rpartition("_")[2]) for p in (hot / f"model_gpu{series}").iterdir()}
            newest = sorted(step for name, step in valid if name == series)[-3:]
            assert there == set(newest) | {step for name, step in spoilt if name == series}, (series, there)
        print("hot: each folder holds its own newest three valid checkpoints, and its rejected ones")
        for series, step in random.Random(7).sample(sorted(valid), RESTORED):
            code, _, _ = tier(folder, "restore", "--quiet", "--step", str(step), "--series", series, "--to", "back")
            assert code == 0
            back = folder / "back" / f"model_gpu{series}" / f"model_step_{step}.pt"
            assert sha256(back) == sums[series, step]
        print(f"restored byte-identical: {RESTORED} random steps")
        print(read_back_by_hand(folder, arguments.url, arguments.endpoint_url, run))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
