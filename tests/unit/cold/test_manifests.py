from pathlib import Path

import msgspec
import pytest

from ckpt_tier.cold.cache import ManifestCache
from ckpt_tier.cold.configs import put_config
from ckpt_tier.cold.documents import MAX_DOCUMENT_BYTES, encode
from ckpt_tier.cold.manifests import Entry, Manifests
from ckpt_tier.errors import ConflictError, IntegrityError, MissingKeyError
from ckpt_tier.store.folder import FolderStore
from tests.builders import digest, manifest
from tests.stores import folder_store


class Counting(FolderStore):
    """Counts what is read."""

    gets = 0

    def get(self, key: str, limit: int) -> bytes:
        Counting.gets += 1
        return super().get(key, limit)


@pytest.fixture
def manifests(tmp_path: Path) -> Manifests:
    Counting.gets = 0
    return Manifests(Counting(Path(folder_store(tmp_path / "cold").url)), "run", ManifestCache(tmp_path / "cache.db"))


def committed(manifests: Manifests, *steps: int) -> list[Entry]:
    for step in steps:
        manifests.commit(manifest(step))
    return manifests.entries("0")


def test_what_was_committed_is_listed_from_a_step_on_and_read_back(manifests: Manifests) -> None:
    committed(manifests, 5, 10, 15)
    assert [entry.step for entry in manifests.entries("0")] == [5, 10, 15]
    assert [entry.step for entry in manifests.entries("0", 10)] == [10, 15]
    assert [entry.step for entry in manifests.entries("0", 11)] == [15]
    assert manifests.series() == ["0"]
    assert manifests.read(manifests.entries("0")[0]) == manifest(5)


def test_committing_the_same_again_changes_nothing(manifests: Manifests) -> None:
    assert manifests.commit(manifest(5))
    before = manifests.store.get(manifest(5).key, 10**6)
    again = msgspec.structs.replace(manifest(5), saved_at="2024-01-01T00:00:00Z")
    assert not manifests.commit(again)
    assert manifests.store.get(manifest(5).key, 10**6) == before


def test_a_manifest_over_other_objects_under_the_same_name_is_a_conflict(manifests: Manifests) -> None:
    one = manifest(5)
    other = msgspec.structs.replace(
        one,
        members=(
            msgspec.structs.replace(one.members[0], files=(msgspec.structs.replace(one.files[0], crc64nvme="1" * 16),)),
        ),
    )
    manifests.commit(one)
    with pytest.raises(ConflictError, match="already there"):
        manifests.commit(other)
    assert manifests.read(manifests.entries("0")[0]) == one


def test_what_could_not_be_read_back_is_not_committed(manifests: Manifests) -> None:
    with pytest.raises(IntegrityError, match="leads outside"):
        manifests.commit(manifest(5, (digest("../outside.pt"),)))
    assert manifests.entries("0") == []


def test_other_objects_beside_the_manifests_are_left_alone(manifests: Manifests) -> None:
    manifests.store.put("run/0/manifests/README.txt", b"hello")
    assert [entry.step for entry in committed(manifests, 5)] == [5]


def test_a_body_is_read_once_and_then_comes_from_the_cache(manifests: Manifests) -> None:
    entries = committed(manifests, 5, 10)
    first, _ = manifests.read_all(entries)
    gets = Counting.gets
    second, _ = manifests.read_all(entries)
    assert first == second
    assert Counting.gets == gets
    manifests.read_fresh(entries[0])
    assert Counting.gets == gets + 1


def test_only_so_many_are_asked_of_the_store(manifests: Manifests) -> None:
    entries = committed(manifests, *range(5))
    found, damaged = manifests.read_all(entries, at_most=2)
    assert (len(found), damaged) == (2, {})


def test_what_was_read_once_is_remembered_without_asking(manifests: Manifests, tmp_path: Path) -> None:
    entries = committed(manifests, 5, 10)
    assert manifests.remembered() == {}
    first, _ = manifests.read_all(entries)
    gets = Counting.gets
    assert manifests.remembered() == first
    assert Counting.gets == gets


def test_of_one_that_was_committed_again_the_later_time_is_remembered(manifests: Manifests) -> None:
    [entry] = committed(manifests, 5)
    manifests.read(entry)
    later = msgspec.structs.replace(entry, committed_at=entry.committed_at + 60)
    manifests.read(later)
    assert list(manifests.remembered()) == [later]


def test_a_bucket_that_was_emptied_and_filled_again_is_read_anew(manifests: Manifests, tmp_path: Path) -> None:
    [entry] = committed(manifests, 5)
    manifests.read(entry)
    manifests.store.delete(manifest(5).key)
    manifests.commit(msgspec.structs.replace(manifest(5), metrics={"loss": 7.0}))
    entry = msgspec.structs.replace(manifests.entries("0")[0], committed_at=entry.committed_at + 5)
    assert manifests.read(entry).metrics == {"loss": 7.0}


@pytest.mark.parametrize("damage", ["not sqlite at all, but long enough to be looked at" * 100, ""])
def test_a_broken_cache_costs_requests_and_nothing_else(manifests: Manifests, tmp_path: Path, damage: str) -> None:
    entries = committed(manifests, 5)
    (tmp_path / "cache.db").write_text(damage)
    found, damaged = manifests.read_all(entries)
    assert (found, damaged) == ({entries[0]: manifest(5)}, {})


def test_a_broken_row_in_the_cache_is_as_good_as_none(manifests: Manifests, tmp_path: Path) -> None:
    entries = committed(manifests, 5)
    cache = ManifestCache(tmp_path / "cache.db")
    cache.store([(manifests._cache_key(entries[0]), b"{broken")])
    assert manifests.read(entries[0]) == manifest(5)


def test_a_cache_that_cannot_be_written_does_no_harm(manifests: Manifests, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blocked = Manifests(manifests.store, "run", ManifestCache(tmp_path / "file" / "cache.db"))
    assert blocked.read(committed(manifests, 5)[0]) == manifest(5)


def test_a_damaged_manifest_is_told_apart_from_the_good_ones(manifests: Manifests) -> None:
    committed(manifests, 5)
    bad = manifest(10)
    manifests.store.put(bad.key, encode(manifest(5)))
    found, damaged = manifests.read_all(manifests.entries("0"))
    assert [entry.step for entry in found] == [5]
    assert [entry.step for entry in damaged] == [10]
    with pytest.raises(IntegrityError, match="another name"):
        manifests.read(manifests.entries("0")[1])
    with pytest.raises(IntegrityError, match="another name"):
        manifests.read_fresh(manifests.entries("0")[1])


def test_a_manifest_that_is_far_too_large_is_refused_before_it_is_parsed(manifests: Manifests) -> None:
    manifests.store.put(manifest(5).key, b" " * (MAX_DOCUMENT_BYTES + 1))
    _, damaged = manifests.read_all(manifests.entries("0"))
    assert [entry.step for entry in damaged] == [5]


def test_a_manifest_that_is_gone_is_missing(manifests: Manifests) -> None:
    with pytest.raises(MissingKeyError):
        manifests.read_fresh(Entry("0", 5, "0" * 16, 0.0))


def test_the_configurations_copies_are_no_series_and_a_series_of_their_name_is(manifests: Manifests) -> None:
    committed(manifests, 5)
    put_config(manifests.store, "run", b'run = "run"')
    manifests.store.put("run/Not-A-Name/manifests/x", b"")
    assert manifests.series() == ["0"]
    manifests.commit(manifest(5, series="configs"))
    assert manifests.series() == ["0", "configs"]
    assert [entry.step for entry in manifests.entries("configs")] == [5]
