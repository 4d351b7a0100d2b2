"""Real processes, killed by SIGKILL at random moments; then what is left is looked at, and the next start recovers.

The few kills of the quick suite and the campaign of a hundred are the same test with another number.
"""

import hashlib
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt_tier.cold.documents import decode
from ckpt_tier.cold.manifest import Manifest, check
from ckpt_tier.core.events import Lost
from ckpt_tier.pruning import Pruning
from tests.builders import TwoTiers, checkpoint, flip_a_bit
from tests.minio import Bucket
from tests.ready import go, killed_after, killed_after_that, started
from tests.shares import EVERY, LAYOUTS, Ranks

MEMORY = Path("/dev/shm")  # noqa: S108
"""What a SIGKILL leaves is the same in memory, and an fsync costs nothing there."""

PRELUDE = """
import sys
import os
from pathlib import Path
sys.path.insert(0, ".")
from tests.builders import TwoTiers, checkpoint, flip_a_bit
tiers = TwoTiers(Path(sys.argv[1]))
if "COLD_URL" in os.environ:
    tiers.set(cold={"url": os.environ["COLD_URL"], "endpoint_url": os.environ["COLD_ENDPOINT"]})
tiers.wiring().store
print("ready", flush=True)
sys.stdin.readline()
"""
SYNC = PRELUDE + "tiers.sync(); print('done')"
RESTORE = PRELUDE + "tiers.restored(step=int(sys.argv[3]), to=Path(sys.argv[2])); print('done')"
TRAIN = (
    PRELUDE.replace("print(", "[checkpoint(step) for step in range(5)]; print(")
    + """
import time
tier = tiers.tier()
for step in range(int(sys.argv[2]), 10**6):
    path = tiers.path(step)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(checkpoint(step % 5))
    tier.saved(path, step, series="0")
    print(step, flush=True)
    path.unlink()
    time.sleep(0.002)
"""
)
SERIES = ("0", "1", "2")
KILLS = int(os.environ.get("CKPT_TIER_TEST_KILLS", "0"))
"""How often each is killed; 0: a few times. A campaign: CKPT_TIER_TEST_KILLS=100 pytest tests/crash --timeout 3600."""
STEPS = range(12)


@pytest.fixture
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ckpt-tier-kill-", dir=MEMORY if MEMORY.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


def quietly(script: str, *arguments: object) -> "subprocess.Popen[str]":
    return started(script, *arguments, stderr=subprocess.DEVNULL)


def saved(tiers: TwoTiers) -> dict[str, str]:
    """Every path and the SHA-256 of what the training saved there."""
    return {
        tiers.path(step, series).relative_to(tiers.hot).as_posix(): hashlib.sha256(checkpoint(step % 5)).hexdigest()
        for series in SERIES
        for step in STEPS
    }


def look(tiers: TwoTiers) -> dict[str, str]:
    """Path → SHA-256 of everything committed, each object read from the store and found right."""
    store = tiers.wiring().store
    committed = {}
    for stat in [stat for stat in store.list("run/") if "/manifests/" in stat.key]:
        for file in check(decode(store.get(stat.key, 10**6), Manifest, stat.key), stat.key).files:
            assert hashlib.sha256(store.get(file.key, 10**6)).hexdigest() == file.sha256
            committed[file.path] = file.sha256
    return committed


def nothing_is_lost(tiers: TwoTiers) -> None:
    committed = look(tiers)
    on_disk = {hashlib.sha256(p.read_bytes()).hexdigest() for p in tiers.hot.rglob("*") if p.is_file()}
    for path, sha256 in saved(tiers).items():
        assert committed.get(path) == sha256 or (tiers.hot / path).exists() or sha256 in on_disk, path


def fill(tiers: TwoTiers) -> None:
    """The same saves in every series, each renamed into place."""
    for series in SERIES:
        for step in STEPS:
            path = tiers.path(step, series)
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(checkpoint(step % 5))
            os.utime(temporary, (1_900_000_000 + step, 1_900_000_000 + step))
            temporary.replace(path)


def sync_survives(tiers: TwoTiers, kills: int, seed: int, longest: float) -> None:
    dice = random.Random(seed)
    for kill in range(kills):
        if kill % 5 == 0:  # by now the passes before have dealt with everything
            fill(tiers)
        if kill % 10 == 5:
            empty(tiers)
        killed_after(quietly(SYNC, tiers.root), dice.uniform(0.0, longest))
        nothing_is_lost(tiers)
    done = tiers.sync()
    assert look(tiers) == saved(tiers)
    assert done.attention() is None
    assert not tiers.happened(Lost)
    for series in SERIES:
        assert tiers.hot_steps(series) == [10, 11]
    assert not list(tiers.hot.rglob("*.evicting"))


def empty(tiers: TwoTiers) -> None:
    """The cold tier and the journal are gone, just after everything was saved again: the queue starts from nothing."""
    store = tiers.wiring().store
    for stat in list(store.list("run/")):
        store.delete(stat.key)
    tiers.lose_journal()


def test_a_sync_killed_at_random_moments_loses_nothing(place: Path) -> None:
    sync_survives(TwoTiers(place), KILLS or 8, seed=1, longest=0.6)


