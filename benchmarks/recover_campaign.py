"""kill -9 at random moments of a `recover`: what is half-visible, what is fetched twice, and whether the next one ends.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
        python benchmarks/recover_campaign.py s3://bucket/prefix --endpoint-url http://127.0.0.1:9000 [--kills 100]

Six series of two checkpoints of 40 MB (three pieces each) are synced once. Then machine after machine recovers them
into an empty folder with an empty home; each is killed after a random time, until a recovery is through. After each
kill no file may be there but whole ones, and the configuration must be whole or absent. At the end of a round a `sync`
must find nothing to do.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from campaign import Campaign, sha256, start

SERIES = 6
STEPS = (1, 2)
FILE_MB = 40


class Machine:
    """A folder that is home and working folder at once."""

    def __init__(self, url: str, endpoint_url: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ckpt-tier-recover-"))
        self.config = self.folder / "ckpt-tier.toml"
        self._recovery = ["recover", url, "--to", "hot", "--endpoint-url", endpoint_url, "--json"]
        self.configs: set[str] = set()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("CKPT_TIER_", "XDG_"))}
        return start(self.folder, *arguments, env={**env, "HOME": str(self.folder)}, stdout=subprocess.PIPE)

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
    campaign = Campaign(__doc__)
    kills = campaign.kills()
    url = f"{campaign.url.rstrip('/')}/{os.getpid()}"
    sums = prepare(url, campaign.endpoint_url)
    rounds = partly = 0
    most = 6.0
    while not kills.done:
        machine = Machine(url, campaign.endpoint_url)
        rounds += 1
        begun = time.monotonic()
        while kills.hit(machine.recover(), 0.2, most):
            partly += 0 < machine.check(sums) < SERIES
        most = max(2.0, min(most, (time.monotonic() - begun)))
        assert machine.check(sums) == SERIES
        again = machine.document(machine.recover())
        assert [each["fetched_bytes"] for each in again["restored"]] == [0] * SERIES, "it was not through"
        synced = machine.document(machine.start("sync", "--json"))
        assert (synced["committed"], synced["evicted"], synced["trouble"]) == ([], [], []), synced
        machine.remove()
        print(f"round {rounds}: {kills.count} kills so far, nothing half-visible, each recovery ended", flush=True)
    print(f"{kills.count} kills, {rounds} rounds; after {partly} of them some checkpoints were there and others not")


if __name__ == "__main__":
    main()
