"""What the worker does while nothing else is due, on a real MinIO and in real processes."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt_tier.core.events import Note
from ckpt_tier.errors import CancelledError, MissingKeyError
from ckpt_tier.flow import sweep as sweep_module
from ckpt_tier.flow.sweep import sweep
from ckpt_tier.spawn import LOG_BYTES
from tests.builders import TwoTiers
from tests.integration.test_worker import Place, Watch, open_here, place, until, watch
from tests.minio import Bucket
from tests.stores import PIECE, Counter, s3_store, source_of

__all__ = ["place", "watch"]

KEY = "run/0/data/{step:012d}/0123456789abcdef/model_gpu0/model_step_{step}.pt"


@pytest.fixture
def watched(place: Place, s3: Bucket) -> Place:
    """A place whose cold tier is MinIO, and whose checkpoints are all verified again every second."""
    cold = f'url = "{s3.url}/prod"\nendpoint_url = "{s3.endpoint_url}"\naddressing = "path"'
    place.configure(cold=cold, more='[watch]\nverify_every = "1s"')
    place.extra = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return place


def objects(s3: Bucket, step: int) -> list[str]:
    """The keys of a step's checkpoint files."""
    listed = s3.client.list_objects_v2(Bucket=s3.bucket, Prefix=f"prod/swelu/0/data/{step:012d}/")
    return [entry["Key"] for entry in listed.get("Contents", []) if entry["Key"].endswith(".pt")]


def test_a_watch_finds_what_somebody_deleted_in_the_bucket_and_sends_it_again(
    watched: Place, s3: Bucket, watch: Callable[[], Watch]
) -> None:
    path = watched.write(1)
    watching = watch()
    watching.wait("committed", step=1)
    [key] = objects(s3, 1)
    s3.client.delete_object(Bucket=s3.bucket, Key=key)
    found = until(lambda: watching.all("warned"), 30, "the round")
    assert found < 30
    [warned] = watching.all("warned")
    assert "is missing" in warned["text"]
    assert "sent again" in warned["text"]
    until(lambda: objects(s3, 1) == [key], 30, "the object")
    until(lambda: [e for e in watching.all("note") if "whole again" in e["text"]], 30, "the all-clear")
    assert s3.client.get_object(Bucket=s3.bucket, Key=key)["Body"].read() == path.read_bytes()
    assert watched.run("status", "--json").document["attention"] == []
    assert watching.end() == 0


def test_what_has_no_hot_copy_left_is_in_status_with_exit_code_5_until_it_is_back(
    watched: Place, s3: Bucket, watch: Callable[[], Watch]
) -> None:
    path = watched.write(1)
    watching = watch()
    watching.wait("committed", step=1)
    data = path.read_bytes()
    path.unlink()
    [key] = objects(s3, 1)
    s3.client.delete_object(Bucket=s3.bucket, Key=key)
    watching.wait("warned")
    now = watched.run("status", "--json", code=5).document
    assert [(each["state"], each["step"]) for each in now["attention"]] == [("damaged", 1)]
    assert now["cold"]["last_verified_at"] is not None
    assert watching.end() == 0
    account = watched.run("sync", "--json", code=5).document
    assert [(each["state"], each["step"]) for each in account["trouble"]] == [("damaged", 1)]
    s3.client.put_object(Bucket=s3.bucket, Key=key, Body=data)
    watched.run("sync")
    assert watched.run("status", "--json").document["attention"] == []


# Leftovers of killed uploads


def test_unfinished_uploads_of_the_run_are_dropped_and_nobody_elses(
    tmp_path: Path, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's clock can't be set back: here two seconds are as long as a day."""
    monkeypatch.setattr(sweep_module, "DAY", 1.0)
    tiers = TwoTiers(tmp_path)
    tiers.write(1)
    store = s3_store(s3)
    tiers.sync(store)
    big = tmp_path / "big.pt"
    big.write_bytes(os.urandom(8 * PIECE))
    ours, theirs = KEY.format(step=7), KEY.format(step=7).replace("run/", "other/", 1)
    for key in (ours, theirs):
        with pytest.raises(CancelledError):
            store.upload(key, source_of(big), Counter(stop_after=6 * PIECE))
    s3.client.create_multipart_upload(Bucket=s3.bucket, Key="pre/fix/run/0/notes/mine.pt")
    s3.client.create_multipart_upload(Bucket=s3.bucket, Key="elsewhere/run/0/data/000000000007/x/y.pt")
    time.sleep(2)
    with tiers.syncing(store) as syncing:
        sweep(syncing.parts, tiers.wiring().layout)
    left = [upload["Key"] for upload in s3.client.list_multipart_uploads(Bucket=s3.bucket)["Uploads"]]
    assert sorted(left) == [
        "elsewhere/run/0/data/000000000007/x/y.pt",
        f"pre/fix/{theirs}",
        "pre/fix/run/0/notes/mine.pt",
    ]
    [note] = [str(event.text) for event in tiers.happened(Note) if isinstance(event, Note)]
    assert note.startswith("cleared away 1 unfinished upload in the cold tier, ")
    with pytest.raises(MissingKeyError):
        store.stat(ours)
    counter = Counter()
    store.upload(theirs, source_of(big), counter)
    assert counter.resumed_bytes >= PIECE


# The worker's log


def test_a_worker_begins_a_new_log_when_the_old_one_is_large_and_keeps_what_was_in_it(place: Place) -> None:
    state = place.root / "state"
    state.mkdir()
    old = b"a line\n" * (LOG_BYTES // 7 + 1)
    (state / "worker.log").write_bytes(old)
    with open_here(place) as tier:
        tier.saved(place.write(1), 1)
        pid = place.worker()
        until(lambda: (state / "worker.log.1").exists(), 60, "the new log")
        until(lambda: "worker.log" in str(Path(f"/proc/{pid}/fd/2").readlink()), 10, "the descriptors")
        for descriptor in (1, 2):
            assert Path(f"/proc/{pid}/fd/{descriptor}").readlink() == (state / "worker.log").resolve()
        assert tier.drain(60).committed == (("0", 1),)
    assert (state / "worker.log.1").read_bytes().startswith(old)
    assert (state / "worker.log").stat().st_size < 100_000
    logs = (state / "worker.log.1").read_bytes()[len(old) :].decode() + place.worker_log()
    assert "committed" in logs


def test_a_watch_in_a_terminal_leaves_a_log_that_is_not_its_own_alone(place: Place, watch: Callable[[], Watch]) -> None:
    log = place.root / "state/worker.log"
    log.parent.mkdir()
    log.write_bytes(b"x" * (LOG_BYTES + 1))
    place.write(1)
    watching = watch()
    watching.wait("committed", step=1)
    time.sleep(1.5)
    assert watching.end() == 0
    assert log.stat().st_size == LOG_BYTES + 1
