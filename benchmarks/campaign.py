"""What the campaigns of kill -9 have in common: their command line, and a kill that may come in time."""

import argparse
import hashlib
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LONGEST = 600.0
"""Seconds for which the program may run once the kills are done."""


class Kills:
    """So many kills of one command, each at a moment that `chance` picks."""

    def __init__(self, wanted: int, chance: random.Random) -> None:
        self._wanted = wanted
        self._chance = chance
        self.count = 0

    @property
    def done(self) -> bool:
        return self.count >= self._wanted

    def hit(self, process: "subprocess.Popen[bytes]", least: float, most: float) -> bool:
        """Kills the process between `least` and `most` seconds from now, unless it ends before that or the kills are
        done. Whether it was killed; raises AssertionError when it ended with an error."""
        try:
            code = process.wait(timeout=LONGEST if self.done else self._chance.uniform(least, most))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            assert not self.done, f"it did not end within {LONGEST:.0f} seconds"
            self.count += 1
            return True
        assert code == 0, f"it ended with {code}"
        return False


class Campaign:
    """What a campaign was told on its command line: a store, and how often to kill. One seed gives one campaign."""

    def __init__(self, description: str | None) -> None:
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("url")
        parser.add_argument("--endpoint-url", required=True)
        parser.add_argument("--kills", type=int, default=100)
        parser.add_argument("--seed", type=int, default=1)
        arguments = parser.parse_args()
        self.url: str = arguments.url
        self.endpoint_url: str = arguments.endpoint_url
        self._wanted: int = arguments.kills
        self._chance = random.Random(arguments.seed)

    def kills(self) -> Kills:
        """The kills of one command."""
        return Kills(self._wanted, self._chance)


def start(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdout: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    """`ckpt-tier` with these arguments, at work in a folder."""
    return subprocess.Popen([sys.executable, "-m", "ckpt_tier", *arguments], cwd=folder, env=env, stdout=stdout)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
