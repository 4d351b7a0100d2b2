"""The benchmark in its smoke form, against MinIO: that it works, what ckpt-tier asks of the server, and what memory it
takes. Never how long."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compare.results import TIER, TRANSFER, WHOLE, Results, Row, read
from ckpt_tier.store.folder import FolderStore
from tests.minio import REPOSITORY

MOST_MEMORY = 128 * 2**20
HEAVY = ("torch", "s3fs", "fsspec", "numpy", "aiohttp", "tenacity")


@pytest.fixture(scope="module")
def smoke(minio_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """One smoke run."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-m", "benchmarks.compare", "--smoke", "--profile"]
    subprocess.run(
        [*command, "--folder", str(folder), "--out", str(folder / "results.json")], cwd=REPOSITORY, check=True
    )
    return read(folder / "results.json")


def ours(results: Results, item: str, settings: str = WHOLE) -> Row:
    found = results.item(item)
    row = found.row(TIER, settings) if found else None
    assert row is not None
    return row


def test_everybody_moves_the_files_and_every_copy_is_right(smoke: Results) -> None:
    assert [item.name for item in smoke.items] == ["upload-one", "restore-one", "upload-many", "restore-many"]
    for item in smoke.items:
        assert [(row.name, row.failure) for row in item.rows if row.failure] == []
        assert {row.peer for row in item.rows} == {TIER, "boto3"}
        assert all(len(row.samples) == 1 for row in item.rows)
        assert not item.full


def test_no_process_of_ours_takes_more_anonymous_memory_than_promised(smoke: Results) -> None:
    for item in smoke.items:
        for settings in (WHOLE, TRANSFER):
            [sample] = ours(smoke, item.name, settings).samples
            assert 10 * 2**20 < sample.peak_anonymous_bytes <= MOST_MEMORY, (item.name, settings)


def test_a_committed_checkpoint_of_one_file_costs_few_requests(smoke: Results) -> None:
    [sample] = ours(smoke, "upload-one").samples

    # Data, list of checksums and manifest; run.json and the copy of the configuration come once in a run's life.
    assert sample.requests["PutObject"] <= 5
    assert sum(sample.requests.values()) <= 17


def test_a_checkpoint_of_many_files_is_put_and_read_once_a_file(smoke: Results) -> None:
    item = smoke.item("upload-many")
    assert item is not None
    [up] = ours(smoke, "upload-many").samples
    [down] = ours(smoke, "restore-many").samples

    assert up.requests["PutObject"] <= item.files + 4
    assert down.requests["GetObject"] <= item.files + 4
    assert down.requests.get("HeadObject", 0) == 0


def test_bytes_go_over_the_line_once(smoke: Results) -> None:
    for direction, moved in (("upload", "received_bytes"), ("restore", "sent_bytes")):
        item = smoke.item(f"{direction}-one")
        assert item is not None
        [sample] = ours(smoke, item.name).samples
        assert item.file_bytes <= getattr(sample, moved) <= item.file_bytes + 10_000


def test_the_profile_names_lines_of_ours(smoke: Results) -> None:
    item = smoke.item("upload-one")
    assert item is not None
    profile = item.profiles["sync"]
    assert profile.cpu_seconds > 0
    assert any(where.startswith("store/s3") for where, _ in profile.lines)


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["sync", "-q"]])
def test_no_command_loads_what_it_does_not_need(arguments: list[str], tmp_path: Path) -> None:
    for name in ("hot", "cold"):
        (tmp_path / name).mkdir()
    FolderStore(tmp_path / "cold").create_marker()
    (tmp_path / "hot" / "step_1.dat").write_bytes(b"a checkpoint")
    (tmp_path / "ckpt-tier.toml").write_text(
        'run = "imports"\nstate_dir = "state"\n[hot]\npath = "hot"\nlayout = "step_{step}.dat"\nsettle = "0s"\n'
        'min_free = "1MB"\n[cold]\nurl = "cold"\nsame_device = true\n'
    )
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    for each in (["sync", "-q"], arguments):
        done = subprocess.run(
            [sys.executable, "-m", "ckpt_tier", *each],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )

    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "ckpt_tier" in imported
    assert imported.isdisjoint({*HEAVY, "boto3", "botocore"})
