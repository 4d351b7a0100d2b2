import os
from pathlib import Path

import pytest

from ckpt_tier.cold import keys
from ckpt_tier.cold.configs import MAX_CONFIG_BYTES, config_id, newest_configs, put_config
from ckpt_tier.errors import IntegrityError, UsageError
from ckpt_tier.store.folder import FolderStore
from tests.stores import folder_store


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return folder_store(tmp_path / "cold")


def put_at(folder: FolderStore, text: bytes, seconds: int) -> str:
    """A copy that the store says was put at that time."""

    put_config(folder, "run", text)
    key = keys.config_key("run", config_id(text))
    os.utime(Path(folder.url) / key, (seconds, seconds))
    return key


def test_a_copy_stands_under_its_hash_and_the_one_put_last_comes_first(folder: FolderStore) -> None:
    old, new = put_at(folder, b"old", 1000), put_at(folder, b"new", 2000)
    assert list(newest_configs(folder, "run")) == [(new, b"new"), (old, b"old")]
    assert keys.parse_config_name(new.rpartition("/")[2]) == config_id(b"new")


def test_a_copy_that_is_there_is_left_as_it_is(folder: FolderStore) -> None:
    key = put_at(folder, b"text", 1000)
    before = (Path(folder.url) / key).stat()
    put_config(folder, "run", b"text")
    after = (Path(folder.url) / key).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_is_too_large_is_neither_put_nor_taken(folder: FolderStore) -> None:
    with pytest.raises(UsageError, match="too large"):
        put_config(folder, "run", b"x" * (MAX_CONFIG_BYTES + 1))
    folder.put(keys.config_key("run", "0" * 16), b"x" * (10 * 2**20))
    [(_, found)] = newest_configs(folder, "run")
    assert isinstance(found, IntegrityError)
    assert "too large" in str(found)


def test_bytes_under_another_name_than_theirs_are_damage(folder: FolderStore) -> None:
    folder.put(keys.config_key("run", "0" * 16), b'run = "x"')
    [(_, found)] = newest_configs(folder, "run")
    assert isinstance(found, IntegrityError)


def test_anything_else_beside_the_copies_is_none_and_a_series_of_that_name_is_not_disturbed(
    folder: FolderStore,
) -> None:
    folder.put("run/configs/manifests/000000000005.9f2c41aa03b7d5e1.json", b"{}")
    folder.put("run/configs/notes.toml", b"")
    assert list(newest_configs(folder, "run")) == []


def test_of_two_at_once_both_have_put_it(folder: FolderStore) -> None:
    class Raced(FolderStore):
        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
            folder.put(key, data)
            super().put(key, data, if_absent=if_absent)

    put_config(Raced(Path(folder.url)), "run", b"text")
    assert [text for _, text in newest_configs(folder, "run")] == [b"text"]
