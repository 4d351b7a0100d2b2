"""The cache of manifest bodies: what it forgets, and that it never stands in anybody's way."""

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
