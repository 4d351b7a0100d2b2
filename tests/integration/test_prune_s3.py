"""Prune against a real MinIO: its clock, its listings, and a process that is killed for real."""

import os
import random
import time
from pathlib import Path

import pytest

from ckpt_tier.cold.documents import decode
from ckpt_tier.cold.manifest import Manifest, check
from ckpt_tier.pruning import Pruning
from ckpt_tier.store.protocol import Store
from tests.builders import TwoTiers
from tests.minio import Bucket
from tests.ready import killed_after, started
from tests.unit.flow.test_prune import filled, prepared

GRACE = 2.0
"""Seconds: shorter than any configuration may say, since nobody can make an object of MinIO older."""

PRUNE = """
import os
import sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.unit.flow.test_prune import prepared
from ckpt_tier.pruning import Pruning
tiers = prepared(Path(sys.argv[1]))
tiers.set(cold={"url": os.environ["COLD_URL"], "endpoint_url": os.environ["COLD_ENDPOINT"]})
tiers.set(cold={"grace": float(sys.argv[2])})
pruning = Pruning(tiers.wiring())
pruning.cold_plan(dry_run=True)
print("ready", flush=True)
sys.stdin.readline()
plan = pruning.cold_plan()
list(pruning.remove(plan))
list(pruning.free(plan, pruning.look_for_loose(plan)))
"""


@pytest.fixture
def tiers(tmp_path: Path, s3: Bucket) -> TwoTiers:
    made = prepared(tmp_path)
    url = f"s3://{s3.bucket}/prune"
    made.set(cold={"url": url, "endpoint_url": s3.endpoint_url, "grace": GRACE})
    return filled(made)


def steps(store: Store, kind: str) -> set[int]:
    """The steps that have a manifest, a tombstone or data."""
    return {int(stat.key.split("/")[3].partition(".")[0]) for stat in store.list(f"run/0/{kind}/")}


def everything_named_is_there(store: Store) -> None:
    for stat in list(store.list("run/0/manifests/")):
        for file in check(decode(store.get(stat.key, 10**6), Manifest, stat.key), stat.key).files:
            assert store.stat(file.key).size == file.size


def prune(tiers: TwoTiers) -> int:
    pruning = Pruning(tiers.wiring())
    plan = pruning.cold_plan()
    list(pruning.remove(plan))
    return len(list(pruning.free(plan, pruning.look_for_loose(plan))))


def test_a_prune_frees_by_the_clock_of_the_store(tiers: TwoTiers) -> None:
    store = tiers.wiring().store
    tiers.clock.time -= 10 * 365 * 86_400  # this machine's clock is ten years behind, and it does not matter
    assert prune(tiers) == 0
    assert (steps(store, "manifests"), steps(store, "tombstones")) == ({0, 3, 4, 5}, {1, 2})
    assert steps(store, "data") == {0, 1, 2, 3, 4, 5}
    time.sleep(GRACE + 1.5)
    assert prune(tiers) == 4
    assert steps(store, "data") == {0, 3, 4, 5}
    everything_named_is_there(store)
    assert list(store.list(".ckpt-tier-probe/")) == []


def test_a_commit_that_adopts_old_data_writes_it_anew(tiers: TwoTiers) -> None:
    store = tiers.wiring().store
    prune(tiers)
    [before] = [stat for stat in store.list("run/0/data/000000000001/") if stat.key.endswith(".pt")]
    time.sleep(GRACE / 2 + 1.5)
    tiers.clock.time = time.time() + 60  # saved again, after its prune
    tiers.write(1)
    tiers.sync()
    assert 1 in steps(store, "manifests")
    assert store.stat(before.key).modified > before.modified
    time.sleep(GRACE)
    prune(tiers)
    everything_named_is_there(store)


def test_a_prune_killed_at_random_moments_leaves_every_checkpoint_whole_or_pruned(tiers: TwoTiers, s3: Bucket) -> None:
    store = tiers.wiring().store
    environment = {**os.environ, "COLD_URL": tiers.config.cold.url, "COLD_ENDPOINT": s3.endpoint_url}
    dice = random.Random(7)
    for grace in (GRACE, 0.0, 0.0):
        killed_after(started(PRUNE, tiers.root, grace, env=environment), dice.uniform(0.01, 0.15))
        everything_named_is_there(store)
        assert steps(store, "manifests") >= {0, 3, 4, 5}
        assert steps(store, "manifests") | steps(store, "tombstones") == {0, 1, 2, 3, 4, 5}
        time.sleep(1.1)
    prune(tiers)
    time.sleep(GRACE + 1.5)
    prune(tiers)
    assert (steps(store, "manifests"), steps(store, "data")) == ({0, 3, 4, 5}, {0, 3, 4, 5})
    everything_named_is_there(store)
