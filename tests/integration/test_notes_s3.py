"""Metrics noted later, in a real MinIO: their keys, their listing, and their end."""

import time
from pathlib import Path

from ckpt_tier.core.metrics import Best
from ckpt_tier.noting import annotate
from ckpt_tier.pruning import Pruning
from tests.builders import TwoTiers
from tests.integration.test_prune_s3 import GRACE, prune
from tests.minio import Bucket
from tests.unit.flow.test_prune import filled, prepared

ODD = {"loss": 1.83, "val/loss": -1e-300, "f1@0.5 =ü%!": 1e300, "a" * 50: 0.1}


def prepared_on(s3: Bucket, root: Path) -> TwoTiers:
    made = prepared(root)
    made.set(cold={"url": f"s3://{s3.bucket}/notes", "endpoint_url": s3.endpoint_url, "grace": GRACE})
    return filled(made)


def test_whatever_a_metric_is_called_it_comes_back_from_the_listing(s3: Bucket, tmp_path: Path) -> None:
    tiers = prepared_on(s3, tmp_path)
    assert annotate(tiers.wiring(), 3, ODD).metrics == ODD
    assert annotate(tiers.wiring(), 3, ODD).noted == {}
    assert {row.step: row.metrics for row in tiers.operations().checkpoints()}[3] == ODD
    [pin] = Pruning(tiers.wiring()).pin_best(Best("val/loss"), 1, None, "").pins
    assert pin.step == 3


def test_the_notes_of_what_was_pruned_end_with_its_data(s3: Bucket, tmp_path: Path) -> None:
    tiers = prepared_on(s3, tmp_path)
    store = tiers.wiring().store
    for step in (1, 2, 3):
        annotate(tiers.wiring(), step, {"loss": float(step)})
    prune(tiers)
    assert len(list(store.list("run/0/notes/"))) == 3
    time.sleep(GRACE + 1.5)
    prune(tiers)
    assert [stat.key.split(".")[1] for stat in store.list("run/0/notes/")] == ["000000000003"]
