"""Stores of every kind, and local files to put into them."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from ckpt_tier.core.pieces import PieceChecksums, pieces
from ckpt_tier.errors import CancelledError
from ckpt_tier.store.apart import ApartStore
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.fsspec_place import Place
from ckpt_tier.store.fsspec_store import FsspecStore
from ckpt_tier.store.protocol import Source, Store
from ckpt_tier.store.s3 import S3Store
from ckpt_tier.store.s3_requests import S3Options
from ckpt_tier.system.digests import crc64nvme, to_hex
from tests.minio import Bucket, Server, fresh_bucket, running_moto, set_credentials
from tests.sftp import Sftp

PIECE = 5 * 2**20
"""The smallest that S3 takes."""

KINDS = ("folder", "apart", "minio", "minio over TLS", "weak", "memory", "sftp", "object")
ON_FSSPEC = ("memory", "sftp", "object")
RESUMING = ("folder", "apart", "minio", "minio over TLS", "weak")
"""The kinds whose uploads go on where they were cut off."""


random_bytes = numpy.random.default_rng().bytes
"""Others each time; the kernel's take ten times as long."""


class Counter:
    """Watches a transfer; cancels it once `stop_after` bytes have moved."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.moved_bytes = 0
        self.resumed_bytes = 0
        self.told_of_older = False
        self._stop_after = stop_after
        self._lock = threading.Lock()

    def moved(self, count: int) -> None:
        with self._lock:
            self.moved_bytes += count
            if self._stop_after is not None and self.moved_bytes >= self._stop_after:
                raise CancelledError("stopped by the test")

    def resumed(self, count: int) -> None:
        with self._lock:
            self.resumed_bytes += count
            self.told_of_older = True


def source_of(path: Path, piece_size: int = PIECE) -> Source:
    """The source that validation would make of a file."""
    data = path.read_bytes()
    crcs = tuple(crc64nvme(data[offset : offset + length]) for offset, length in pieces(len(data), piece_size))
    return Source(path, len(data), to_hex(crc64nvme(data)), PieceChecksums(piece_size, crcs))


def s3_store(bucket: Bucket, prefix: str = "pre/fix", **options: object) -> S3Store:
    """The store over a test's bucket."""
    everything = {"endpoint_url": bucket.endpoint_url, "ca_bundle": bucket.server.ca_bundle, **options}
    return S3Store(bucket.bucket, prefix, S3Options(**everything))  # type: ignore[arg-type]


def folder_store(root: Path) -> FolderStore:
    """A store over a new folder."""
    root.mkdir(parents=True)
    store = FolderStore(root)
    store.create_marker()
    return store


def apart_store(root: Path, patience: float = 30.0) -> ApartStore:
    """The same, seen through a process of its own."""
    return ApartStore(Path(folder_store(root).url), patience)


def fsspec_store(url: str) -> FsspecStore:
    """The store over a URL."""
    return FsspecStore(Place(url))


def fsspec_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A root that nobody else uses: memory is one for the whole process."""
    name = tmp_path.name
    if kind == "sftp":
        sftp: Sftp = request.getfixturevalue("sftp")
        (sftp.root / name).mkdir()
        return sftp.url(name)
    if kind == "object":
        request.getfixturevalue("object_store")
        return f"gs://{name}/pre/fix"
    request.getfixturevalue("memory_store")
    return f"memory://{name}"


class Memory(MemoryFileSystem):  # type: ignore[misc]  # fsspec is untyped
    """fsspec's memory trips over a file that another thread removes amid its listing."""

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        while True:
            with contextlib.suppress(KeyError):
                return super().ls(path, detail, **options)


class Objects(MemoryFileSystem):  # type: ignore[misc]  # fsspec is untyped
    """Does what an object store does and fsspec's memory does not: an object appears when all of it is there, and is
    created on the condition that there is none. A stand-in, for there is no Google Cloud Storage in a test."""

    protocol = ("gs", "gcs")
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    _creating = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.removeprefix("gs://")))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_options: Any) -> None:
        with self._creating:
            super().pipe_file(path, value, mode)

    def put_file(self, lpath: str, rpath: str, callback: Any = None, mode: str = "overwrite", **_options: Any) -> None:
        blocks = []
        with Path(lpath).open("rb") as file:
            while block := file.read(2**20):
                blocks.append(block)
                callback.relative_update(len(block))
        self.pipe_file(rpath, b"".join(blocks), mode)


@pytest.fixture
def memory_store(monkeypatch: pytest.MonkeyPatch) -> type[Memory]:
    """memory:// as it is, but for several threads."""
    monkeypatch.setitem(_registry, "memory", Memory)
    return Memory


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch) -> type[Objects]:
    """gs:// stands for `Objects`."""
    monkeypatch.setitem(_registry, "gs", Objects)
    return Objects


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a file of its own for each content."""
    count = 0

    def make(data: bytes) -> Path:
        nonlocal count
        count += 1
        path = tmp_path / f"file-{count}.pt"
        path.write_bytes(data)
        return path

    return make


@pytest.fixture(scope="session")
def weak_server() -> Iterator[Server]:
    """An S3 server that keeps no checksums: moto."""
    with running_moto() as server:
        yield server


@pytest.fixture
def weak_s3(weak_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A fresh bucket on a server that keeps no checksums."""
    set_credentials(monkeypatch, weak_server)
    with fresh_bucket(weak_server) as bucket:
        yield bucket


_BUCKETS = {"minio": "s3", "minio over TLS": "s3_over_tls", "weak": "weak_s3"}
"""The fixtures with the buckets of those kinds that are S3."""


@pytest.fixture(params=KINDS)
def store_kind(request: pytest.FixtureRequest) -> str:
    """Which store the test is for."""
    return str(request.param)


@pytest.fixture
def store(store_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind: a folder, one behind a process of its own, S3 on MinIO, plain and over TLS, S3 that
    keeps no checksums; through fsspec its memory, SFTP, and what stands for an object store."""
    if store_kind == "folder":
        return folder_store(tmp_path / "cold")
    if store_kind == "apart":
        return apart_store(tmp_path / "cold")
    if store_kind in ON_FSSPEC:
        return fsspec_store(fsspec_url(store_kind, request, tmp_path))
    return s3_store(request.getfixturevalue(_BUCKETS[store_kind]))


@pytest.fixture
def resuming(store_kind: str) -> bool:
    """Whether an upload goes on where it was cut off."""
    return store_kind in RESUMING


@pytest.fixture
def verifying(store_kind: str, request: pytest.FixtureRequest) -> bool:
    """Whether the store of the test checks checksums itself: only a real MinIO does."""
    if store_kind == "minio over TLS":
        return True
    return store_kind == "minio" and request.getfixturevalue("minio_server").kind == "minio"
