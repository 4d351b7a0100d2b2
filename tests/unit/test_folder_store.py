"""A folder as a cold tier: mounts that go away, links, locks, full disks and disks that lie."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ckpt_tier.errors import (
    CancelledError,
    ConfigError,
    ConflictError,
    IntegrityError,
    KeyExistsError,
    MissingKeyError,
    NoSpaceError,
    UnavailableError,
    UsageError,
)
from ckpt_tier.store import folder_leftovers, folder_read_back, folder_upload
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.system import durable
from ckpt_tier.system.digests import crc64nvme
from tests.stores import PIECE, Counter, folder_store, random_bytes, source_of

MakeFile = Callable[[bytes], Path]
KEY = "run/main/data/x.pt"
MARKER = ".ckpt-tier-store"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return folder_store(tmp_path / "cold")


@pytest.fixture
def root(store: FolderStore) -> Path:
    return Path(store.url)


def partials(root: Path) -> list[Path]:
    return list((root / ".ckpt-tier-tmp").glob("*"))


# The marker


@pytest.mark.parametrize("mounted", [True, False], ids=["an empty folder", "no folder"])
def test_without_its_marker_nothing_is_read_or_written(tmp_path: Path, make_file: MakeFile, mounted: bool) -> None:
    root = tmp_path / "nas"
    if mounted:
        root.mkdir()
    store = FolderStore(root)
    source = source_of(make_file(b"x"))
    for call in (
        lambda: store.put("a", b""),
        lambda: store.get("a", 1),
        lambda: store.stat("a"),
        lambda: store.delete("a"),
        lambda: list(store.read("a", 0, 1)),
        lambda: store.upload("a", source, Counter()),
        lambda: list(store.list("")),
        lambda: store.folders(""),
        store.capabilities,
    ):
        with pytest.raises(UnavailableError, match=r"not there.*marker") as caught:
            call()
        assert caught.value.exit_code == 6
        assert "mount" in caught.value.fix
    assert root.exists() == mounted
    assert not mounted or list(root.iterdir()) == []


def test_the_marker_is_made_once_and_never_with_the_folder(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cold")
    with pytest.raises(ConfigError, match="no folder"):
        store.create_marker()
    assert not (tmp_path / "cold").exists()
    (tmp_path / "cold").mkdir()
    assert store.create_marker()
    content = (tmp_path / "cold" / MARKER).read_bytes()
    assert not store.create_marker()
    assert (tmp_path / "cold" / MARKER).read_bytes() == content


def test_a_mount_that_goes_away_during_an_upload_is_not_filled(
    store: FolderStore, root: Path, make_file: MakeFile
) -> None:
    class Unmounting(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            (root / MARKER).unlink(missing_ok=True)

    with pytest.raises(UnavailableError, match="not there"):
        store.upload(KEY, source_of(make_file(bytes(PIECE))), Unmounting())
    assert not (root / "run").exists()


def test_a_mount_that_goes_away_during_a_listing_is_not_a_shorter_listing(store: FolderStore, root: Path) -> None:
    for key in ("a/1", "b/1", "c/1"):
        store.put(key, b"")
    listing = store.list("")
    assert next(listing).key == "a/1"
    for path in (root / "b" / "1", root / "c" / "1", root / MARKER):
        path.unlink()
    with pytest.raises(UnavailableError):
        list(listing)


# Links and strangers


def test_symbolic_links_are_neither_listed_nor_followed(
    store: FolderStore, root: Path, tmp_path: Path, make_file: MakeFile
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    store.put("a/real", b"")
    (root / "link").symlink_to(outside)
    (root / "a" / "link").symlink_to(outside / "secret")
    source = source_of(make_file(b"x"))
    assert [entry.key for entry in store.list("")] == ["a/real"]
    assert list(store.folders("")) == ["a"]
    for key in ("link/secret", "a/link"):
        for call in (
            lambda: store.get(key, 100),  # noqa: B023
            lambda: store.stat(key),  # noqa: B023
            lambda: list(store.read(key, 0, 1)),  # noqa: B023
            lambda: store.put(key, b"changed"),  # noqa: B023
            lambda: store.upload(key, source, Counter()),  # noqa: B023
            lambda: store.delete(key),  # noqa: B023
        ):
            with pytest.raises(IntegrityError, match="symbolic link"):
                call()
    with pytest.raises(IntegrityError, match="symbolic link"):
        store.folders("link/")
    assert (outside / "secret").read_bytes() == b"secret"
    assert list(outside.iterdir()) == [outside / "secret"]


def test_a_temporary_folder_that_is_a_link_is_refused(store: FolderStore, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (root / ".ckpt-tier-tmp").symlink_to(tmp_path / "outside")
    with pytest.raises(IntegrityError, match="symbolic link"):
        store.put("a", b"x")
    assert list((tmp_path / "outside").iterdir()) == []


def test_strange_names_in_the_folder_are_left_out_of_listings(store: FolderStore, root: Path) -> None:
    store.put("good", b"")
    (root / "new\nline").touch()
    (root / "back\\slash").touch()
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe")).touch()
    os.mkfifo(root / "pipe")
    assert [entry.key for entry in store.list("")] == ["good"]
    with pytest.raises(MissingKeyError):
        store.get("pipe", 10)


@pytest.mark.parametrize("key", [MARKER, ".ckpt-tier-tmp/x"])
def test_the_stores_own_names_are_no_keys(store: FolderStore, root: Path, key: str) -> None:
    content = (root / MARKER).read_bytes()
    for call in (lambda: store.put(key, b""), lambda: store.get(key, 1000), lambda: store.delete(key)):
        with pytest.raises(UsageError):
            call()
    assert (root / MARKER).read_bytes() == content


def test_a_file_where_a_folder_is_needed_is_said(store: FolderStore, make_file: MakeFile) -> None:
    store.put("a", b"x")
    with pytest.raises(ConflictError):
        store.put("a/b", b"")
    with pytest.raises(ConflictError):
        store.upload("a/b", source_of(make_file(b"x")), Counter())
    assert store.get("a", 1) == b"x"


def test_a_name_that_is_too_long_for_the_disk_is_said(store: FolderStore) -> None:
    with pytest.raises(ConfigError, match="can't be a file there"):
        store.put("x" * 300, b"")


# Uploads

UPLOADER = """
import sys, time
from pathlib import Path
from ckpt_tier.store.folder import FolderStore
from tests.stores import source_of, random_bytes

