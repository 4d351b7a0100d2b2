"""`ckpt-tier demo`, run as a person runs it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.minio import Bucket

PATIENCE = 240.0


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the demo takes its temporary folder from: empty again afterwards, or something was left."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    return place


def demo(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ckpt_tier", "demo", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes_about(place: Path) -> list[str]:
    """The command lines of the processes, other than the demo itself, that were started for a folder in `place`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{place}/" in line and "pytest" not in line:
            found.append(line)
    return found


def wait_for(path: Path, pattern: str, process: subprocess.Popen[str]) -> Path:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        for found in path.glob(pattern):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{pattern} never came up in {path}")


def check_proof(output: str) -> None:
    lines = [line for line in output.splitlines() if line.startswith("✓")]
    assert len(lines) == 6
    saved = re.search(
        r"70 checkpoints of ([\d.]+) MB were saved: .* ([\d.]+) times the disk budget of 50.0 MB", lines[0]
    )
    assert saved is not None
    assert float(saved[2]) > 5
    peak = re.search(r"never held more than ([\d.]+) MB", lines[0])
    assert peak is not None
    assert 0 < float(peak[1]) <= 50
    assert "kill -9" in lines[2]
    assert "70 of 70 are committed" in lines[2]
    assert "step 120 came back" in lines[3]
    assert "all 150 losses are bit-identical" in lines[4]
    assert "final weights" in lines[5]


@pytest.mark.slow
def test_the_demo_proves_what_it_says_and_leaves_nothing_behind(temporary: Path) -> None:
    with demo() as process:
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    check_proof(output)
    assert "\x1b" not in output, "stdout is no terminal"
    assert "ckpt-tier init path/to/checkpoints" in output
    assert list(temporary.iterdir()) == []
    assert processes_about(temporary) == []


@pytest.mark.slow
def test_the_demo_runs_against_a_bucket_and_empties_what_it_put_there(temporary: Path, s3: Bucket) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
        s3.client.put_object(Bucket=s3.bucket, Key="pre/mine", Body=b"not the demo's")
        with demo("--cold", f"{s3.url}/pre") as process:
            output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    check_proof(output)
    left = s3.client.list_objects_v2(Bucket=s3.bucket)
    assert [item["Key"] for item in left["Contents"]] == ["pre/mine"]
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_flipped_byte_in_the_cold_tier_makes_the_demo_fail(tmp_path: Path) -> None:
    """Step 120 is the one that is restored; its object is damaged as soon as it is committed."""
    folder = tmp_path / "ground"
    with demo("--folder", str(folder)) as process:
        wait_for(folder, "cold/demo-*/main/manifests/000000000120.*.json", process)
        [stored] = folder.glob("cold/demo-*/main/data/000000000120/*/model_step_120.pt")
        with stored.open("r+b") as file:
            file.seek(stored.stat().st_size // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 5, errors
    assert "model_step_120.pt" in errors
    assert "bit-identical" not in output
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_ends_its_processes_and_removes_its_folder(
    temporary: Path, stop: signal.Signals
) -> None:
    with demo() as process:
        wait_for(temporary, "*/hot/.ckpt-tier/worker.lock", process)
        os.kill(process.pid, stop)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert list(temporary.iterdir()) == []
    assert processes_about(temporary) == []


@pytest.mark.slow
def test_settings_of_the_user_do_not_reach_the_demo(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CKPT_TIER_COLD__URL", str(tmp_path / "production"))
    monkeypatch.setenv("CKPT_TIER_HOT__PATH", str(tmp_path / "training"))
    (tmp_path / "production").mkdir()
    (tmp_path / "training").mkdir()
    with demo() as process:
        wait_for(temporary, "*/cold/demo-*/main/manifests/*.json", process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert list((tmp_path / "production").iterdir()) == []
    assert list((tmp_path / "training").iterdir()) == []


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with demo("--folder", str(tmp_path)) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "not empty" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_cold_tier_that_is_none_is_refused_before_anything_is_trained(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "plain").mkdir()
    with demo("--cold", str(tmp_path / "plain")) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 6, errors
    assert "ckpt-tier init" in errors
    assert "step" not in output
    assert list((tmp_path / "plain").iterdir()) == []
    assert list(temporary.iterdir()) == []
