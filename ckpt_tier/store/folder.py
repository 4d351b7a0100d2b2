"""Objects as files below a folder: a NAS mount, or any disk."""

import contextlib
import os
import stat
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import msgspec

from ckpt_tier.errors import ConfigError, IntegrityError, KeyExistsError, MissingKeyError
from ckpt_tier.store import folder_upload
from ckpt_tier.store.folder_leftovers import remove_leftovers
from ckpt_tier.store.folder_paths import HIDDEN, MARKER, TEMPORARY, Root, Unmarked
from ckpt_tier.store.folder_walk import walk
from ckpt_tier.store.protocol import READ_BLOCK, Blocks, Capabilities, Leftovers, Source, Stat, Watch
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.durable import flush, write_atomic

_PROBE = ".ckpt-tier-probe"


class FolderStore:
    """A `Store` over a folder, its keys the paths below it. `ckpt_tier.store.protocol` is the contract.

    A marker file says that this is the store, and not the empty folder that a missing mount leaves behind: every
    operation looks for it, and `create_marker` writes it once. Symbolic links below the root are never followed.
    """

    listing_page = None

    def __init__(self, root: Path) -> None:
        self._root = Root(root)
        self._lock = threading.Lock()
        self._capabilities: Capabilities | None = None

    @property
    def url(self) -> str:
        return str(self._root.path)

    def create_marker(self) -> bool:
        """Makes the folder, which must exist, a store; False if it is one already. For `init` only.

        Raises ConfigError when there is no such folder.
        """
        root = self._root.path
        if not root.is_dir():
            raise ConfigError(
                f"there is no folder {root}", "it is never made in passing: a mount may be missing", f"mkdir -p {root}"
            )
        if (root / MARKER).exists():
            return False
        try:
            write_atomic(root / MARKER, msgspec.json.encode({"format": 1, "id": random_id()}) + b"\n")
        except OSError as error:
            raise ConfigError(f"{root} can't be written to", error.strerror or "") from error
        return True

    def remove_marker(self) -> None:
        """Takes back what `create_marker` did; the folder is no store any more. For an `init` that failed."""
        (self._root.path / MARKER).unlink(missing_ok=True)

    def capabilities(self) -> Capabilities:
        with self._lock:
            if self._capabilities is None:
                self._capabilities = Capabilities(conditional_put=self._refuses_second_put(), verifies_uploads=False)
            return self._capabilities

    def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
        with self._root.errors(prefix):
            yield from walk(self._root.path, prefix, after)
            # A mount that went away meanwhile looks like a folder that ended.
            self._root.check()

    def folders(self, prefix: str) -> Sequence[str]:
        with self._root.errors(prefix):
            self._root.refuse_links(self._root.path / prefix)
            try:
                with os.scandir(self._root.path / prefix) as entries:
                    names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            except (FileNotFoundError, NotADirectoryError):
                names = []
        return sorted((name for name in names if prefix or not name.startswith(HIDDEN)), key=os.fsencode)

    def stat(self, key: str) -> Stat:
        with self._root.errors(key), self._opened(key) as descriptor:
            found = os.fstat(descriptor)
            return Stat(key, found.st_size, None, found.st_mtime)

    def get(self, key: str, limit: int) -> bytes:
        with self._root.errors(key), self._opened(key) as descriptor:
            size = os.fstat(descriptor).st_size
            if size > limit:
                raise IntegrityError(f"{self.url}/{key} is too large", f"{size} bytes, at most {limit} are taken")
            data = bytearray(size)
            self._read(key, descriptor, 0, memoryview(data))
            return bytes(data)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        with self._root.errors(key):
            target = self._root.place(key)
            temporary = folder_upload.temporary_folder(self._root) / f"{random_id()}.put"
            try:
                _write(temporary, data)
                self._root.check()
                if not folder_upload.publish_below(self._root, temporary, target, replace=not if_absent):
                    raise KeyExistsError(f"{target} is already there")
            finally:
                temporary.unlink(missing_ok=True)

    def upload(self, key: str, source: Source, watch: Watch) -> None:
        with self._root.errors(key):
            folder_upload.upload(self._root, key, source, watch)

    def refresh(self, key: str, source: Source, watch: Watch) -> None:
        with self._root.errors(key):
            folder_upload.refresh(self._root, key, source, watch)

    def read(self, key: str, offset: int, length: int) -> Blocks:
        with contextlib.ExitStack() as stack:
            with self._root.errors(key):
                descriptor = stack.enter_context(self._opened(key))
            buffer = memoryview(bytearray(min(READ_BLOCK, length)))
            for position in range(offset, offset + length, READ_BLOCK):
                block = buffer[: offset + length - position]
                with self._root.errors(key):
                    self._read(key, descriptor, position, block)
                yield block

    def delete(self, key: str) -> None:
        with self._root.errors(key):
            target = self._root.place(key)
            try:
                target.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
            folder = target.parent
            with contextlib.suppress(OSError):  # not empty, or somebody else removed it
                while folder != self._root.path:
                    folder.rmdir()
                    folder = folder.parent

    def clean_up(self, prefixes: Sequence[str], older_than: float, keep: Collection[str]) -> Leftovers:
        with self._root.errors(TEMPORARY):
            return remove_leftovers(self._root, older_than, keep)

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        path = self._root.place(key)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise MissingKeyError(f"there is no object {path}", "it is not a file")
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self, key: str, descriptor: int, offset: int, buffer: memoryview) -> None:
        filled = 0
        while filled < len(buffer):
            count = os.preadv(descriptor, [buffer[filled:]], offset + filled)
            if count == 0:
                raise IntegrityError(
                    f"{self.url}/{key} is shorter than it should be",
                    f"it ends at byte {offset + filled}; bytes up to {offset + len(buffer)} were asked for",
                )
            filled += count

    def _refuses_second_put(self) -> bool:
        key = f"{_PROBE}/{random_id()}"
        try:
            self.put(key, b"first", if_absent=True)
            self.put(key, b"second", if_absent=True)
        except KeyExistsError:
            return True
        finally:
            self.delete(key)
        return False


class PlainFolder(FolderStore):
    """Any folder of this machine, to be read like a store: it has no marker, and none is asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._root = Unmarked(root)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        flush(file.fileno())
