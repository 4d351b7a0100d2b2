"""The report of a run in a real MinIO: lag by the server's clock, and what is left when it does not answer."""

from pathlib import Path

import pytest

from tests.integration.test_end_to_end import OnS3
from tests.minio import Bucket, free_port


@pytest.fixture
def ground(tmp_path: Path, aws_environment: None) -> OnS3:
    return OnS3(tmp_path)


def test_lag_is_by_the_servers_clock_and_history_stays_when_it_is_away(ground: OnS3, s3: Bucket) -> None:
    ground.configure(s3)
    for step in (1, 2):
        ground.plain(step, bytes(1000 * step))
    ground.take("sync", within=120)
    ground.take("annotate", "2", "loss=0.5", within=60)
    (ground.hot / "step_1.dat").unlink()
    there = ground.take("report", "report.html", "--json", within=60).document
    assert [(c["step"], c["kind"], c["size_bytes"]) for c in there["checkpoints"]] == [
        (1, "cold", 1000),
        (2, "both", 2000),
    ]
    [manifests] = [
        {
            key["Key"].rpartition("/")[2][:12]: key["LastModified"]
            for key in page["Contents"]
            if "/manifests/" in key["Key"]
        }
        for page in s3.client.get_paginator("list_objects_v2").paginate(Bucket=s3.bucket)
    ]
    for checkpoint in there["checkpoints"]:
        saved = 1_577_836_800 + checkpoint["step"]
        committed = manifests[f"{checkpoint['step']:012d}"].timestamp()
        assert checkpoint["lag_seconds"] == pytest.approx(committed - saved, abs=1)
    assert [(curve["name"], curve["best"]["value"]) for curve in there["curves"]] == [("loss", 0.5)]

    ground.configure(s3, endpoint_url=f"http://127.0.0.1:{free_port()}")
    away = ground.run("report", "report.html", "--json", code=6).document
    assert away["cold_error"]
    assert [(c["step"], c["kind"], c["lag_seconds"]) for c in away["checkpoints"]] == [
        (c["step"], c["kind"], c["lag_seconds"]) for c in there["checkpoints"]
    ]
    secret = s3.server.secret_key
    assert secret not in (ground.root / "report.html").read_text()
