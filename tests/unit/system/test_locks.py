"""Locks and leases against real processes."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt_tier.errors import ConflictError
from ckpt_tier.system.locks import FileLock, Presence, anyone_present, is_open, is_open_for_writing

LOCKING = (
    "import sys; from pathlib import Path; from ckpt_tier.system.locks import FileLock;"
    "lock = FileLock(Path(sys.argv[1]), 'the other'); print(lock.try_acquire(), flush=True); sys.stdin.read()"
)
PRESENT = (
    "import sys; from pathlib import Path; from ckpt_tier.system.locks import Presence;"
    "presence = Presence(Path(sys.argv[1])); print(True, flush=True); sys.stdin.read()"
)
OPENING = "import sys; file = open(sys.argv[1], sys.argv[2]); print(True, flush=True); sys.stdin.read()"
MAPPING = (
    "import sys, mmap, os; file = open(sys.argv[1], 'r+b'); map = mmap.mmap(file.fileno(), 0); file.close();"
    "print(True, flush=True); sys.stdin.read()"
)


@contextlib.contextmanager
def another_process(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "True"
        yield process
        process.kill()


def test_a_lock_that_another_process_holds_names_it_and_a_kill_frees_it(tmp_path: Path) -> None:
    path = tmp_path / ".ckpt-tier" / "worker.lock"
    lock = FileLock(path, "mine")
    assert not lock.is_held()
    with another_process(LOCKING, str(path)) as process:
        assert lock.is_held()
        assert not lock.try_acquire()
        with pytest.raises(ConflictError, match=f"the other, process {process.pid}") as caught:
            lock.acquire("wait for it")
        assert caught.value.fix == "wait for it"
        assert str(tmp_path) in caught.value.what
    assert not lock.is_held()
    with lock.acquire(""):
        holder = lock.holder()
        assert holder is not None
        assert (holder.pid, holder.what) == (os.getpid(), "mine")
        assert lock.is_held()
    lock.release()
    assert not lock.is_held()


def test_a_lock_without_a_readable_holder_is_still_held(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    with another_process(LOCKING, str(path)):
        path.write_bytes(b"")
        with pytest.raises(ConflictError, match="another process"):
            FileLock(path, "mine").acquire("")


def test_asking_whether_a_lock_is_held_never_looks_like_holding_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    FileLock(path, "first").acquire("").release()
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.001):
            FileLock(path, "asker").is_held()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            FileLock(path, "mine").acquire("").release()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_lock_file_that_its_last_holder_removes_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = FileLock(path, "one"), FileLock(path, "two")
    assert first.try_acquire()
    path.unlink()
    assert second.try_acquire()
    assert not FileLock(path, "three").try_acquire()
    first.release()
    second.release()


@pytest.mark.slow
def test_a_folder_that_its_last_holder_removes_meanwhile_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            lock = FileLock(path, "mine")
            while not lock.try_acquire():
                pass
            path.unlink()
            lock.release()
    finally:
        stop.set()
        thread.join()


def test_a_file_in_the_place_of_the_folder_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("")
    with pytest.raises(FileExistsError):
        FileLock(tmp_path / "folder" / "lock", "mine").try_acquire()


def test_presence_is_shared_and_ends_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "training.lock"
    assert not anyone_present(path)
    mine = Presence(path)
    with another_process(PRESENT, str(path)):
        mine.release()
        mine.release()
        assert anyone_present(path)
    assert not anyone_present(path)


@pytest.mark.parametrize(
    ("mode", "is_written", "is_used"), [("rb", False, True), ("r+b", True, True), ("ab", True, True)]
)
def test_who_has_a_file_open_is_found_out(tmp_path: Path, mode: str, is_written: bool, is_used: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert (is_open_for_writing(path), is_open(path)) == (False, False)
    with another_process(OPENING, str(path), mode):
        assert (is_open_for_writing(path), is_open(path)) == (is_written, is_used)
    assert (is_open_for_writing(path), is_open(path)) == (False, False)


def test_a_file_mapped_for_writing_counts_as_open_after_its_descriptor_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with another_process(MAPPING, str(path)):
        assert is_open_for_writing(path)
        assert is_open(path)


def test_looking_leaves_no_lease_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    for _ in range(20):
        assert not is_open(path)
        with path.open("r+b") as file:
            file.write(b"x")
            assert is_open_for_writing(path)


def test_a_pipe_does_not_hold_the_look_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not is_open(tmp_path / "pipe")


def test_a_file_that_is_gone_cannot_be_asked_about(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        is_open(tmp_path / "gone")
