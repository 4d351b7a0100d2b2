"""What the store over fsspec makes of what filesystems do, say and raise."""

import errno
import ftplib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from paramiko import AuthenticationException, SSHException

from ckpt_tier.errors import (
    AccessDeniedError,
    CancelledError,
    CkptTierError,
    ConfigError,
    ConflictError,
    IntegrityError,
    KeyExistsError,
    MissingKeyError,
    NoSpaceError,
    UnavailableError,
)
from ckpt_tier.store.fsspec_errors import meaning
from ckpt_tier.store.fsspec_place import CONNECTIONS, Connections
from ckpt_tier.store.fsspec_store import FsspecStore
from ckpt_tier.store.fsspec_walk import described, seconds, walk
from tests.stores import Counter, Objects, fsspec_store, source_of

MakeFile = Callable[[bytes], Path]
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


# What they raise


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), MissingKeyError),
        (IsADirectoryError("x"), MissingKeyError),
        (FileExistsError("x"), ConflictError),
        (PermissionError(errno.EACCES, "x"), AccessDeniedError),
        (AuthenticationException("Authentication failed."), AccessDeniedError),
        (ftplib.error_perm("530 Login incorrect."), AccessDeniedError),  # noqa: S321
        (OSError("Forbidden: https://storage/x\nno storage.objects.get"), AccessDeniedError),
        (NotImplementedError(), ConfigError),
        (OSError(errno.ENOSPC, "No space left on device"), NoSpaceError),
        (TimeoutError("timed out"), UnavailableError),
        (ConnectionResetError(errno.ECONNRESET, "reset"), UnavailableError),
        (EOFError(), UnavailableError),
        (SSHException("Server connection dropped"), UnavailableError),
        (OSError("Failure"), UnavailableError),
        (RuntimeError("what no library should say"), UnavailableError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_every_exception_becomes_one_of_ours(error: Exception, expected: type[CkptTierError]) -> None:
    found = meaning(error, "sftp://host/x")
    assert type(found) is expected
    assert "sftp://host/x" in found.what


def test_the_query_of_a_url_in_an_error_is_not_shown() -> None:
    error = meaning(OSError("GET https://account/container/x?sig=SECRET&se=2026 failed\nagain"), "az://container/x")
    assert "SECRET" not in str(error)
    assert "\n" not in str(error)


# What they say


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (NOON, NOON.timestamp()),
        (NOON.replace(tzinfo=None), NOON.timestamp()),
        (NOON.timestamp(), NOON.timestamp()),
        (int(NOON.timestamp() * 1000), NOON.timestamp()),
        ("2026-01-02T12:00:00.000Z", NOON.timestamp()),
        ("20260102120000", NOON.timestamp()),
        ("20260102120000.000", NOON.timestamp()),
        ("Nov 24 22:03", None),
        (None, None),
        (True, None),
    ],
)
def test_times_are_read_in_the_forms_that_libraries_give(time: object, expected: float | None) -> None:
    assert seconds(time) == expected


def test_an_object_without_a_time_counts_as_just_written() -> None:
    assert described("a", {"size": 3, "modify": "Nov 24 22:03"}, now=12.0).modified == 12.0


@pytest.mark.parametrize("size", [None, -1, "3"])
def test_an_object_without_a_size_is_an_error(size: object) -> None:
    with pytest.raises(UnavailableError, match="how large"):
        described("a", {"size": size}, now=0.0)


def test_a_listing_can_not_lead_elsewhere_or_go_on_for_ever() -> None:
    """A hostile server: names with a path, names that are no keys, and a folder in which there is always another."""

    def children(folder: str) -> list[dict[str, Any]]:
        names = ("/etc/passwd", "..", "", "a\nb", "../../x")
        return [{"name": name, "type": "file"} for name in names] + [{"name": "deeper/", "type": "directory"}]

    keys = [key for key, _ in walk(children, ".ckpt-tier", "", "")]
    assert {key.rpartition("/")[2] for key in keys} == {"passwd", "x"}
    assert max(len(key) for key in keys) <= 1024
    assert not any(".." in key for key in keys)


