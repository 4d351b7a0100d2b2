"""The cache of manifest bodies: what it forgets, and that it never stands in anybody's way."""

import contextlib
import sqlite3
from pathlib import Path

from ckpt_tier.cold.cache import ManifestCache


def keys(cache: ManifestCache) -> list[str]:
    return sorted(cache.load(""))


def filled(path: Path, count: int = 6, size: int = 1000) -> ManifestCache:
    """Bodies of steps that were committed in the opposite order."""
    cache = ManifestCache(path)
    cache.store((f"run/0/{step}.json@{1000.5 - step}", bytes(size)) for step in range(count))
    return cache


def test_what_is_not_listed_any_more_is_dropped_of_the_run_alone(tmp_path: Path) -> None:
    cache = filled(tmp_path / "manifests.sqlite", 3)
    cache.store([("runner/0/1.json@5.0", b"x")])
    cache.keep_only("run/", ["run/0/1.json@999.5"])
    assert keys(cache) == ["run/0/1.json@999.5", "runner/0/1.json@5.0"]


def test_beyond_its_size_what_was_committed_first_goes_first(tmp_path: Path) -> None:
    cache = filled(tmp_path / "manifests.sqlite")
    cache.store([("odd", bytes(1000))])
    cache.shrink(6999)
    assert "odd" not in keys(cache)
    cache.shrink(3500)
    assert keys(cache) == [f"run/0/{step}.json@{1000.5 - step}" for step in range(3)]
    cache.shrink(3500)
    assert len(keys(cache)) == 3


def test_the_file_gives_its_space_back(tmp_path: Path) -> None:
    path = tmp_path / "manifests.sqlite"
    cache = filled(path, 400, 10_000)
    before = path.stat().st_size
    assert before > 4_000_000
    cache.shrink(50_000)
    assert path.stat().st_size < 200_000
    assert len(keys(cache)) == 5


def test_a_cache_that_is_missing_or_broken_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "manifests.sqlite"
    cache = ManifestCache(path)
    cache.keep_only("run/", [])
    cache.shrink()
    assert not path.parent.exists()
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    cache.keep_only("run/", [])
    cache.shrink()
    assert path.read_bytes() == b"no database at all" * 100


def test_the_ends_of_pages_are_kept_by_listing_and_a_file_from_before_there_were_any_is_none(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "cache.db")) as db, db:
        db.execute("CREATE TABLE manifests (key TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID")
    cache = ManifestCache(tmp_path / "cache.db")
    assert cache.page_ends("a") == []
    cache.note_page_ends("a", ["a/1", "a/2"])
    cache.note_page_ends("b", ["b/1"])
    cache.note_page_ends("a", ["a/3"])
    assert (cache.page_ends("a"), cache.page_ends("b")) == (["a/3"], ["b/1"])
