"""What every store promises: `ckpt_tier.store.protocol`, sentence by sentence."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from ckpt_tier.errors import (
    CancelledError,
    IntegrityError,
    KeyExistsError,
    MissingKeyError,
    SourceChangedError,
    UnavailableError,
    UsageError,
)
from ckpt_tier.store.probe import try_out
from ckpt_tier.store.protocol import READ_BLOCK, Store
from tests.stores import PIECE, RESUMING, Counter, random_bytes, source_of

MakeFile = Callable[[bytes], Path]


def whole(store: Store, key: str) -> bytes:
    """An object read in ranges."""
    return b"".join(map(bytes, store.read(key, 0, store.stat(key).size)))


def keys(store: Store, prefix: str = "", after: str = "") -> list[str]:
    return [entry.key for entry in store.list(prefix, after)]


# Small objects


@pytest.mark.parametrize("data", [b"", b"x", random_bytes(100_000)], ids=["empty", "one byte", "large"])
def test_a_small_object_comes_back_as_it_was_put(store: Store, data: bytes) -> None:
    store.put("a/b.json", data)
    assert store.get("a/b.json", len(data)) == data
    assert store.stat("a/b.json").size == len(data)


def test_putting_again_replaces(store: Store) -> None:
    store.put("note", b"first")
    store.put("note", b"second")
    assert store.get("note", 100) == b"second"


def test_put_if_absent_refuses_and_changes_nothing_when_there_is_one(store: Store) -> None:
    store.put("a/manifest", b"first", if_absent=True)
    with pytest.raises(KeyExistsError):
        store.put("a/manifest", b"second", if_absent=True)
    assert store.get("a/manifest", 100) == b"first"


def test_of_sixteen_racing_conditional_puts_exactly_one_wins(store: Store) -> None:
    barrier = threading.Barrier(16)

    def race(number: int) -> int | None:
        barrier.wait()
        try:
            store.put("race/key", b"%d" % number, if_absent=True)
        except KeyExistsError:
            return None
        return number

    with ThreadPoolExecutor(16) as pool:
        winners = [number for number in pool.map(race, range(16)) if number is not None]
    assert len(winners) == 1
    assert store.get("race/key", 100) == b"%d" % winners[0]


def test_get_refuses_an_object_beyond_the_limit(store: Store) -> None:
    store.put("big", b"12345")
    assert store.get("big", 5) == b"12345"
    with pytest.raises(IntegrityError, match="too large"):
        store.get("big", 4)


def test_the_modification_time_is_the_stores_own(store: Store, tmp_path: Path) -> None:
    store.put("a", b"x")
    now = (tmp_path / "clock").write_bytes(b"") or (tmp_path / "clock").stat().st_mtime
    assert abs(store.stat("a").modified - now) < 5
    assert abs(next(iter(store.list(""))).modified - now) < 5


# Keys


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", ".", "a/../b", "../a", "a\nb", "a\\b", "x" * 1025], ids=lambda key: key[:8]
)
def test_unfit_keys_are_refused_everywhere(store: Store, key: str, make_file: MakeFile) -> None:
    source = source_of(make_file(b"x"))
    for call in (
        lambda: store.put(key, b""),
        lambda: store.get(key, 1),
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: list(store.read(key, 0, 1)),
        lambda: store.upload(key, source, Counter()),
    ):
        with pytest.raises(UsageError):
            call()
    assert keys(store) == []


@pytest.mark.parametrize("key", ["Grüße/模型 1.pt", "a b+c%20&=?#;'\"(1).pt", "~/$HOME/*.pt", "-rf", ".hidden/x"])
def test_unusual_keys_come_back_as_they_are(store: Store, key: str, make_file: MakeFile) -> None:
    store.put(key, b"small")
    assert keys(store) == [key]
    store.delete(key)
    store.upload(key, source_of(make_file(b"data")), Counter())
    assert keys(store) == [key]
    assert store.stat(key).key == key
    assert whole(store, key) == b"data"


# Nothing there


def test_a_missing_object_is_said_by_every_read(store: Store) -> None:
    store.put("a/b", b"x")
    for key in ("c", "a", "a/c", "a/b/c"):
        with pytest.raises(MissingKeyError):
            store.stat(key)
        with pytest.raises(MissingKeyError):
            store.get(key, 100)
        with pytest.raises(MissingKeyError):
            list(store.read(key, 0, 1))


def test_deleting_twice_is_success(store: Store) -> None:
    store.put("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    assert keys(store) == []
    with pytest.raises(MissingKeyError):
        store.stat("a/b")


def test_deleting_one_object_leaves_its_neighbours(store: Store) -> None:
    for key in ("a/b/c", "a/b/d", "a/e"):
        store.put(key, b"x")
    store.delete("a/b/c")
    assert keys(store) == ["a/b/d", "a/e"]
    store.delete("a/b/d")
    assert keys(store) == ["a/e"]
    assert list(store.folders("a/")) == []


# Listing

LISTED = ["a", "a-b/c", "a.b", "b/1", "b/10", "b/2", "b/sub/x", "b0", "Z", "é", "\U0001f600/x", "\uffee"]


def test_keys_are_listed_in_the_order_of_their_bytes(store: Store) -> None:
    for key in LISTED:
        store.put(key, key.encode())
    assert keys(store) == sorted(LISTED, key=str.encode)
    assert all(entry.size == len(entry.key.encode()) and entry.crc64nvme is None for entry in store.list(""))


@pytest.mark.parametrize("prefix", ["b", "b/", "b/1", "b/sub/", "a", "x", "b/sub/x", "\U0001f600"])
def test_a_prefix_selects_the_keys_that_start_with_it(store: Store, prefix: str) -> None:
    for key in LISTED:
        store.put(key, b"")
    assert keys(store, prefix) == [key for key in sorted(LISTED, key=str.encode) if key.startswith(prefix)]


@pytest.mark.parametrize("after", ["b/1", "b/10", "b/15", "a", "a-b/c", "b", "b/sub", "zzz", "\uffee", "Z"])
def test_after_skips_the_keys_up_to_and_including_it(store: Store, after: str) -> None:
    for key in LISTED:
        store.put(key, b"")
    expected = [key for key in sorted(LISTED, key=str.encode) if key.encode() > after.encode()]
    assert keys(store, after=after) == expected
    assert keys(store, "b/", after) == [key for key in expected if key.startswith("b/")]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1000, 2001])
def test_pages_of_a_long_listing_are_joined(store: Store, count: int, store_kind: str) -> None:
    if store_kind in ("weak", "sftp"):  # the first has the pages of minio's client, the second none
        count //= 20
    names = [f"many/{number:05}" for number in range(count)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, b""), names))
    assert keys(store, "many/") == names
    assert keys(store, "many/", names[count // 2]) == names[count // 2 + 1 :]


def test_folders_are_the_names_directly_below(store: Store) -> None:
    for key in ("run/main/manifests/1", "run/main/data/2/x", "run/gpu0/data/3", "run/run.json", "other/x"):
        store.put(key, b"")
    assert list(store.folders("")) == ["other", "run"]
    assert list(store.folders("run/")) == ["gpu0", "main"]
    assert list(store.folders("run/main/")) == ["data", "manifests"]
    assert list(store.folders("nothing/")) == []


# Ranges


def test_any_range_can_be_read(store: Store) -> None:
    data = random_bytes(300_000)
    store.put("x", data)
    for offset, length in ((0, 1), (0, len(data)), (299_999, 1), (12_345, 200_000), (5, 0)):
        assert b"".join(map(bytes, store.read("x", offset, length))) == data[offset : offset + length]


def test_a_reading_comes_in_blocks_and_can_be_left_at_any_of_them(store: Store, make_file: MakeFile) -> None:
    data = random_bytes(3 * READ_BLOCK + 5)
    store.upload("x", source_of(make_file(data)), Counter())
    blocks = [bytes(block) for block in store.read("x", 3, len(data) - 3)]
    assert max(map(len, blocks)) <= READ_BLOCK
    assert b"".join(blocks) == data[3:]
    for _ in range(40):  # more than there are connections
        with contextlib.closing(store.read("x", 0, len(data))) as left:
            assert data.startswith(bytes(next(left)))
    assert whole(store, "x") == data


def test_several_readings_at_once_have_each_their_own_bytes(store: Store) -> None:
    names = [f"x{number}" for number in range(4)]
    for name in names:
        store.put(name, name.encode() * 1000)
    readings = [store.read(name, 0, 2000) for name in names]
    for name, blocks in zip(names, readings, strict=True):
        assert b"".join(map(bytes, blocks)) == name.encode() * 1000


@pytest.mark.parametrize(("offset", "length"), [(0, 11), (5, 6), (10, 1), (1000, 10)])
def test_reading_beyond_the_end_is_an_integrity_error(store: Store, offset: int, length: int) -> None:
    store.put("x", b"0123456789")
    with pytest.raises(IntegrityError):
        list(store.read("x", offset, length))


# Uploads


LARGE = [pytest.param(size, marks=pytest.mark.slow) for size in (3 * PIECE, 3 * PIECE + 12_345)]


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, *LARGE])
def test_a_file_of_any_size_arrives_whole(store: Store, size: int, make_file: MakeFile) -> None:
    data = random_bytes(size)
    source = source_of(make_file(data))
    counter = Counter()
    store.upload("data/x.pt", source, counter)
    assert whole(store, "data/x.pt") == data
    assert counter.moved_bytes == size
    assert counter.resumed_bytes == 0
    assert keys(store) == ["data/x.pt"]
    assert store.stat("data/x.pt").crc64nvme in (None, source.crc64nvme)


@pytest.mark.parametrize("size", [0, 100, 2 * PIECE + 1])
def test_the_same_object_already_there_is_success(store: Store, size: int, make_file: MakeFile) -> None:
    source = source_of(make_file(random_bytes(size)))
    first, again = Counter(), Counter()
    store.upload("data/x.pt", source, first)
    assert not first.told_of_older
    store.upload("data/x.pt", source, again)
    assert again.told_of_older
    assert again.moved_bytes <= 100  # tiny files are sent rather than asked for
    assert keys(store) == ["data/x.pt"]


@pytest.mark.parametrize("size", [0, 100, 2 * PIECE + 1])
def test_different_bytes_already_there_are_not_overwritten(store: Store, size: int, make_file: MakeFile) -> None:
    store.upload("data/x.pt", source_of(make_file(b"first")), Counter())
    with pytest.raises(KeyExistsError):
        store.upload("data/x.pt", source_of(make_file(random_bytes(size))), Counter())
    assert whole(store, "data/x.pt") == b"first"


def test_other_bytes_of_the_same_size_are_not_taken_for_the_same(store: Store, make_file: MakeFile) -> None:
    data = bytearray(random_bytes(2 * PIECE))
    store.upload("data/x.pt", source_of(make_file(bytes(data))), Counter())
    data[PIECE + 7] ^= 1
    with pytest.raises(KeyExistsError):
        store.upload("data/x.pt", source_of(make_file(bytes(data))), Counter())


def test_a_cancelled_upload_is_resumed_at_whole_pieces_or_begins_anew(
    store: Store, make_file: MakeFile, resuming: bool
) -> None:
    data = random_bytes(8 * PIECE)
    source = source_of(make_file(data))
    first = Counter(stop_after=6 * PIECE)
    with pytest.raises(CancelledError):
        store.upload("data/x.pt", source, first)
    assert keys(store) == []
    with pytest.raises(MissingKeyError):
        store.stat("data/x.pt")
    second = Counter()
    store.upload("data/x.pt", source, second)
    assert (second.resumed_bytes >= PIECE) == resuming
    assert second.resumed_bytes % PIECE == 0
    assert second.moved_bytes == len(data) - second.resumed_bytes
    assert whole(store, "data/x.pt") == data


def test_pieces_of_another_content_are_not_resumed(store: Store, make_file: MakeFile) -> None:
    with pytest.raises(CancelledError):
        store.upload("data/x.pt", source_of(make_file(random_bytes(4 * PIECE))), Counter(stop_after=3 * PIECE))
    data = random_bytes(4 * PIECE)
    path = make_file(data)
    for _ in range(3):  # a store without checksums finds out at the end, and starts again
        try:
            store.upload("data/x.pt", source_of(path), Counter())
        except IntegrityError:
            assert keys(store) == []
            continue
        break
    assert whole(store, "data/x.pt") == data


@pytest.mark.parametrize("size", [1000, PIECE, 3 * PIECE])
def test_a_source_that_changed_is_refused_and_nothing_is_visible(store: Store, size: int, make_file: MakeFile) -> None:
    path = make_file(random_bytes(size))
    source = source_of(path)
    with path.open("r+b") as file:
        file.seek(size - 10)
        file.write(b"changed!")
    with pytest.raises(SourceChangedError):
        store.upload("data/x.pt", source, Counter())
    assert keys(store) == []
    with pytest.raises(MissingKeyError):
        store.stat("data/x.pt")


@pytest.mark.parametrize("size", [0, 1000, 3 * PIECE - 1, 3 * PIECE + 1])
def test_a_source_of_another_length_is_refused(store: Store, size: int, make_file: MakeFile) -> None:
    path = make_file(random_bytes(3 * PIECE))
    source = source_of(path)
    with path.open("ab") as file:
        file.write(b"x")
    os.truncate(path, size)
    with pytest.raises(SourceChangedError):
        store.upload("data/x.pt", source, Counter())
    path.unlink()
    with pytest.raises(SourceChangedError):
        store.upload("data/x.pt", source, Counter())
    assert keys(store) == []


def test_a_source_that_is_cut_short_under_way_is_refused(store: Store, make_file: MakeFile) -> None:
    path = make_file(random_bytes(4 * PIECE))
    source = source_of(path)

    class Truncating(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            if self.moved_bytes > PIECE // 2:
                os.truncate(path, 1000)

    with pytest.raises(SourceChangedError):
        store.upload("data/x.pt", source, Truncating())
    assert keys(store) == []


def test_checksums_that_do_not_belong_together_are_refused(store: Store, make_file: MakeFile) -> None:
    source = source_of(make_file(random_bytes(2 * PIECE)))
    for wrong in (
        msgspec.structs.replace(source, crc64nvme="0" * 16),
        msgspec.structs.replace(source, pieces=msgspec.structs.replace(source.pieces, crcs=source.pieces.crcs[:1])),
    ):
        with pytest.raises(SourceChangedError):
            store.upload("data/x.pt", wrong, Counter())
    assert keys(store) == []


def test_many_threads_may_upload_and_read_at_once(store: Store, make_file: MakeFile) -> None:
    contents = {f"data/{number}.pt": random_bytes(PIECE + number) for number in range(6)}
    sources = {key: source_of(make_file(data)) for key, data in contents.items()}

    def there_and_back(key: str) -> bytes:
        store.upload(key, sources[key], Counter())
        return whole(store, key)

    with ThreadPoolExecutor(6) as pool:
        assert dict(zip(contents, pool.map(there_and_back, contents), strict=True)) == contents


def test_two_uploads_of_one_file_at_once_end_in_one_object(store: Store, make_file: MakeFile) -> None:
    data = random_bytes(3 * PIECE)
    source = source_of(make_file(data))

    def upload(_number: int) -> bool:
        for _ in range(100):
            try:
                store.upload("data/x.pt", source, Counter())
            except UnavailableError:  # the other one is at it
                threading.Event().wait(0.05)
                continue
            return True
        return False

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(upload, range(4)))
    assert whole(store, "data/x.pt") == data


# Trying out


def test_every_trial_of_a_good_store_succeeds_and_leaves_nothing(
    store: Store, store_kind: str, verifying: bool
) -> None:
    trials = list(try_out(store))
    failed = [trial.name for trial in trials if not trial.ok]
    assert failed == (["wrong checksum refused"] if store_kind in ("minio", "weak") and not verifying else [])
    assert keys(store) == []
    assert list(store.folders("")) == []


def test_capabilities_are_what_was_found(store: Store, store_kind: str, verifying: bool) -> None:
    found = store.capabilities()
    assert found.conditional_put == (store_kind != "memory")
    assert found.verifies_uploads == verifying
    assert keys(store) == []


def test_errors_say_which_object_and_carry_no_secret(store: Store) -> None:
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY", "no secret")
    for call in (lambda: store.get("lost.json", 1), lambda: store.stat("lost.json")):
        with pytest.raises(MissingKeyError) as caught:
            call()
        assert "lost.json" in caught.value.what
        assert secret not in f"{caught.value} {caught.value.fix}"


# Objects that somebody is about to refer to


@pytest.mark.slow
def test_refreshing_makes_an_object_young_and_changes_no_byte(store: Store, make_file: MakeFile) -> None:
    for size in (1000, PIECE + 1000):
        source = source_of(make_file(random_bytes(size)))
        key = f"run/{size}/x.pt"
        store.upload(key, source, Counter())
        before = store.stat(key).modified
        time.sleep(1.1)  # S3 notes whole seconds
        store.refresh(key, source, Counter())
        assert store.stat(key).modified > before
        assert whole(store, key) == source.path.read_bytes()
        assert keys(store, f"run/{size}/") == [key]


def test_refreshing_never_replaces_other_bytes_and_never_makes_an_object(store: Store, make_file: MakeFile) -> None:
    for size in (1000, PIECE + 1000):
        mine, theirs = (source_of(make_file(random_bytes(size))) for _ in range(2))
        key = f"run/{size}/x.pt"
        with pytest.raises(MissingKeyError):
            store.refresh(key, mine, Counter())
        store.upload(key, theirs, Counter())
        with pytest.raises(KeyExistsError):
            store.refresh(key, mine, Counter())
        assert whole(store, key) == theirs.path.read_bytes()


def test_refreshing_from_a_file_that_has_changed_leaves_the_object_as_it_was(store: Store, make_file: MakeFile) -> None:
    for size in (1000, PIECE + 1000):
        data = random_bytes(size)
        source = source_of(make_file(data))
        key = f"run/{size}/x.pt"
        store.upload(key, source, Counter())
        source.path.write_bytes(random_bytes(size))
        with contextlib.suppress(SourceChangedError):  # a folder does not need to read it again
            store.refresh(key, source, Counter())
        assert whole(store, key) == data


# What kills leave


def cut_off(store: Store, key: str, file: Path) -> None:
    """An upload that ended before its time, two seconds ago: servers tell the time in whole ones."""
    with pytest.raises(CancelledError):
        store.upload(key, source_of(file), Counter(stop_after=6 * PIECE))
    time.sleep(2)


@pytest.mark.slow
def test_what_a_killed_upload_left_is_cleaned_up_and_the_upload_begins_anew(
    store: Store, store_kind: str, make_file: MakeFile
) -> None:
    file = make_file(random_bytes(8 * PIECE))
    store.put("run/0/data/1/y.pt", b"an object")
    cut_off(store, "run/0/data/1/x.pt", file)
    gone = store.clean_up(["run/1/data/", "run/0/data/"], 1.0, [])
    if store_kind in RESUMING:  # the others leave nothing where they are merely cancelled
        assert gone.count == 1
        assert gone.size >= PIECE
    assert keys(store) == ["run/0/data/1/y.pt"]
    counter = Counter()
    store.upload("run/0/data/1/x.pt", source_of(file), counter)
    assert counter.resumed_bytes == 0
    assert store.clean_up(["run/0/data/"], 0.0, []).count == 0
    assert whole(store, "run/0/data/1/x.pt") == file.read_bytes()


@pytest.mark.slow
def test_what_is_young_or_waited_for_or_below_another_prefix_stays_and_is_gone_on_with(
    store: Store, store_kind: str, make_file: MakeFile
) -> None:
    file = make_file(random_bytes(8 * PIECE))
    cut_off(store, "run/0/data/1/x.pt", file)
    assert store.clean_up(["run/0/data/"], 3600.0, []).count == 0
    assert store.clean_up(["run/0/data/"], 1.0, ["run/0/data/1/x.pt"]).count == 0
    if store_kind not in ("folder", "apart"):  # whose leftovers don't tell their prefix, as the contract says
        assert store.clean_up(["run/1/data/", "un/0/data/", "run/0/data/2"], 1.0, []).count == 0
    counter = Counter()
    store.upload("run/0/data/1/x.pt", source_of(file), counter)
    assert counter.resumed_bytes >= PIECE or store_kind not in RESUMING
    assert whole(store, "run/0/data/1/x.pt") == file.read_bytes()
