"""What the url of a cold tier opens."""

from pathlib import Path

import pytest

from ckpt_tier.config import ColdConfig
from ckpt_tier.errors import ConfigError
from ckpt_tier.store import open_store
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.fsspec_store import FsspecStore
from ckpt_tier.store.s3 import S3Store


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
    assert isinstance(store, FolderStore)
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
        open_store(ColdConfig(url=str(cold)), hot)
    assert "same_device" in caught.value.fix
    assert isinstance(open_store(ColdConfig(url=str(cold), same_device=True), hot), FolderStore)
    assert isinstance(open_store(ColdConfig(url="s3://bucket"), hot), S3Store)


def test_hot_and_cold_on_two_devices_are_welcome(tmp_path: Path) -> None:
    other = next((path for path in map(Path, ("/dev/shm", "/proc")) if path.exists()), None)  # noqa: S108
    if other is None or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    assert isinstance(open_store(ColdConfig(url=str(other)), tmp_path), FolderStore)
