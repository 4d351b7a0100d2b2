"""Bytes into a filesystem of fsspec, so that an object is there whole and proven, or not at all.

Two ways; `Writer.creates_whole` says which.

**By a hidden name** (SFTP, FTP, SMB, HDFS and all else that renames): there a file can be seen while it grows. So

1. leftovers of this key in ``.ckpt-tier/`` are removed,
2. the file is written as ``.ckpt-tier/<key's hash>.<machine's hash>.<random>``,
3. read back and compared,
4. moved to its name, where nothing is.

A crash after 1 leaves nothing; in or after 2 or 3, a hidden file, which nobody lists, and which the next upload of that
key from this machine removes (any upload, once it is a day old). A move that happened although its answer was lost
leaves the object; the next upload reads it and finds that all is done. A hidden file holds a copy of what the caller
still has, so removing one never loses anything; if another process was at it just then, its move fails, and it tries
again. Hidden names are never shared, so nobody writes to a file that somebody else is about to move.

**By one conditional request** (GCS, Azure): the object appears when its upload is complete, and only if there is none.
Then it is read back. An object that is not what was sent, and that this very request created, is removed. A crash
before the end leaves nothing visible (the store forgets unfinished uploads by itself); between the end and the
reading, an object that the next upload reads.
"""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

from ckpt_tier.errors import (
    CkptTierError,
    IntegrityError,
    KeyExistsError,
    MissingKeyError,
    UnavailableError,
)
from ckpt_tier.store.fsspec_errors import no_root, said
from ckpt_tier.store.fsspec_place import HIDDEN, Filesystem, Place
from ckpt_tier.store.fsspec_read import Cut, children, is_there, proven, read_range, size_of
from ckpt_tier.store.fsspec_walk import described
from ckpt_tier.store.protocol import Leftovers, Source, Stat, Watch
from ckpt_tier.store.source_body import changed, checked_pieces, opened, read_at
from ckpt_tier.system.clock import Clock, random_id
from ckpt_tier.system.digests import crc64nvme

Write = Callable[[memoryview], object]
"""Takes a block; it is valid until the next."""
Fill = Callable[[Any], object]
"""Writes all of a file into one that is open."""

_BLOCK = 2**20
_TRIES = 20
"""How often a folder may be removed under us by a `delete` of its last other file."""
_STALE = 86_400.0
"""Seconds after which a hidden file belongs to nobody any more."""


