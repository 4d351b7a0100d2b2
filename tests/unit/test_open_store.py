"""What the url of a cold tier opens."""

import os
from pathlib import Path

import pytest

from ckpt_tier.config import ColdConfig
from ckpt_tier.errors import ConfigError, UnavailableError
from ckpt_tier.store import open_store
from ckpt_tier.store.apart import ApartStore
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.fsspec_store import FsspecStore
from ckpt_tier.store.s3 import S3Store
from ckpt_tier.system import mounts
from tests.stores import folder_store


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/some/prefix/", "s3://bucket/some/prefix"),
    ],
)
def test_s3_urls_open_a_bucket(url: str, shown: str) -> None:
    store = open_store(ColdConfig(url=url))
    assert isinstance(store, S3Store)
    assert store.url == shown


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/mnt/nas", "/mnt/nas"),
        ("file:///mnt/nas", "/mnt/nas"),
        ("file:///mnt/my%20nas", "/mnt/my nas"),
        ("/mnt/my nas#1", "/mnt/my nas#1"),
    ],
)
def test_paths_and_file_urls_open_a_folder(url: str, path: str) -> None:
    store = open_store(ColdConfig(url=url))
    assert isinstance(store, FolderStore | ApartStore)
    assert store.url == path


@pytest.mark.parametrize(
    "url",
    [
        "http://host/x",
        "nonsense://x/y",
        "memory://x",
        "s3a://bucket/x",
        "relative/path",
        "",
        "file://host/path",
        "s3:///x",
    ],
)
def test_other_urls_are_configuration_errors(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(ColdConfig(url=url))
    assert caught.value.exit_code == 3


def test_an_unknown_scheme_is_named_with_what_is_supported() -> None:
    with pytest.raises(ConfigError, match="nonsense:// is not supported") as caught:
        open_store(ColdConfig(url="nonsense://bucket/x"))
    assert "s3://" in caught.value.fix


def test_a_scheme_whose_package_is_missing_says_which_to_install() -> None:
    with pytest.raises(ConfigError, match="not installed") as caught:
        open_store(ColdConfig(url="az://container/x"))
    assert "pip install 'adlfs'" in caught.value.fix


@pytest.mark.parametrize("url", ["sftp://host/some/folder", "sftp://user@host:2222/folder/"])
def test_other_urls_open_the_filesystem_that_fsspec_has_for_them(url: str) -> None:
    store = open_store(ColdConfig(url=url))
    assert isinstance(store, FsspecStore)
    assert store.url == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["sftp://host", "sftp://host/", "ftp://host:nonsense/x", "sftp://host/x?key=1", "dir::sftp://host/x"]
)
def test_urls_that_lead_nowhere_are_configuration_errors(url: str) -> None:
    with pytest.raises(ConfigError):
        open_store(ColdConfig(url=url))


@pytest.mark.parametrize("url", ["s3://key:hidden@bucket/x", "sftp://user:hidden@host/x", "ftp://user:hidden@host/x"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(ColdConfig(url=url))
    assert "hidden" not in f"{caught.value} {caught.value.fix}"


def test_hot_and_cold_on_one_device_need_a_yes(tmp_path: Path) -> None:
    hot, cold = tmp_path / "hot", tmp_path / "not" / "yet" / "there"
    hot.mkdir()
    with pytest.raises(ConfigError, match="same device") as caught:
        open_store(ColdConfig(url=str(cold)), hot, founding=True)
    assert "same_device" in caught.value.fix
    assert isinstance(open_store(ColdConfig(url=str(cold), same_device=True), hot, founding=True), FolderStore)
    assert isinstance(open_store(ColdConfig(url="s3://bucket"), hot), S3Store)
    folder_store(cold)
    with pytest.raises(ConfigError, match="same device"):
        open_store(ColdConfig(url=str(cold)), hot)


def test_a_mount_that_is_missing_is_not_taken_for_the_disk_below_it(tmp_path: Path) -> None:
    """It is away (exit 6, and asked for again), not a wrong configuration (exit 3, at which a worker ends)."""
    hot, place = tmp_path / "hot", tmp_path / "mnt"
    hot.mkdir()
    place.mkdir()
    store = open_store(ColdConfig(url=str(place)), hot)
    with pytest.raises(UnavailableError, match="marker"):
        list(store.list(""))
    assert list(place.iterdir()) == []


def test_a_folder_that_may_hang_is_worked_on_by_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no test may touch, nobody does: such a mount is told by its name in the table alone."""
    cold = folder_store(tmp_path / "nas").url
    assert isinstance(open_store(ColdConfig(url=cold)), FolderStore)
    device = tmp_path.stat().st_dev
    table = f"1 0 254:1 / / rw - ext4 x rw\n2 1 {os.major(device)}:{os.minor(device)} / {cold} rw - nfs4 s:/x rw"
    monkeypatch.setattr(mounts, "_table", lambda: table)
    for call in ("stat", "lstat", "open", "scandir", "readlink"):
        _forbid(monkeypatch, call, below=cold)
    for founding in (False, True):
        assert isinstance(open_store(ColdConfig(url=cold), founding=founding), ApartStore)
        with pytest.raises(ConfigError, match="same device"):
            open_store(ColdConfig(url=f"{cold}/deep"), tmp_path, founding=founding)


def _forbid(monkeypatch: pytest.MonkeyPatch, call: str, below: str) -> None:
    real = getattr(os, call)

    def guarded(path: object, *rest: object, **more: object) -> object:
        assert not str(path).startswith(below), f"{call} of {path}"
        return real(path, *rest, **more)

    monkeypatch.setattr(os, call, guarded)


def test_hot_and_cold_on_two_devices_are_welcome(tmp_path: Path) -> None:
    other = next((path for path in map(Path, ("/dev/shm", "/proc")) if path.exists()), None)  # noqa: S108
    if other is None or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    assert isinstance(open_store(ColdConfig(url=str(other)), tmp_path, founding=True), FolderStore)
