"""Locks between processes, and finding out who has a file open.

Locks are flock(2): they go with the process, so a kill -9 leaves none behind. Over NFS, Linux makes byte-range
locks of them, which hold between machines.
"""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ckpt_tier.errors import ConflictError

_LOOKS = 5
_BETWEEN_LOOKS = 0.02
"""Seconds. `is_held` takes the lock for a moment to find out: that must not look like somebody at work."""


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock: written into the lock file by the holder, for messages only."""

    pid: int
    host: str
    what: str


class FileLock:
    """An exclusive lock on a file, held until `release` or the end of the process. Not thread-safe."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._what = what
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Takes the lock if it is free."""
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except (FileNotFoundError, FileExistsError):
            if folder.is_file():
                raise
            return False  # its last holder has just removed the folder
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise
        if not _is_still_named(descriptor, self.path):
            os.close(descriptor)
            return False
        holder = Holder(pid=os.getpid(), host=socket.gethostname(), what=self._what)
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, msgspec.json.encode(holder), 0)
        self._descriptor = descriptor
        return True

    def acquire(self, fix: str) -> Self:
        """Takes the lock; raises ConflictError naming the holder, with `fix` as the advice."""
        if not any(self._try_soon(attempt) for attempt in range(_LOOKS)):
            holder = self.holder()
            who = f"{holder.what}, process {holder.pid} on {holder.host}" if holder else "another process"
            raise ConflictError(f"{self.path.parent.parent} is in use", f"the lock is held by {who}", fix)
        return self

    def _try_soon(self, attempt: int) -> bool:
        if attempt:
            time.sleep(_BETWEEN_LOOKS)
        return self.try_acquire()

    def holder(self) -> Holder | None:
        """Who wrote the lock file last; says nothing about whether the lock is still held."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Holder)
        except (OSError, msgspec.DecodeError):
            return None

    def is_held(self) -> bool:
        """Whether any process holds the lock now. Changes nothing."""
        return _is_refused(self.path, os.O_RDONLY, fcntl.LOCK_SH)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Presence:
    """A shared lock: says that this process is there, for as long as it lives or until `release`."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def anyone_present(path: Path) -> bool:
    """Whether any process holds a `Presence` on `path`."""
    return _is_refused(path, os.O_RDWR, fcntl.LOCK_EX)


def _is_refused(path: Path, mode: int, lock: int) -> bool:
    """Whether somebody's lock on the file stands against this one, which is let go at once. Over NFS a shared lock
    needs a file that is open for reading, an exclusive one a file that is open for writing."""
    try:
        descriptor = os.open(path, mode | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_still_named(descriptor: int, path: Path) -> bool:
    """False when the lock file was removed by its last holder between our open and our lock."""
    try:
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def is_open_for_writing(path: Path) -> bool:
    """Whether some process on this machine has the file open for writing; False where that can't be told.

    A read lease is granted only when nobody has: https://man7.org/linux/man-pages/man2/fcntl.2.html
    """
    return not _lease_granted(path, fcntl.F_RDLCK)


def is_open(path: Path) -> bool:
    """Whether some process on this machine has the file open at all; False where that can't be told.

    A write lease is granted only when nobody has.
    """
    return not _lease_granted(path, fcntl.F_WRLCK)


def _lease_granted(path: Path, kind: int) -> bool:
    with _opened(path) as descriptor:
        try:
            # Whoever opens the file meanwhile breaks the lease by a signal, by default SIGIO, which would end this
            # process; SIGURG is ignored by default.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, kind)
        except OSError as error:
            return error.errno not in (errno.EAGAIN, errno.EBUSY)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return True


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