class Writer:
    """Writes into one place. Safe to use from several threads, each with a filesystem of its own."""

    def __init__(self, place: Place, clock: Clock) -> None:
        self._place = place
        self._clock = clock
        # Held while a name is given or taken, never while data moves: within this process, looking whether a name is
        # free and taking it are one step, and nobody removes a folder that another has just made.
        self._naming = threading.Lock()
        self._lock = threading.Lock()
        self._live: set[str] = set()  # names of hidden files that this process is at
        self._creates_whole: bool | None = None

    def creates_whole(self, fs: Filesystem) -> bool:
        """Whether objects are created by one conditional request: documented, and then tried once."""
        with self._lock:
            if self._creates_whole is None:
                self._creates_whole = self._place.is_object_store and self._refuses_second_creation(fs)
            return self._creates_whole

    def conditional(self, fs: Filesystem) -> bool:
        """Whether the store itself keeps a second writer from replacing what the first wrote; tried, not believed."""
        return self.creates_whole(fs) or self._refuses_second_move(fs)

    # Small objects

    def put(self, fs: Filesystem, key: str, data: bytes, *, if_absent: bool) -> None:
        """See `ckpt_tier.store.protocol.Store.put`. Read back before it is visible, or where it can't be, at once."""
        path = self._place.path(key)
        if self.creates_whole(fs):
            try:
                fs.pipe_file(path, data, mode="create" if if_absent else "overwrite")
            except FileExistsError as error:
                raise self._there(key) from error
            self._prove_small(fs, path, data)
            return
        if if_absent and is_there(fs, path):
            raise self._there(key)
        with self._hidden(fs, key) as hidden:
            self._write(fs, hidden, len(data), _all_of(data))
            self._prove_small(fs, hidden, data)
            if not self._publish(fs, hidden, path, len(data), replace=not if_absent):
                raise self._there(key)

    def _prove_small(self, fs: Filesystem, path: str, data: bytes) -> None:
        if size_of(fs, path) != len(data) or read_range(fs, path, 0, len(data)) != data:
            raise _other_bytes(path)

    # Files

    def upload(self, fs: Filesystem, key: str, source: Source, watch: Watch) -> None:
        """See `ckpt_tier.store.protocol.Store.upload`. Begins anew after a failure."""
        cut = checked_pieces(source)
        with opened(source) as descriptor:
            if self._holds(fs, key, source, cut):
                watch.resumed(source.size)
            elif self.creates_whole(fs):
                self._create(fs, key, source, cut, descriptor, watch)
            else:
                self._send(fs, key, source, cut, descriptor, watch)

    def refresh(self, fs: Filesystem, key: str, source: Source, watch: Watch) -> None:
        """See `ckpt_tier.store.protocol.Store.refresh`."""
        cut = checked_pieces(source)
        path = self._place.path(key)
        with opened(source) as descriptor:
            if not self._holds(fs, key, source, cut):
                raise MissingKeyError(f"there is no object {path}")
            if not self.creates_whole(fs):
                self._send(fs, key, source, cut, descriptor, watch, replace=True)
                return
        # The bytes that were just proven, by way of another name: the source may have changed.
        with self._hidden(fs, key) as hidden:
            fs.cp_file(path, hidden)
            fs.cp_file(hidden, path)
            fs.rm_file(hidden)
        if not proven(fs, path, source.size, cut):
            raise _other_bytes(path)
        watch.resumed(source.size)

    def _send(
        self,
        fs: Filesystem,
        key: str,
        source: Source,
        cut: Cut,
        descriptor: int,
        watch: Watch,
        *,
        replace: bool = False,
    ) -> None:
        """By a hidden name."""
        self._remove_leftovers(fs, key)
        with self._hidden(fs, key) as hidden:
            self._write(fs, hidden, source.size, lambda file: _copy(source, descriptor, cut, file.write, watch))
            if not proven(fs, hidden, source.size, cut):
                raise _other_bytes(hidden)
            if not self._publish(fs, hidden, self._place.path(key), source.size, replace=replace):
                fs.rm_file(hidden)
                self._require_same(fs, key, source, cut)

    def _create(self, fs: Filesystem, key: str, source: Source, cut: Cut, descriptor: int, watch: Watch) -> None:
        path = self._place.path(key)
        told = _Told(watch)
        try:
            fs.put_file(str(source.path), path, mode="create", callback=told.callback())
        except FileExistsError:
            self._require_same(fs, key, source, cut)
            return
        except Exception:
            if told.stopped is not None:  # the library's tidying up may have failed over it
                raise told.stopped from None
            raise
        if not proven(fs, path, source.size, cut):
            fs.rm_file(path)
            _copy(source, descriptor, cut, lambda _block: None)  # raises if it is the source that changed
            raise _other_bytes(path)
        told.up_to(source.size)

    def _holds(self, fs: Filesystem, key: str, source: Source, cut: Cut) -> bool:
        """Whether the same object is there already, by reading it; raises KeyExistsError when it is another one."""
        path = self._place.path(key)
        if not is_there(fs, path):
            return False
        if proven(fs, path, source.size, cut):
            return True
        raise KeyExistsError(f"{path} is already there with other bytes", fix="nothing was overwritten")

    def _require_same(self, fs: Filesystem, key: str, source: Source, cut: Cut) -> None:
        if not self._holds(fs, key, source, cut):
            raise UnavailableError(
                f"{self._place.url}/{key} came and went", "somebody else is at it", "it is tried again"
            )

    # Hidden files

    @contextlib.contextmanager
    def _hidden(self, fs: Filesystem, key: str) -> Iterator[str]:
        """The path of a new hidden file. What is still there after an error of ours is removed."""
        name = f"{_hidden_name(key)}.{random_id()}"
        path = self._place.hidden(name)
        self._live.add(name)
        try:
            if self._place.has_folders:
                self._make_folder(fs, f"{self._place.root}/{HIDDEN}")
            yield path
        except CkptTierError:
            with contextlib.suppress(Exception):  # the error on its way says more; the next upload removes it
                fs.rm_file(path)
            raise
        finally:
            self._live.remove(name)

    def _write(self, fs: Filesystem, path: str, size: int, fill: Fill) -> None:
        with fs.open(path, "wb") as file:
            fill(file)
            sync = getattr(fs, "sync_file", None)
            if sync is not None:
                sync(file)
        if (found := size_of(fs, path)) < size:
            raise UnavailableError(
                f"{path} was cut short", f"{found} of {size} bytes arrived", "is the server's disk full?"
            )

    def _publish(self, fs: Filesystem, hidden: str, path: str, size: int, *, replace: bool) -> bool:
        """Gives a hidden file its name; without `replace`, False if something is there."""
        rename_new = getattr(fs, "rename_new", None)
        with self._naming:
            for attempt in range(_TRIES):
                if self._place.has_folders:
                    self._make_folder(fs, path.rpartition("/")[0])
                if not replace and is_there(fs, path):
                    return False
                try:
                    if replace or rename_new is None:
                        self._place.move(fs, hidden, path)
                    else:
                        rename_new(hidden, path)
                except FileExistsError:
                    return False
                except FileNotFoundError as error:
                    # Another machine's `delete` may have removed the folder, or its upload our hidden file.
                    if attempt == _TRIES - 1 or not is_there(fs, hidden):
                        raise UnavailableError(f"{path} got no name", said(error), "it is written anew") from error
                else:
                    break
            if size_of(fs, path) != size:
                raise UnavailableError(f"{path} got no name", "the server said that it did", "it is tried again")
        return True

    def _make_folder(self, fs: Filesystem, folder: str) -> None:
        """Makes a folder and those above it, down from the root, which is never made in passing."""
        missing = []
        while folder != self._place.root and not is_there(fs, folder):
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        if folder == self._place.root and missing and not is_there(fs, folder):
            raise no_root(self._place.url)
        for each in reversed(missing):
            try:
                fs.mkdir(each, create_parents=False)
            except Exception:
                if not is_there(fs, each):  # else somebody else made it
                    raise

    def _remove_leftovers(self, fs: Filesystem, key: str) -> None:
        """Removes what a killed upload of this key left, and every hidden file that is a day old."""
        for hidden in list(self._unfinished(fs)):
            if hidden.key.startswith(f"{_hidden_name(key)}.") or hidden.modified < self._clock.now() - _STALE:
                self._remove(fs, hidden.key)

    def clean_up(self, fs: Filesystem, older_than: float, keep: Collection[str]) -> Leftovers:
        """See `ckpt_tier.store.protocol.Store.clean_up`. The age is by this machine's clock."""
        kept = tuple(f"{_hidden_name(key)}." for key in keep)
        before = self._clock.now() - older_than
        gone = [each for each in self._unfinished(fs) if each.modified < before and not each.key.startswith(kept)]
        for each in gone:
            self._remove(fs, each.key)
        return Leftovers(len(gone), sum(each.size for each in gone))

    def _unfinished(self, fs: Filesystem) -> Iterator[Stat]:
        """The hidden files that nobody in this process is at, by their names."""
        for entry in children(fs, f"{self._place.root}/{HIDDEN}"):
            name = str(entry["name"]).rpartition("/")[2]
            if name not in self._live and entry["type"] == "file":
                yield described(name, entry, self._clock.now())

    def _remove(self, fs: Filesystem, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(self._place.hidden(name))

    # Names

    def delete(self, fs: Filesystem, key: str) -> None:
        """Removes an object, and on servers that refuse to remove a folder that is not empty, the emptied ones."""
        path = self._place.path(key)
        with self._naming:
            try:
                if fs.info(path)["type"] == "directory":
                    return
                fs.rm_file(path)
            except FileNotFoundError:
                return
            folder = path.rpartition("/")[0]
            # Others remove a folder with all that is in it (HDFS): there an empty one stays.
            with contextlib.suppress(OSError):  # not empty, or somebody else removed it
                while self._place.keeps_full_folders and folder != self._place.root:
                    fs.rmdir(folder)
                    folder = folder.rpartition("/")[0]

    def _there(self, key: str) -> KeyExistsError:
        return KeyExistsError(f"{self._place.url}/{key} is already there")

    # Trying out

    def _refuses_second_creation(self, fs: Filesystem) -> bool:
        path = self._place.hidden(random_id())
        try:
            fs.pipe_file(path, b"first", mode="create")
            fs.pipe_file(path, b"second", mode="create")
        except FileExistsError:
            return True
        except TypeError:  # a library from before there was a mode
            return False
        finally:
            with contextlib.suppress(FileNotFoundError):
                fs.rm_file(path)
        return False

    def _refuses_second_move(self, fs: Filesystem) -> bool:
        rename_new = getattr(fs, "rename_new", None)
        if rename_new is None:
            return False
        target = self._place.hidden(random_id())
        with self._naming:
            self._make_folder(fs, f"{self._place.root}/{HIDDEN}")
        try:
            for content in (b"first", b"second"):
                with self._hidden(fs, target) as hidden:
                    self._write(fs, hidden, len(content), _all_of(content))
                    try:
                        rename_new(hidden, target)
                    except FileExistsError:
                        fs.rm_file(hidden)
                        return True
        finally:
            with contextlib.suppress(FileNotFoundError):
                fs.rm_file(target)
        return False


class _Told:
    """Tells a watch what a library says it has sent, whichever way it counts."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._told = 0
        self.stopped: CkptTierError | None = None

    def up_to(self, count: int) -> None:
        if count > self._told:
            fresh, self._told = count - self._told, count
            try:
                self._watch.moved(fresh)
            except CkptTierError as error:
                self.stopped = error
                raise

    def callback(self) -> Any:
        """The object that fsspec calls."""
        from fsspec.callbacks import Callback

        told = self

        class Telling(Callback):  # type: ignore[misc]  # fsspec is untyped
            def absolute_update(self, value: int) -> None:
                self.value = value
                told.up_to(value)

            def relative_update(self, inc: int = 1) -> None:
                self.absolute_update(self.value + inc)

        return Telling()


def _all_of(data: bytes) -> Fill:
    return lambda file: file.write(data)


def _copy(source: Source, descriptor: int, cut: Cut, write: Write, watch: Watch | None = None) -> None:
    """Gives the source's blocks to `write`; raises SourceChangedError when a piece is not what its checksum says."""
    buffer = memoryview(bytearray(_BLOCK))
    for offset, length, expected in cut:
        crc = 0
        for position in range(offset, offset + length, _BLOCK):
            block = buffer[: offset + length - position]
            read_at(source, descriptor, position, block)
            crc = crc64nvme(block, crc)
            write(block)
            if watch is not None:
                watch.moved(len(block))
        if crc != expected:
            raise changed(source, f"other bytes between {offset} and {offset + length}")


def _hidden_name(key: str) -> str:
    """What the names of hidden files for `key` begin with, on this machine."""
    machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.{machine}"


def _other_bytes(path: str) -> IntegrityError:
    return IntegrityError(
        f"{path} came back with other bytes than were sent", "it was read back", "it is sent again; check the server"
    )
