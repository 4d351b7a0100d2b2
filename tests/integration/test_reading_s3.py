"""Reading checkpoints that are only in a real MinIO: by ckpt:// and by load_tensor."""

import io
import multiprocessing
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint import save as save_distributed
from torch.utils.data import DataLoader, Dataset

import ckpt_tier
from ckpt_tier.errors import AccessDeniedError, IntegrityError, UnavailableError
from ckpt_tier.integrations.file import BLOCK_SIZE
from ckpt_tier.integrations.filesystem import CkptFileSystem
from ckpt_tier.system.clock import SystemClock
from tests.integration.test_end_to_end import OnS3, keys
from tests.minio import Bucket, Server, free_port, fresh_bucket, set_credentials
from tests.proxy import Answer, Request, refusal, troubled

FILE = "ckpt://plain/main/1/step_1.dat"


@pytest.fixture(autouse=True)
def scheme() -> Iterator[None]:
    fsspec.register_implementation("ckpt", CkptFileSystem, clobber=True)
    yield
    CkptFileSystem.clear_instance_cache()


@pytest.fixture
def ground(tmp_path: Path, aws_environment: None) -> OnS3:
    return OnS3(tmp_path)


def configure(ground: OnS3, bucket: Bucket, layout: str = "step_{step}.dat", more: str = "") -> None:
    """With the state where this process finds it, too."""
    ground.configure(bucket, top=f'state_dir = "{ground.root}/state"', more=more)
    text = (
        ground.config.read_text().replace("step_{step}.dat", layout).replace(f'"{bucket.url}"', f'"{bucket.url}/a/b"')
    )
    ground.config.write_text(text)


