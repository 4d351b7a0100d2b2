"""The commands end to end, as processes, against a real MinIO: from `init` to a restored step, and what goes wrong."""

import filecmp
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.cli.ground import Ground, Result
from tests.minio import Bucket, Server, free_port, fresh_bucket, running_minio, set_credentials
from tests.proxy import Answer, Request, troubled

GIB = 2**30
SERIES = ("0", "1")


class OnS3(Ground):
    """A hot folder whose cold tier is a bucket. Plain files `step_{step}.dat` unless `init` has found another."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.config.unlink()
        self.more = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "NO_PROXY"))}

    def env(self, **more: str) -> dict[str, str]:
        return super().env(**self.more, **more)

    def configure(self, bucket: Bucket, endpoint_url: str | None = None, top: str = "", more: str = "") -> None:
        """Writes a configuration for plain files; `more` begins in `[cold]`."""
        self.config.write_text(
            f'run = "plain"\n{top}\n[hot]\npath = "hot"\nlayout = "step_{{step}}.dat"\nsettle = "0s"\nkeep_last = 9\n'
            f'min_free = "1B"\n[cold]\nurl = "{bucket.url}"\nendpoint_url = "{endpoint_url or bucket.endpoint_url}"\n'
            f"{more}\n"
        )

    def plain(self, step: int, data: bytes) -> Path:
        path = self.hot / f"step_{step}.dat"
        path.write_bytes(data)
        os.utime(path, (1_577_836_800 + step, 1_577_836_800 + step))
        return path

    def take(self, *arguments: str, within: float) -> Result:
        """A command that may take long."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=within)
        assert process.returncode == 0, out + err
        return Result(process.returncode, out, err)


@pytest.fixture
def ground(tmp_path: Path, aws_environment: None) -> OnS3:
    return OnS3(tmp_path)


