"""Comparing two large checkpoints that are only in a real MinIO."""

from pathlib import Path

import pytest
import torch

from tests.integration.test_end_to_end import OnS3
from tests.minio import Bucket


@pytest.fixture
def ground(tmp_path: Path, aws_environment: None) -> OnS3:
    return OnS3(tmp_path)


def test_of_two_steps_of_50_mb_only_the_layer_that_changed_is_read(ground: OnS3, s3: Bucket) -> None:
    ground.configure(s3)
    ground.config.write_text(ground.config.read_text().replace("step_{step}.dat", "step_{step}.pt"))
    state = {f"layer.{i}.weight": torch.randn(1_000_000) for i in range(12)}
    before = {name: value.clone() for name, value in state.items()}
    for step in (5000, 10_000):
        path = ground.hot / f"step_{step}.pt"
        torch.save({"step": step, "model": state}, path)
        ground.take("sync", within=120)
        path.unlink()
        state["layer.7.weight"] += 0.25
    found = ground.take("diff", "5000", "10000", "--json", within=60).document
    assert [found[side]["where"] for side in ("before", "after")] == ["cold", "cold"]
    assert (found["equal_tensors"], found["unread_tensors"]) == (11, 11)
    [changed] = found["changed"]
    assert changed["name"] == "model.layer.7.weight"
    expected = (before["layer.7.weight"] + 0.25).double() - before["layer.7.weight"].double()
    assert changed["change"]["norm"] == pytest.approx(float(expected.norm()))
    read = sum(found[side]["read_bytes"] for side in ("before", "after"))
    assert read < 2 * 4_000_000 + 2 * 300_000
    assert all(found[side]["requests"] <= 4 for side in ("before", "after"))
    same = ground.take("diff", "10000", "latest", "--json", within=60).document
    assert same["equal"] is True
    assert same["before"]["read_bytes"] + same["after"]["read_bytes"] < 300_000
    print(ground.take("diff", "5000", "10000", within=60).out)