# Connections


def test_no_connection_is_used_by_two_threads_and_no_more_than_a_few_are_made() -> None:
    made: list[Any] = []

    class Alone:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            made.append(self)

        def invalidate_cache(self) -> None:
            pass

    connections = Connections(Alone)

    def work(_number: int) -> None:
        with connections.one() as fs:
            assert fs.lock.acquire(blocking=False)
            threading.Event().wait(0.005)
            fs.lock.release()

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(60)))
    assert 1 < len(made) <= CONNECTIONS


# What stands for an object store


@pytest.fixture
def bucket(object_store: type[Objects], tmp_path: Path) -> str:
    return f"gs://{tmp_path.name}"


@pytest.fixture
def store(bucket: str) -> FsspecStore:
    """One that has been tried already: what is patched from here on meets the test's own calls."""
    made = fsspec_store(bucket)
    made.capabilities()
    return made


def test_an_object_that_came_out_wrong_is_removed_for_it_is_ours(
    store: FsspecStore, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Objects.pipe_file

    def wrong(self: Objects, path: str, value: bytes, mode: str = "overwrite") -> None:
        right(self, path, value[:-1] + b"?", mode)

    monkeypatch.setattr(Objects, "pipe_file", wrong)
    with pytest.raises(IntegrityError, match="other bytes"):
        store.upload("x", source_of(make_file(b"0123456789")), Counter())
    assert list(store.list("")) == []
    with pytest.raises(IntegrityError, match="other bytes"):
        store.put("y", b"0123456789")


def test_another_machines_object_that_appears_meanwhile_stays(
    store: FsspecStore, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Objects.put_file

    def late(self: Objects, lpath: str, rpath: str, **options: Any) -> None:
        Objects.pipe_file(self, rpath, b"another machine's")
        right(self, lpath, rpath, **options)

    monkeypatch.setattr(Objects, "put_file", late)
    with pytest.raises(KeyExistsError):
        store.upload("x", source_of(make_file(b"ours")), Counter())
    assert store.get("x", 100) == b"another machine's"


def test_a_client_without_conditional_creation_goes_by_a_hidden_name(
    bucket: str, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_mode(self: Objects, path: str, value: bytes) -> None:
        self.open(path, "wb", data=value)

    monkeypatch.setattr(Objects, "pipe_file", without_mode)
    monkeypatch.setattr(Objects, "put_file", None)
    store = fsspec_store(bucket)
    assert not store.capabilities().conditional_put
    data = os.urandom(1000)
    store.upload("x", source_of(make_file(data)), Counter())
    assert [entry.key for entry in store.list("")] == ["x"]
    assert store.get("x", 1000) == data


def test_a_stop_is_a_stop_even_if_the_library_fails_over_it(
    store: FsspecStore, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gcsfs drops its upload when it is interrupted; an emulator answered that with 501."""
    right = Objects.put_file

    def tidying(self: Objects, lpath: str, rpath: str, **options: Any) -> None:
        try:
            right(self, lpath, rpath, **options)
        except CancelledError as error:
            raise RuntimeError("501") from error

    monkeypatch.setattr(Objects, "put_file", tidying)
    with pytest.raises(CancelledError):
        store.upload("x", source_of(make_file(b"0123456789")), Counter(stop_after=1))
    assert list(store.list("")) == []


def test_a_missing_bucket_is_a_configuration_error(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_bucket(*_arguments: Any, **_options: Any) -> None:
        raise FileNotFoundError("b/bucket/o")

    monkeypatch.setattr(Objects, "pipe_file", no_bucket)
    with pytest.raises(ConfigError, match="no such bucket"):
        fsspec_store(bucket).put("x", b"")