def keys(bucket: Bucket) -> list[str]:
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.bucket)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def committed(bucket: Bucket) -> list[int]:
    return sorted(int(key.rpartition("/")[2][:12]) for key in keys(bucket) if "/manifests/" in key)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Sent:
    """Counts what goes up through a proxy."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.put_bytes = 0
        self.first_at = 0.0
        self.last_at = 0.0

    def __call__(self, request: Request) -> Answer | None:
        self.last_at = time.monotonic()
        self.first_at = self.first_at or self.last_at
        if request.method in ("PUT", "POST", "DELETE"):
            self.requests.append(f"{request.method} {request.path}")
            self.put_bytes += len(request.body)
        return None


def test_from_init_to_a_restored_step_and_on_without_the_journal(ground: OnS3, s3: Bucket) -> None:
    files = {(series, step): ground.save(step, series) for series in SERIES for step in (5, 10, 15, 20)}
    digests = {key: digest(path) for key, path in files.items()}
    cut = ground.save(25, "1")
    cut.write_bytes(cut.read_bytes()[:-9])
    with troubled(s3) as (bucket, trouble):
        sent = Sent()
        trouble.before = sent
        arguments = ["init", "hot", f"{bucket.url}/prod", "--endpoint-url", bucket.endpoint_url, "--keep-last", "2"]
        found = ground.run(*arguments, "--json").document
        assert found["layout"] == "model_gpu{series}/model_step_{step}.safetensors"
        assert [(s["name"], s["checkpoints"], s["corrupt"]) for s in found["series"]] == [("0", 4, 0), ("1", 5, 1)]
        ground.more |= {"CKPT_TIER_HOT__SETTLE": "0s", "CKPT_TIER_HOT__MIN_FREE": "1B"}

        done = ground.run("sync", "--json", code=9).document
        assert {(c["series"], c["step"]) for c in done["committed"]} == set(files)
        assert {(e["series"], e["step"]) for e in done["evicted"]} == {(s, step) for s in SERIES for step in (5, 10)}
        assert [(t["state"], t["step"]) for t in done["trouble"]] == [("rejected", 25)]
        assert cut.exists()
        assert {key for key, path in files.items() if path.exists()} == {(s, step) for s in SERIES for step in (15, 20)}

        status = ground.run("status", "--json", code=9).document
        assert {(s["name"], s["newest_committed"]["step"]) for s in status["series"]} == {("0", 20), ("1", 20)}
        assert status["queue"]["count"] == 0
        cut.unlink()
        assert ground.run("sync").code == 0

        listed = ground.run("list", "--json").document["checkpoints"]
        assert {(c["series"], c["step"], c["hot"]) for c in listed} == {(s, step, step > 10) for s, step in files}
        verified = ground.run("verify", "--read", "--json").document
        assert (verified["proved"], verified["good_count"], verified["bad_count"]) == ("content", 8, 0)

        ground.run("restore", "--step", "5")
        ground.run("restore", "--latest", "--series", "1", "--to", "elsewhere")
        assert {key: digest(files[key]) for key in [("0", 5), ("1", 5)]} == {
            k: digests[k] for k in [("0", 5), ("1", 5)]
        }
        [back] = (ground.root / "elsewhere").rglob("*.safetensors")
        assert (back.name, digest(back)) == ("model_step_20.safetensors", digests["1", 20])

        shutil.rmtree(ground.root / "state")
        sent.requests.clear()
        sent.put_bytes = 0
        done = ground.run("sync", "--json").document
        assert (sent.requests, sent.put_bytes) == ([], 0)
        assert all(each["adopted"] for each in done["committed"])
        assert done["evicted"] == []  # what was restored is held
        ground.save(30, "0")
        done = ground.run("sync", "--json").document
        assert [(e["series"], e["step"]) for e in done["evicted"]] == [("0", 15)]
        assert [c["step"] for c in done["committed"]] == [30]


def test_the_bandwidth_limit_is_kept(ground: OnS3, s3: Bucket) -> None:
    with troubled(s3) as (bucket, trouble):
        ground.configure(bucket, more='[upload]\nbandwidth = "10MB/s"')
        sent = Sent()
        trouble.before = sent
        ground.plain(1, os.urandom(20_000_000))
        ground.run("sync")
        took = sent.last_at - sent.first_at
    print(f"20 MB at 10 MB/s took {took:.2f} s")
    assert sent.put_bytes >= 20_000_000
    assert took >= 1.5


def test_one_byte_comes_back(ground: OnS3, s3: Bucket) -> None:
    ground.configure(s3)
    ground.plain(1, b"x")
    ground.run("sync")
    ground.run("restore", "--step", "1", "--to", "back")
    assert (ground.root / "back/step_1.dat").read_bytes() == b"x"
    ground.run("verify", "--read")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_file_of_more_than_5_gib_goes_up_in_parts_and_comes_back(ground: OnS3, s3: Bucket) -> None:
    size = 5 * GIB + 12_345
    if shutil.disk_usage(ground.root).free < 4 * size:
        pytest.skip("needs 20 GiB of free space")
    ground.configure(s3)
    path = ground.hot / "step_1.dat"
    with path.open("wb") as file:
        file.truncate(size)
        for offset in (0, 3 * GIB + 7, size - 4096):
            file.seek(offset)
            file.write(os.urandom(4096))
    try:
        begun = time.monotonic()
        ground.take("sync", within=700)
        print(f"sync took {time.monotonic() - begun:.0f} s")
        [key] = [key for key in keys(s3) if key.endswith(".dat")]
        head = s3.client.head_object(Bucket=s3.bucket, Key=key)
        assert head["ContentLength"] == size
        assert "-" in head["ETag"]  # in parts
        begun = time.monotonic()
        ground.take("restore", "--step", "1", "--to", "back", within=700)
        print(f"restore took {time.monotonic() - begun:.0f} s")
        assert filecmp.cmp(path, ground.root / "back/step_1.dat", shallow=False)
    finally:
        for name in keys(s3):
            s3.client.delete_object(Bucket=s3.bucket, Key=name)
        path.unlink()
        (ground.root / "back/step_1.dat").unlink(missing_ok=True)


def test_a_line_that_breaks_for_a_while_delays_a_commit_and_stalls_nothing(ground: OnS3, s3: Bucket) -> None:
    with troubled(s3) as (bucket, trouble):
        ground.configure(bucket)
        broken = 0

        def breaking(request: Request) -> Answer | None:
            nonlocal broken
            if request.method == "PUT" and "/data/" in request.path and broken < 3:
                broken += 1
                return Answer(200, {}, b"", cut_at=-1)
            return None

        trouble.before = breaking
        ground.plain(1, os.urandom(100_000))
        done = ground.run("sync", "--json").document
    assert broken == 3
    assert [c["step"] for c in done["committed"]] == [1]
    assert done["trouble"] == []
    assert committed(s3) == [1]


def test_what_stalled_is_committed_by_the_next_sync_once_the_line_is_back(ground: OnS3, s3: Bucket) -> None:
    with troubled(s3) as (bucket, trouble):
        ground.configure(bucket, more="[upload]\nattempts = 2")
        trouble.before = lambda request: (
            Answer(200, {}, b"", cut_at=-1) if request.method == "PUT" and "/data/" in request.path else None
        )
        path = ground.plain(1, os.urandom(100_000))
        failed = ground.run("sync", "--json", code=None)
        assert failed.code == 6
        assert [t["state"] for t in json.loads(failed.out)["trouble"]] == ["stalled"]
        assert path.exists()
        assert "stalled" in ground.run("status", code=9).out
        trouble.before = lambda _request: None
        ground.run("sync", code=0)
    assert committed(s3) == [1]


@pytest.mark.slow
def test_a_server_that_is_down_gives_6_and_gets_everything_once_it_is_up(
    tmp_path: Path, minio_binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with running_minio(minio_binary) as server:
        set_credentials(monkeypatch, server)
    ground = OnS3(tmp_path)
    bucket = Bucket(Server("minio", f"http://127.0.0.1:{port}"), "later", None)
    ground.configure(bucket, top='run_id = "0123456789abcdef"', more="[upload]\nattempts = 2")
    path = ground.plain(1, os.urandom(100_000))
    assert "127.0.0.1" in ground.run("sync", code=6).err
    assert path.exists()
    monkeypatch.setattr("tests.minio.free_port", lambda: port)
    with running_minio(minio_binary) as server:
        client = server.client()
        client.create_bucket(Bucket="later")
        ground.run("sync")
        assert committed(Bucket(server, "later", client)) == [1]


def test_https_under_a_private_authority(tmp_path: Path, minio_https: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch, minio_https)
    ground = OnS3(tmp_path)
    with fresh_bucket(minio_https) as bucket:
        ground.configure(bucket, more="[upload]\nattempts = 1")
        path = ground.plain(1, os.urandom(9_000_000))
        refused = ground.run("sync", code=None)
        assert refused.code in (3, 6)
        assert "certificate" in refused.err
        assert committed(bucket) == []
        ground.configure(bucket, more=f'ca_bundle = "{minio_https.ca_bundle}"')
        ground.run("sync")
        ground.run("restore", "--step", "1", "--to", "back")
        assert filecmp.cmp(path, ground.root / "back/step_1.dat", shallow=False)