class Slow:
    def moved(self, count): time.sleep(0.01)
    def resumed(self, count): pass

root, key, path = sys.argv[1:]
FolderStore(Path(root)).upload(key, source_of(Path(path)), Slow())
"""


@pytest.mark.slow
def test_after_kill_9_only_the_unfinished_pieces_are_written_again(
    store: FolderStore, root: Path, make_file: MakeFile
) -> None:
    data = random_bytes(12 * PIECE)
    path = make_file(data)
    with subprocess.Popen([sys.executable, "-c", UPLOADER, str(root), KEY, str(path)]) as process:
        deadline = time.monotonic() + 60
        while sum(part.stat().st_size for part in partials(root)) < 4 * PIECE and time.monotonic() < deadline:
            assert process.poll() is None, "the upload ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
    whole_pieces = partials(root)[0].stat().st_size // PIECE * PIECE
    assert list(store.list("")) == []
    counter = Counter()
    store.upload(KEY, source_of(path), counter)
    assert (counter.resumed_bytes, counter.moved_bytes) == (whole_pieces, len(data) - whole_pieces)
    assert (root / KEY).read_bytes() == data
    assert partials(root) == []


def test_what_an_earlier_attempt_left_is_read_before_it_is_believed(
    store: FolderStore, root: Path, make_file: MakeFile
) -> None:
    data = random_bytes(4 * PIECE)
    source = source_of(make_file(data))
    with pytest.raises(CancelledError):
        store.upload(KEY, source, Counter(stop_after=3 * PIECE))
    with partials(root)[0].open("r+b") as file:
        file.seek(PIECE + 100)
        file.write(b"damage")
    counter = Counter()
    store.upload(KEY, source, counter)
    assert counter.resumed_bytes == PIECE
    assert (root / KEY).read_bytes() == data


def test_a_second_upload_of_the_same_file_waits_its_turn(store: FolderStore, make_file: MakeFile) -> None:
    source = source_of(make_file(random_bytes(2 * PIECE)))
    under_way, go_on = threading.Event(), threading.Event()

    class Pausing(Counter):
        def moved(self, count: int) -> None:
            under_way.set()
            assert go_on.wait(30)

    first = threading.Thread(target=lambda: store.upload(KEY, source, Pausing()))
    first.start()
    assert under_way.wait(30)
    try:
        with pytest.raises(UnavailableError, match="another process"):
            FolderStore(Path(store.url)).upload(KEY, source, Counter())
    finally:
        go_on.set()
        first.join()
    store.upload(KEY, source, Counter())
    assert store.stat(KEY).size == source.size


def test_after_a_failed_fsync_nothing_of_the_file_is_believed(
    store: FolderStore, root: Path, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(make_file(random_bytes(2 * PIECE)))

    def failing(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(durable.os, "fsync", failing)
        with pytest.raises(UnavailableError, match="flushed"):
            store.upload(KEY, source, Counter())
    assert partials(root) == []
    assert list(store.list("")) == []
    counter = Counter()
    store.upload(KEY, source, counter)
    assert counter.resumed_bytes == 0


def test_bytes_that_the_disk_changed_are_found_before_they_are_published(
    store: FolderStore, root: Path, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(make_file(random_bytes(2 * PIECE)))

    def lying(descriptor: int) -> None:
        durable.flush(descriptor)
        os.pwrite(descriptor, b"rotten", PIECE + 5)

    with monkeypatch.context() as patched:
        patched.setattr(folder_upload, "flush", lying)
        with pytest.raises(IntegrityError, match="other bytes"):
            store.upload(KEY, source, Counter())
    assert list(store.list("")) == []
    assert partials(root) == []
    store.upload(KEY, source, Counter())


ROTTING_DISK = """
import fcntl, os, struct, subprocess, sys
from pathlib import Path
from ckpt_tier.errors import IntegrityError
from ckpt_tier.store import folder_upload
from ckpt_tier.system import durable
from tests.stores import PIECE, Counter, folder_store, source_of, random_bytes

