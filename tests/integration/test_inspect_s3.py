"""Looking into a large checkpoint that is only in a real MinIO."""

from pathlib import Path

import pytest
import torch

from tests.integration.test_end_to_end import OnS3
from tests.minio import Bucket


@pytest.fixture
def ground(tmp_path: Path, aws_environment: None) -> OnS3:
    return OnS3(tmp_path)


def test_a_file_of_200_mb_costs_far_below_one_and_few_requests(ground: OnS3, s3: Bucket) -> None:
    ground.configure(s3)
    ground.config.write_text(ground.config.read_text().replace("step_{step}.dat", "step_{step}.pt"))
    state = {"step": 740_000, "model": {f"layer.{i}.weight": torch.zeros(1_000_000) for i in range(50)}}
    path = ground.hot / "step_740000.pt"
    torch.save(state, path)
    ground.take("sync", within=120)
    path.unlink()
    result = ground.take("inspect", "--step", "740000", "--json", within=60)
    document = result.document
    [file] = document["files"]
    assert (document["where"], len(file["tensors"])) == ("cold", 50)
    assert file["size_bytes"] > 200_000_000
    assert document["requests"] <= 3
    assert document["read_bytes"] < 300_000
    print(ground.take("inspect", "--latest", within=60).out)