def in_the_cold_tier_alone(ground: OnS3, state: object) -> bytes:
    """Commits a state as step 1 and takes it from the hot tier; gives its bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = ground.plain(1, buffer.getvalue())
    ground.take("sync", within=120)
    path.unlink()
    return buffer.getvalue()


def test_torch_loads_100_mb_in_few_requests_and_reads_only_the_last_block_twice(ground: OnS3, s3: Bucket) -> None:
    configure(ground, s3)
    state = {"model": {f"layer.{i}": torch.full((1_000_000,), float(i)) for i in range(25)}}
    data = in_the_cold_tier_alone(ground, state)
    with troubled(s3) as (bucket, trouble):
        configure(ground, bucket)
        sizes: list[int] = []
        trouble.after = lambda _request, answer: sizes.append(len(answer.body))
        with fsspec.open(FILE, config=str(ground.config)) as file:
            asked_to_open = len(trouble.seen)
            trouble.seen.clear()
            sizes.clear()
            loaded = torch.load(file, weights_only=True)
        assert all(torch.equal(loaded["model"][name], tensor) for name, tensor in state["model"].items())
        assert asked_to_open <= 4
        assert len(trouble.seen) == 13
        assert sum(sizes) < len(data) + BLOCK_SIZE
        # One tensor: the head of the file, its end, and the record.
        trouble.seen.clear()
        sizes.clear()
        loaded = ckpt_tier.load_tensor(1, "model.layer.7", config=ground.config)
        assert torch.equal(loaded, state["model"]["layer.7"])
        assert len([path for path in trouble.seen if "/data/" in path]) == 3
        assert sum(sizes) < 4_400_000


def test_an_answer_that_breaks_off_is_asked_for_again(ground: OnS3, s3: Bucket) -> None:
    configure(ground, s3)
    data = in_the_cold_tier_alone(ground, {"w": torch.randn(100_000)})
    cuts = [1000, 200]

    def cut(request: Request, answer: Answer) -> None:
        if "/data/" in request.path and cuts:
            answer.cut_at = cuts.pop()

    with troubled(s3) as (bucket, trouble):
        configure(ground, bucket)
        trouble.after = cut
        assert fsspec.filesystem("ckpt", config=str(ground.config)).cat(FILE) == data
        assert not cuts


def test_https_under_a_private_authority(tmp_path: Path, minio_https: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch, minio_https)
    ground = OnS3(tmp_path)
    with fresh_bucket(minio_https) as bucket:
        configure(ground, bucket, more=f'ca_bundle = "{minio_https.ca_bundle}"')
        data = in_the_cold_tier_alone(ground, {"w": torch.randn(100_000)})
        assert fsspec.filesystem("ckpt", config=str(ground.config)).cat(FILE) == data


def test_a_virtual_host_and_a_profile_of_the_configuration_are_used(
    ground: OnS3, s3: Bucket, minio_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if minio_server.shared or minio_server.composed or minio_server.kind != "minio":
        pytest.skip("needs a MinIO with virtual hosts")
    configure(ground, s3)
    data = in_the_cold_tier_alone(ground, {"w": torch.randn(1000)})
    profiles = ground.root / "credentials"
    profiles.write_text(
        f"[reader]\naws_access_key_id = {minio_server.access_key}\naws_secret_access_key = {minio_server.secret_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    look_up = socket.getaddrinfo
    asked = set()

    def local(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        asked.add(name)
        return look_up("127.0.0.1" if name.endswith("localhost") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    text = ground.config.read_text().replace("//127.0.0.1", "//localhost")
    ground.config.write_text(f'{text}profile = "reader"\naddressing = "virtual"\nregion = "us-east-1"\n')
    fs = fsspec.filesystem("ckpt", config=str(ground.config))
    assert fs.cat(FILE) == data
    assert asked == {f"{s3.bucket}.localhost"}
    assert minio_server.secret_key not in f"{fs!r} {fs.to_json()} {vars(fs)}"


def test_refused_credentials_an_absent_server_and_a_missing_object_are_three_errors(
    ground: OnS3, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SystemClock, "sleep", lambda _, seconds: None)
    configure(ground, s3)
    in_the_cold_tier_alone(ground, {"w": torch.randn(1000)})
    with troubled(s3) as (bucket, trouble):
        configure(ground, bucket)
        fs = fsspec.filesystem("ckpt", config=str(ground.config))
        with fs.open(FILE) as file:
            trouble.before = lambda request: refusal(403, "AccessDenied") if "/data/" in request.path else None
            with pytest.raises(PermissionError) as refused:
                file.read()
            assert isinstance(refused.value, AccessDeniedError)
            assert "check the credentials" in str(refused.value)
            trouble.before = lambda request: refusal(404, "NoSuchKey") if "/data/" in request.path else None
            with pytest.raises(IntegrityError, match="is missing") as missing:
                file.read()
            assert not isinstance(missing.value, FileNotFoundError)
    ground.config.write_text(ground.config.read_text().replace(bucket.endpoint_url, f"http://127.0.0.1:{free_port()}"))
    fs.invalidate_cache()
    with pytest.raises(ConnectionError) as away:
        fs.exists("ckpt://plain/main/2")
    assert isinstance(away.value, UnavailableError)


class Steps(Dataset[float]):
    """Reads a tensor of the checkpoint in whichever process asks."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> float:
        with self._fs.open(FILE) as file:
            return float(torch.load(file, weights_only=True)["w"][index])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_workers_of_a_data_loader_read_with_the_filesystem_of_their_parent(
    ground: OnS3, s3: Bucket, start: str
) -> None:
    configure(ground, s3)
    in_the_cold_tier_alone(ground, {"w": torch.arange(8.0)})
    fs = fsspec.filesystem("ckpt", config=str(ground.config))
    with fs.open(FILE, cache_type="none") as file:
        file.read(10)  # by the connection that must not be shared
        if start == "fork":
            reading_on = multiprocessing.get_context(start).Process(target=file.read, args=(10,))
            reading_on.start()
            reading_on.join(60)
            assert reading_on.exitcode == 0
    found = DataLoader(Steps(fs), num_workers=1, multiprocessing_context=multiprocessing.get_context(start))
    assert [float(value) for value in found] == [float(i) for i in range(8)]


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_distributed_checkpoint_is_loaded_from_its_folder(ground: OnS3, s3: Bucket) -> None:
    from torch.distributed.checkpoint import load
    from torch.distributed.checkpoint.fsspec_filesystem import FsspecReader

    configure(ground, s3, layout="step_{step}/")
    state = {"w": torch.randn(300, 200), "b": torch.randn(5).to(torch.bfloat16)}
    save_distributed(state, storage_writer=FileSystemWriter(ground.hot / "step_1"), no_dist=True)
    ground.take("sync", within=60)
    assert any(key.endswith(".distcp") for key in keys(s3))
    shutil.rmtree(ground.hot / "step_1")
    loaded = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    load(
        loaded,
        storage_reader=FsspecReader("ckpt://plain/main/1/step_1", config=str(ground.config)),
        no_dist=True,
    )
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_what_a_reader_of_the_bucket_alone_may_do_is_enough(ground: OnS3, s3: Bucket) -> None:
    """Nothing is put, deleted or asked for that GetObject and ListBucket don't allow."""
    configure(ground, s3)
    data = in_the_cold_tier_alone(ground, {"w": torch.randn(1000)})
    with troubled(s3) as (bucket, trouble):
        configure(ground, bucket)
        fs = fsspec.filesystem("ckpt", config=str(ground.config))
        assert fs.find("ckpt://plain") == [FILE.removeprefix("ckpt://")]
        assert fs.cat(FILE) == data
        assert fs.ls("ckpt://", detail=False) == ["plain"]
        assert {seen.partition(" ")[0] for seen in trouble.seen} <= {"GET", "HEAD"}
    assert os.listdir(ground.hot) in ([], [".ckpt-tier"])  # noqa: PTH208
