"""kill -9 at random moments of a `recover`: what is half-visible, what is fetched twice, and whether the next one ends.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
        python benchmarks/recover_campaign.py s3://bucket/prefix --endpoint-url http://127.0.0.1:9000 [--kills 100]

Six series of two checkpoints of 40 MB (three pieces each) are synced once. Then machine after machine recovers them
into an empty folder with an empty home; each is killed after a random time, until a recovery is through. After each
kill no file may be there but whole ones, and the configuration must be whole or absent. At the end of a round a `sync`
must find nothing to do.
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
from typing import Any

SERIES = 6
STEPS = (1, 2)
FILE_MB = 40


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Machine:
    """A folder that is home and working folder at once."""

    def __init__(self, url: str, endpoint_url: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ckpt-tier-recover-"))
        self.config = self.folder / "ckpt-tier.toml"
        self._recovery = ["recover", url, "--to", "hot", "--endpoint-url", endpoint_url, "--json"]
        self.configs: set[str] = set()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("CKPT_TIER_", "XDG_"))}
        return subprocess.Popen(
            [sys.executable, "-m", "ckpt_tier", *arguments],
            cwd=self.folder,
            env={**env, "HOME": str(self.folder)},
            stdout=subprocess.PIPE,
        )

    def recover(self) -> subprocess.Popen[bytes]:
        return self.start(*self._recovery)

    def document(self, process: subprocess.Popen[bytes]) -> Any:
        out, _ = process.communicate()
        assert process.returncode == 0, f"ended with {process.returncode}"
        return json.loads(out)

    def check(self, sums: dict[str, str]) -> int:
        """How many checkpoints are there; raises AssertionError when anything half is visible."""
        there = {path.relative_to(self.folder).as_posix(): sha256(path) for path in self.folder.glob("hot/*/*.dat")}
        for path, digest in there.items():
            assert digest == sums[path], f"{path} is half there"
        if self.config.exists():
            self.configs.add(self.config.read_text())
        assert len(self.configs) <= 1, "two recoveries wrote two configurations"
        return len(there)

    def remove(self) -> None:
        shutil.rmtree(self.folder)


def prepare(url: str, endpoint_url: str) -> dict[str, str]:
    """Syncs the checkpoints from a machine that is gone afterwards; path → SHA-256 of the newest of each series."""
    old = Machine(url, endpoint_url)
    old.config.write_text(
        f'run = "recoveries"\n[hot]\npath = "hot"\nlayout = "model_gpu{{series}}/step_{{step}}.dat"\nkeep_last = 2\n'
        f'settle = "0s"\nmin_free = "1MB"\n[cold]\nurl = "{url}"\nendpoint_url = "{endpoint_url}"\n'
    )
    newest = {}
    for series in range(SERIES):
        for step in STEPS:
            path = old.folder / f"hot/model_gpu{series}/step_{step}.dat"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(FILE_MB * 10**6))
            os.utime(path, (1_577_836_800 + step, 1_577_836_800 + step))
            newest[f"hot/model_gpu{series}/step_{max(STEPS)}.dat"] = sha256(path)
    assert old.start("sync", "-q").wait() == 0
    old.remove()
    return newest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--endpoint-url", required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    url = f"{arguments.url.rstrip('/')}/{os.getpid()}"
    sums = prepare(url, arguments.endpoint_url)
    kills = rounds = partly = 0
    most = 6.0
    while kills < arguments.kills:
        machine = Machine(url, arguments.endpoint_url)
        rounds += 1
        begun = time.monotonic()
        while True:
            process = machine.recover()
            try:
                process.wait(timeout=chance.uniform(0.2, most) if kills < arguments.kills else 600)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                there = machine.check(sums)
                partly += 0 < there < SERIES
                continue
            machine.document(process)
            break
        most = max(2.0, min(most, (time.monotonic() - begun)))
        assert machine.check(sums) == SERIES
        again = machine.document(machine.recover())
        assert [each["fetched_bytes"] for each in again["restored"]] == [0] * SERIES, "it was not through"
        synced = machine.document(machine.start("sync", "--json"))
        assert (synced["committed"], synced["evicted"], synced["trouble"]) == ([], [], []), synced
        machine.remove()
        print(f"round {rounds}: {kills} kills so far, nothing half-visible, each recovery ended", flush=True)
    print(f"{kills} kills, {rounds} rounds; after {partly} of them some checkpoints were there and others not")


if __name__ == "__main__":
    main()
