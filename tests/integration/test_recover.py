"""`recover` from a bucket on a real MinIO: six series, an empty home, and kill -9 at random moments."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.ground import ROOT, Result, ended
from tests.minio import Bucket
from tests.proxy import Trouble, troubled

KILLS = int(os.environ.get("CKPT_TIER_TEST_KILLS", "10"))
SERIES = [str(number) for number in range(6)]
SIZE = 300_000
CONFIG = """run = "swelu"
state_dir = "state"
[hot]
path = "hot"
layout = "model_gpu{{series}}/model_step_{{step}}.dat"
settle = "0s"
keep_last = 2
min_free = "1B"
[cold]
url = "{url}"
endpoint_url = "{endpoint}"
"""


def content(step: int, series: str) -> bytes:
    return random.Random(f"{step} {series}").randbytes(SIZE)


def name(step: int, series: str) -> str:
    return f"model_gpu{series}/model_step_{step}.dat"


class Machine:
    """A folder that is home, working folder and everything else that a new machine has."""

    def __init__(self, root: Path, bucket: Bucket) -> None:
        root.mkdir(parents=True)
        self.root = root
        self.bucket = bucket
        self.to = root / "checkpoints"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("CKPT_TIER_", "XDG_"))}
        return subprocess.Popen(
            [sys.executable, "-m", "ckpt_tier", *arguments],
            cwd=self.root,
            env={**keep, "HOME": str(self.root), "PYTHONPATH": str(ROOT)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str) -> Result:
        with self.start(*arguments) as process:
            result = ended(process, timeout=120)
        assert result.code == 0, result.out + result.err
        return result

    def recovery(self) -> tuple[str, ...]:
        url = f"{self.bucket.url}/prod"
        return ("recover", url, "--to", "checkpoints", "--endpoint-url", self.bucket.endpoint_url, "--json")

    def visible(self) -> dict[str, bytes]:
        return {path.relative_to(self.to).as_posix(): path.read_bytes() for path in self.to.glob("model*/*")}


@pytest.fixture
def place() -> Iterator[Path]:
    """In memory: what a SIGKILL leaves is the same there, and an fsync costs nothing."""
    memory = Path("/dev/shm")  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="ckpt-tier-recover-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def bucket(s3: Bucket, place: Path) -> Iterator[tuple[Bucket, Trouble]]:
    """Six series of three checkpoints, synced by a machine that is gone."""
    with troubled(s3) as (through, trouble):
        old = Machine(place / "old", through)
        (old.root / "ckpt-tier.toml").write_text(CONFIG.format(url=f"{s3.url}/prod", endpoint=through.endpoint_url))
        for series in SERIES:
            for step in (1, 2, 3):
                path = old.root / "hot" / name(step, series)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content(step, series))
                os.utime(path, (1_577_836_800 + step, 1_577_836_800 + step))
        old.run("sync", "-q")
        shutil.rmtree(old.root)
        trouble.seen.clear()
        yield through, trouble


NEWEST = {name(3, series): content(3, series) for series in SERIES}


def test_a_bucket_and_its_url_are_enough(bucket: tuple[Bucket, Trouble], place: Path) -> None:
    through, trouble = bucket
    new = Machine(place / "new", through)
    document = new.run(*new.recovery()).document
    assert new.visible() == NEWEST
    assert {(each["series"], each["step"]) for each in document["restored"]} == {(series, 3) for series in SERIES}
    text = (new.root / "ckpt-tier.toml").read_text()
    assert "keep_last = 2" in text
    assert "state_dir" not in text
    assert not any(word.startswith(("PUT", "POST", "DELETE")) for word in trouble.seen), "a recovery only reads"

    trouble.seen.clear()
    synced = new.run("sync", "--json").document
    assert (synced["committed"], synced["evicted"], synced["trouble"]) == ([], [], [])
    sent = [word.partition("?")[0] for word in trouble.seen if word.startswith(("PUT", "POST"))]
    assert [word for word in sent if "/_configs/" not in word] == [], "nothing is uploaded again"

    trouble.seen.clear()
    new.run("sync", "-q")
    assert not [word for word in trouble.seen if "configs" in word], "an idle sync asks nothing for its configuration"
    assert new.run("status", "--json").document["attention"] == []


def test_a_recovery_killed_at_random_moments_is_finished_by_the_next(
    bucket: tuple[Bucket, Trouble], place: Path
) -> None:
    through, _ = bucket
    dice = random.Random(11)
    begun = time.monotonic()
    first = Machine(place / "first", through)
    first.run(*first.recovery())
    longest = time.monotonic() - begun
    new = Machine(place / "new-0", through)
    for kill in range(KILLS):
        with new.start(*new.recovery()) as process:
            try:
                process.wait(timeout=dice.uniform(0.2, longest))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        for path, data in new.visible().items():
            assert data == NEWEST[path], "nothing half is ever visible"
        if kill % 5 == 4:
            finished(new)
            new = Machine(place / f"new-{kill}", through)
    finished(new)


def finished(new: Machine) -> None:
    new.run(*new.recovery())
    assert new.visible() == NEWEST
    assert not list(new.to.glob(".ckpt-tier/staging/*/*"))
    assert (new.root / "ckpt-tier.toml").is_file()
    synced = new.run("sync", "--json").document
    assert (synced["committed"], synced["evicted"], synced["trouble"]) == ([], [], [])