FIBMAP = 1  # linux/fs.h: a file's block to the disk's
BLOCK = 4096
mounted, disk, path, stretch = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
store = folder_store(mounted / "cold")

def rot(descriptor):
    durable.flush(descriptor)
    if os.fstat(descriptor).st_size != min(max(2 * PIECE, stretch), path.stat().st_size):
        return
    block = fcntl.ioctl(descriptor, FIBMAP, struct.pack("I", PIECE // BLOCK + 3))
    raw = os.open(disk, os.O_RDWR)
    where = struct.unpack("I", block)[0] * BLOCK
    os.pwrite(raw, bytes(b ^ 1 for b in os.pread(raw, 1, where)), where)
    os.fsync(raw)
    os.close(raw)
    there = PIECE + 3 * BLOCK
    print("the cache is good:", os.pread(descriptor, 1, there) == path.read_bytes()[there : there + 1])

folder_upload.flush = rot
folder_upload._FLUSH_EVERY = stretch
try:
    store.upload("a/b", source_of(path), Counter())
except IntegrityError as error:
    print(error.what.partition(" ")[2], [entry.key for entry in store.list("")])
"""


@pytest.mark.slow
@pytest.mark.parametrize("stretch", [PIECE, 64 * 2**20], ids=["beside the writing", "behind it"])
def test_a_byte_that_the_disk_flipped_is_found_past_the_cache(
    tmp_path: Path, make_file: MakeFile, stretch: int
) -> None:
    """A real disk image: the byte is flipped below the file system, and what the cache holds stays good."""
    image, mounted = tmp_path / "image", tmp_path / "disk"
    mounted.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 64 * 2**20)
    path = make_file(random_bytes(3 * PIECE))
    script = tmp_path / "script.py"
    script.write_text(ROTTING_DISK)
    own_mount = f"mkfs.ext4 -q -b 4096 {image} && disk=$(losetup --find --show {image}) && mount $disk {mounted}"
    run_there = f"{own_mount} || exit 77; {sys.executable} {script} {mounted} $disk {path} {stretch}; code=$?"
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{run_there}; umount {mounted}; losetup --detach $disk; exit $code"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    if os.geteuid() != 0 or run.returncode == 77:
        pytest.skip("needs a disk image mounted, which takes root")
    assert run.stdout == "the cache is good: True\ncame back with other bytes than were written []\n", run.stderr


def test_reading_back_can_be_stopped_and_is_a_sign_of_life(store: FolderStore, make_file: MakeFile) -> None:
    size = 2 * PIECE

    class Stopping(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            if self.moved_bytes == size and count == 0:
                raise CancelledError("stopped by the test")

    with pytest.raises(CancelledError):
        store.upload(KEY, source_of(make_file(random_bytes(size))), Stopping())
    assert list(store.list("")) == []


def test_a_long_file_is_flushed_as_it_goes(
    store: FolderStore, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def seen(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        durable.flush(descriptor)

    monkeypatch.setattr(folder_upload, "_FLUSH_EVERY", 2 * PIECE)
    monkeypatch.setattr(folder_upload, "flush", seen)
    store.upload(KEY, source_of(make_file(random_bytes(5 * PIECE))), Counter())
    assert sizes == [2 * PIECE, 4 * PIECE, 5 * PIECE]


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ckpt-tier-read-back")]


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece is a stretch of its own."""
    monkeypatch.setattr(folder_upload, "_FLUSH_EVERY", PIECE)


def before_each_block_read_back(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    def doing(block: memoryview, crc: int) -> int:
        do()
        return crc64nvme(block, crc)

    monkeypatch.setattr(folder_read_back, "crc64nvme", doing)


@pytest.mark.usefixtures("short_stretches")
def test_a_stretch_is_read_back_while_the_next_is_written_and_the_last_without_a_thread(
    store: FolderStore, root: Path, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random_bytes(3 * PIECE)
    together = threading.Barrier(2, timeout=30)

    class Writing(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            if self.moved_bytes in (PIECE + 2**20, 2 * PIECE + 2**20) and count:
                together.wait()

    blocks = {True: 0, False: 0}

    def read() -> None:
        here = threading.current_thread() is threading.main_thread()
        blocks[here] += 1
        if not here and blocks[here] % 5 == 1:
            together.wait()

    before_each_block_read_back(monkeypatch, read)
    store.upload(KEY, source_of(make_file(data)), Writing())
    assert blocks == {False: 10, True: 5}
    assert readers() == []
    assert (root / KEY).read_bytes() == data


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.parametrize(("rotten", "written"), [(0, 2), (1, 3), (2, 4), (3, 4)])
def test_the_first_stretch_that_comes_back_wrong_ends_the_upload(
    store: FolderStore, root: Path, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch, rotten: int, written: int
) -> None:
    source = source_of(make_file(random_bytes(4 * PIECE)))

    def lying(descriptor: int) -> None:
        durable.flush(descriptor)
        if os.fstat(descriptor).st_size == (rotten + 1) * PIECE:
            os.pwrite(descriptor, b"rotten", rotten * PIECE + 5)

    monkeypatch.setattr(folder_upload, "flush", lying)
    counter = Counter()
    with pytest.raises(IntegrityError, match="came back with other bytes"):
        store.upload(KEY, source, counter)
    assert counter.moved_bytes == written * PIECE
    assert list(store.list("")) == []
    assert partials(root) == []
    assert readers() == []


@pytest.mark.usefixtures("short_stretches")
def test_a_flush_that_fails_while_the_stretch_before_is_read_back_ends_the_reading(
    store: FolderStore, root: Path, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, failing = threading.Event(), threading.Event()
    blocks = 0

    def read() -> None:
        nonlocal blocks
        blocks += 1
        reading.set()
        assert failing.wait(30)

    def flush(descriptor: int) -> None:
        if os.fstat(descriptor).st_size == 2 * PIECE:
            assert reading.wait(30)
            threading.Timer(0.2, failing.set).start()  # the error comes first
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        durable.flush(descriptor)

    before_each_block_read_back(monkeypatch, read)
    monkeypatch.setattr(folder_upload, "flush", flush)
    with pytest.raises(UnavailableError, match="could not be flushed"):
        store.upload(KEY, source_of(make_file(random_bytes(3 * PIECE))), Counter())
    assert blocks == 1
    assert readers() == []
    assert partials(root) == []
    assert list(store.list("")) == []


@pytest.mark.usefixtures("short_stretches")
def test_a_disk_that_cannot_read_a_stretch_back_is_said_as_what_it_is(
    store: FolderStore, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before_each_block_read_back(monkeypatch, unreadable)
    with pytest.raises(UnavailableError, match="can't be reached"):
        store.upload(KEY, source_of(make_file(random_bytes(3 * PIECE))), Counter())
    assert list(store.list("")) == []
    assert readers() == []


@pytest.mark.usefixtures("short_stretches")
def test_waiting_for_what_is_read_back_can_be_stopped_and_gives_signs_of_life_to_the_calling_thread(
    store: FolderStore, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(make_file(random_bytes(2 * PIECE)))
    written = threading.Event()
    callers: set[threading.Thread] = set()
    readers_seen: set[threading.Thread] = set()

    class Stopping(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            callers.add(threading.current_thread())
            if count == 0:
                raise CancelledError("stopped by the test")

    def flush(descriptor: int) -> None:
        durable.flush(descriptor)
        if os.fstat(descriptor).st_size == source.size:
            written.set()

    def slow() -> None:
        readers_seen.add(threading.current_thread())
        assert written.wait(30)
        time.sleep(0.2)

    with monkeypatch.context() as patched:
        patched.setattr(folder_upload, "flush", flush)
        before_each_block_read_back(patched, slow)
        with pytest.raises(CancelledError):
            store.upload(KEY, source, Stopping())
    assert callers == {threading.current_thread()}
    assert callers.isdisjoint(readers_seen)
    assert readers() == []
    assert list(store.list("")) == []
    counter = Counter()
    store.upload(KEY, source, counter)
    assert counter.resumed_bytes == source.size


def test_what_an_earlier_attempt_left_is_flushed_and_read_past_the_cache_and_then_not_again(
    store: FolderStore, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(make_file(random_bytes(4 * PIECE)))
    with pytest.raises(CancelledError):
        store.upload(KEY, source, Counter(stop_after=3 * PIECE))
    done: list[str] = []

    def flush(descriptor: int) -> None:
        done.append("flush")
        durable.flush(descriptor)

    def forget(descriptor: int, offset: int, length: int) -> None:
        done.append(f"forget {offset // PIECE}+{length // PIECE}")
        durable.forget_cached(descriptor, offset, length)

    def read() -> None:
        if done[-1] != "read":
            done.append("read")

    monkeypatch.setattr(folder_upload, "flush", flush)
    monkeypatch.setattr(folder_read_back, "forget_cached", forget)
    before_each_block_read_back(monkeypatch, read)
    counter = Counter()
    store.upload(KEY, source, counter)
    assert done == ["flush", "forget 0+4", "read", "flush", "flush", "forget 3+1", "read"]
    assert counter.resumed_bytes == 3 * PIECE


def test_what_appears_under_the_key_meanwhile_is_not_replaced(
    store: FolderStore, root: Path, make_file: MakeFile
) -> None:
    class Overtaking(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            store.put(KEY, b"somebody else's")

    with pytest.raises(KeyExistsError):
        store.upload(KEY, source_of(make_file(random_bytes(PIECE))), Overtaking())
    assert (root / KEY).read_bytes() == b"somebody else's"
    assert partials(root) == []


def test_without_locks_each_upload_has_a_file_of_its_own(
    store: FolderStore, root: Path, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload that hung while it was killed may still cut its file when the server is back: not one of ours."""

    def lockless(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(folder_upload.fcntl, "flock", lockless)
    data = random_bytes(2 * PIECE)
    source = source_of(make_file(data))
    with pytest.raises(CancelledError):
        store.upload(KEY, source, Counter(stop_after=PIECE))
    [shared] = partials(root)
    assert shared.stat().st_size == 0

    class Late(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            os.truncate(shared, 0)
            assert len(partials(root)) == 2

    store.upload(KEY, source, Late())
    assert (root / KEY).read_bytes() == data
    assert partials(root) == [shared]


def test_damage_under_a_key_is_not_taken_for_the_same_object(
    store: FolderStore, root: Path, make_file: MakeFile
) -> None:
    source = source_of(make_file(random_bytes(2 * PIECE)))
    store.upload(KEY, source, Counter())
    with (root / KEY).open("r+b") as file:
        file.seek(PIECE + 1)
        file.write(b"rot")
    with pytest.raises(KeyExistsError):
        store.upload(KEY, source, Counter())


FULL_DISK = """
import os, sys
from pathlib import Path
from ckpt_tier.errors import NoSpaceError
from tests.stores import PIECE, Counter, folder_store, source_of, random_bytes

disk, source = Path(sys.argv[1]), source_of(Path(sys.argv[2]))
store = folder_store(disk / "cold")
for call in (lambda: store.upload("a/b", source, Counter()), lambda: store.put("note", bytes(16 * 2**20))):
    try:
        call()
    except NoSpaceError as error:
        print(error.exit_code, [entry.key for entry in store.list("")])
"""


@pytest.mark.slow
def test_a_full_disk_is_said_and_nothing_half_written_is_visible(tmp_path: Path, make_file: MakeFile) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    own_mounts = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=8m none {disk}"
    if subprocess.run([*own_mounts, mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs a mount of its own")
    script = tmp_path / "script.py"
    script.write_text(FULL_DISK)
    path = make_file(random_bytes(3 * PIECE))
    command = f"{mount} && exec {sys.executable} {script} {disk} {path}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([*own_mounts, command], capture_output=True, text=True, check=False, env=environment)
    assert run.stdout == f"{NoSpaceError.exit_code} []\n" * 2, run.stderr


def test_folders_that_are_emptied_meanwhile_do_not_fail_a_write(store: FolderStore, root: Path) -> None:

    def come_and_go(name: str) -> None:
        for number in range(25):
            key = f"a/b/c/{name}-{number}"
            store.put(key, b"x", if_absent=True)
            assert store.get(key, 1) == b"x"
            store.delete(key)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, "wxyz"))
    assert not (root / "a").exists()
    assert root.is_dir()


# Leftovers


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))


def cut_off(store: FolderStore, make_file: MakeFile, key: str = KEY) -> Path:
    """The unfinished file that a killed upload left, two days ago."""
    with pytest.raises(CancelledError):
        store.upload(key, source_of(make_file(random_bytes(2 * PIECE))), Counter(stop_after=PIECE))
    [partial] = [path for path in partials(Path(store.url)) if path.suffix == ".partial"]
    age(partial, 2)
    return partial


def test_unfinished_files_go_once_nothing_was_written_to_them_for_a_day(
    store: FolderStore, root: Path, make_file: MakeFile
) -> None:
    partial = cut_off(store, make_file)
    size = partial.stat().st_size
    put = partial.with_name("0123456789abcdef.put")
    young = partial.with_name("fedcba9876543210.put")
    others = [partial.with_name(name) for name in ("notes.txt", "0123.put", f"{'g' * 64}.partial")]
    for path in (put, young, *others):
        path.write_bytes(b"12345")
    for path in (put, *others):
        age(path, 2)
    gone = store.clean_up(["run/main/data/"], 86_400.0, [])
    assert (gone.count, gone.size) == (2, size + 5)
    assert sorted(partials(root)) == sorted([young, *others])


def test_an_unfinished_file_that_an_upload_has_locked_stays_however_old(
    store: FolderStore, make_file: MakeFile
) -> None:
    partial = cut_off(store, make_file)
    with partial.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert store.clean_up([], 86_400.0, []).count == 0
    assert store.clean_up([], 86_400.0, []).count == 1


def test_nothing_is_cleaned_up_without_the_marker_or_behind_a_link(
    store: FolderStore, root: Path, make_file: MakeFile, tmp_path: Path
) -> None:
    partial = cut_off(store, make_file)
    (root / MARKER).rename(tmp_path / "marker")
    with pytest.raises(UnavailableError, match="is not there"):
        store.clean_up([], 86_400.0, [])
    (tmp_path / "marker").rename(root / MARKER)
    elsewhere = tmp_path / "elsewhere"
    partial.parent.rename(elsewhere)
    partial.parent.symlink_to(elsewhere)
    with pytest.raises(IntegrityError, match="symbolic link"):
        store.clean_up([], 86_400.0, [])
    partial.parent.unlink()
    elsewhere.rename(partial.parent)
    link = partial.with_name(f"{'0' * 64}.partial")
    link.symlink_to(partial)
    assert store.clean_up([], 86_400.0, []).count == 1
    assert link.is_symlink()


def test_a_mount_that_goes_away_while_leftovers_are_looked_at_is_told_before_anything_goes(
    store: FolderStore, root: Path, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = cut_off(store, make_file)

    def unmount(*_: object) -> bool:
        (root / MARKER).unlink()
        return True

    monkeypatch.setattr(folder_leftovers, "is_still", unmount)
    with pytest.raises(UnavailableError, match="is not there"):
        store.clean_up([], 86_400.0, [])
    assert partial.exists()


def test_a_store_that_never_uploaded_has_nothing_to_clean_up(store: FolderStore, root: Path) -> None:
    assert store.clean_up([], 0.0, []).count == 0
    assert not (root / ".ckpt-tier-tmp").exists()