def on_s3(place: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> TwoTiers:
    monkeypatch.setenv("COLD_URL", f"{bucket.url}/prefix")
    monkeypatch.setenv("COLD_ENDPOINT", bucket.endpoint_url)
    tiers = TwoTiers(place)
    tiers.set(cold={"url": f"{bucket.url}/prefix", "endpoint_url": bucket.endpoint_url})
    return tiers


def test_a_sync_to_s3_killed_at_random_moments_loses_nothing(
    place: Path, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_survives(on_s3(place, s3, monkeypatch), KILLS or 6, seed=7, longest=2.0)


def restore_survives(place: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    tiers = TwoTiers(place / "tiers")
    for step in range(5):
        tiers.write(step)
    tiers.sync()
    for kill in range(kills):
        to = place / f"to-{kill // 3}"
        killed_after(quietly(RESTORE, tiers.root, to, kill % 5), dice.uniform(0.0, 0.15))
        for path in to.rglob("*.pt"):
            assert path.read_bytes() == checkpoint(int(path.stem.rpartition("_")[2])), "nothing half is ever visible"
    for kill in range(kills):
        to = place / f"to-{kill // 3}"
        tiers.restored(step=kill % 5, to=to)
        assert (to / "model_gpu0" / f"model_step_{kill % 5}.pt").read_bytes() == checkpoint(kill % 5)
        assert not list(to.glob(".ckpt-tier/staging/*/*.part")) or kill % 3 < 2


def test_a_restore_killed_at_random_moments_shows_nothing_half(place: Path) -> None:
    restore_survives(place, KILLS or 6, seed=3)


def hook_survives(place: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    tiers = TwoTiers(place)
    first = 0
    handed_over: set[int] = set()
    for _ in range(kills):
        said = killed_after(quietly(TRAIN, place, first), dice.uniform(0.02, 0.1))
        steps = [int(line) for line in said.split("\n")[:-1] if line.isdigit()]
        handed_over |= set(steps)
        first = max(steps, default=first) + 10
        assert {ticket.step for ticket in tiers.wiring().inbox.tickets()} >= set(steps)
    tiers.sync()
    assert set(tiers.cold_steps()) >= handed_over
    assert handed_over


def test_what_was_handed_over_before_the_training_was_killed_is_committed(place: Path) -> None:
    hook_survives(place, KILLS or 4, seed=5)


PRUNE_ALONE = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.builders import TwoTiers
from ckpt_tier.pruning import Pruning
tiers = TwoTiers(Path(sys.argv[1]))
tiers.set(cold={"url": ""})
pruning = Pruning(tiers.wiring())
print("ready", flush=True)
sys.stdin.readline()
for path, went in pruning.delete(pruning.hot_plan(), lambda event: None, rejected=False):
    print(path, flush=True)
"""


def prune_alone_survives(place: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    tiers = TwoTiers(place)
    tiers.set(cold={"url": ""})
    stays = {series: {10, 11} for series in SERIES} | {"2": {9, 10, 11}}
    spoilt = tiers.path(11, "2")
    for _ in range(kills):
        fill(tiers)
        flip_a_bit(spoilt)
        process = quietly(PRUNE_ALONE, place)
        go(process)
        assert process.stdout is not None
        for _ in range(dice.randrange(25)):
            process.stdout.readline()
        killed_after_that(process, dice.uniform(0.0, 0.01))
        for series in SERIES:
            assert stays[series] <= set(tiers.hot_steps(series)), "the newest whole ones stay, whatever happens"
        for path in tiers.hot.rglob("model_step_*.pt"):
            assert path == spoilt or path.read_bytes() == checkpoint(int(path.stem.rpartition("_")[2]) % 5)
        for _ in range(2):  # the first gives what was on its way out its name back
            pruning = Pruning(tiers.wiring())
            list(pruning.delete(pruning.hot_plan(), tiers.events.append, rejected=False))
        assert {series: set(tiers.hot_steps(series)) for series in SERIES} == stays
        assert not list(tiers.hot.rglob("*.evicting"))


def test_a_prune_without_a_cold_tier_killed_amid_deleting_leaves_the_newest_whole_ones(place: Path) -> None:
    prune_alone_survives(place, KILLS or 8, seed=11)


PRUNE_SETS = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.shares import Ranks
from ckpt_tier.pruning import Pruning
ranks = Ranks(Path(sys.argv[1]), sys.argv[2])
ranks.tiers.clock.time = float(sys.argv[3])
pruning = Pruning(ranks.tiers.wiring())
print("ready", flush=True)
sys.stdin.readline()
for path, went in pruning.delete(pruning.hot_plan(), lambda event: None, rejected=False):
    print(path, flush=True)
"""


def prune_of_sets_survives(place: Path, layout: str, kills: int, seed: int) -> dict[str, int]:
    """How often a kill left nothing hidden, hidden shares without a leader, and a leader."""
    dice = random.Random(seed)
    ranks = Ranks(place, layout)
    caught = {"nothing": 0, "evicting": 0, "evicted": 0}
    for _ in range(kills):
        ranks.tiers.clock.time += 10_000.0
        for step in range(10):
            ranks.save(step)
        ranks.spoil(9, 1)
        ranks.tiers.clock.time += 10_000.0
        process = quietly(PRUNE_SETS, place, layout, ranks.tiers.clock.time)
        go(process)
        assert process.stdout is not None
        for _ in range(dice.randrange(1, 22)):
            process.stdout.readline()
        killed_after_that(process, dice.uniform(0.0, 0.003))
        left = {name.rpartition(".")[2] for name in ranks.hidden()}
        caught["evicted" if "evicted" in left else "evicting" if left else "nothing"] += 1
        ranks.recover()
        assert ranks.hidden() == []
        there = ranks.there()
        assert there.pop(9) == [0, 2]
        assert there.keys() >= {7, 8}
        assert all(found == EVERY for found in there.values()), "each set is whole or gone"
        ranks.delete()
        assert ranks.there() == {7: EVERY, 8: EVERY, 9: [0, 2]}
    return caught


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_prune_of_several_ranks_killed_amid_deleting_leaves_each_set_whole_or_gone(place: Path, layout: str) -> None:
    prune_of_sets_survives(place, layout, KILLS or 4, seed=13)
