"""Objects as files of any filesystem that fsspec speaks: SFTP, Google Cloud Storage, Azure, FTP, SMB, HDFS."""

import contextlib
import threading
from collections.abc import Collection, Iterator, Sequence

from ckpt_tier.errors import ConfigError, IntegrityError, MissingKeyError, UnavailableError
from ckpt_tier.store.fsspec_errors import no_root, translated
from ckpt_tier.store.fsspec_place import HIDDEN, Connections, Filesystem, Place
from ckpt_tier.store.fsspec_read import REQUEST, children, file_info, is_there, read_range
from ckpt_tier.store.fsspec_upload import Writer
from ckpt_tier.store.fsspec_walk import Info, described, is_key, walk
from ckpt_tier.store.protocol import READ_BLOCK, Blocks, Capabilities, Leftovers, Source, Stat, Watch
from ckpt_tier.system.clock import Clock, SystemClock

_PROBE = ".ckpt-tier-probe"


class FsspecStore:
    """A `Store` over one URL. `ckpt_tier.store.protocol` is the contract; this is what differs.

    - No checksum is kept: everything that is written is read back before the call returns, past no cache but the
      server's own. `ckpt_tier.store.fsspec_upload` says how an object becomes visible.
    - An upload that was cut off begins anew.
    - A listing asks for whole folders, whatever `after` says.
    - Where the filesystem gives no time of change, `modified` is the present.
    - Each operation has one of a few connections to itself; see `Connections`.

    Does not connect before the first operation.
    """

    listing_page = None

    def __init__(self, place: Place, clock: Clock | None = None) -> None:
        self._place = place
        self._clock = clock or SystemClock()
        self._connections = Connections(place.connect)
        self._writer = Writer(place, self._clock)
        self._lock = threading.Lock()
        self._capabilities: Capabilities | None = None

    @property
    def url(self) -> str:
        return self._place.url

    def capabilities(self) -> Capabilities:
        with self._lock:
            if self._capabilities is None:
                with self._writing(_PROBE) as fs:
                    self._capabilities = Capabilities(
                        conditional_put=self._writer.conditional(fs), verifies_uploads=False
                    )
            return self._capabilities

    def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
        for key, entry in walk(self._children, HIDDEN, prefix, after):
            yield described(key, entry, self._clock.now())

    def folders(self, prefix: str) -> Sequence[str]:
        names = [
            str(entry["name"]).rstrip("/").rpartition("/")[2]
            for entry in self._children(prefix)
            if entry["type"] == "directory"
        ]
        return sorted((n for n in names if is_key(n) and (prefix or n not in (HIDDEN, _PROBE))), key=str.encode)

    def stat(self, key: str) -> Stat:
        path = self._place.path(key)
        with self._at(key) as fs:
            return described(key, file_info(fs, path), self._clock.now())

    def get(self, key: str, limit: int) -> bytes:
        path = self._place.path(key)
        with self._at(key) as fs:
            size = described(key, file_info(fs, path), 0.0).size
            if size > limit:
                raise IntegrityError(f"{self.url}/{key} is too large", f"{size} bytes, at most {limit} are taken")
            return read_range(fs, path, 0, size)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self._place.path(key)
        with self._writing(key) as fs:
            self._writer.put(fs, key, data, if_absent=if_absent)

    def upload(self, key: str, source: Source, watch: Watch) -> None:
        self._place.path(key)
        with self._writing(key) as fs:
            self._writer.upload(fs, key, source, watch)

    def refresh(self, key: str, source: Source, watch: Watch) -> None:
        self._place.path(key)
        with self._at(key) as fs:
            self._writer.refresh(fs, key, source, watch)

    def read(self, key: str, offset: int, length: int) -> Blocks:
        path = self._place.path(key)
        for position in range(offset, offset + length, REQUEST):
            with self._at(key) as fs:
                data = read_range(fs, path, position, min(REQUEST, offset + length - position))
            for start in range(0, len(data), READ_BLOCK):
                yield memoryview(data)[start : start + READ_BLOCK]

    def delete(self, key: str) -> None:
        self._place.path(key)
        with self._at(key) as fs:
            self._writer.delete(fs, key)

    def clean_up(self, prefixes: Sequence[str], older_than: float, keep: Collection[str]) -> Leftovers:
        """What is left does not tell its prefix: that of every prefix goes."""
        with self._at(HIDDEN) as fs:
            return self._writer.clean_up(fs, older_than, keep)

    def _children(self, folder: str) -> Sequence[Info]:
        with self._at(folder) as fs:
            found = children(fs, f"{self._place.root}/{folder}".rstrip("/"))
            if not found and self._place.has_folders and not is_there(fs, self._place.root):
                raise no_root(self._place.url)
            return found

    @contextlib.contextmanager
    def _at(self, key: str) -> Iterator[Filesystem]:
        """A filesystem, whose errors are translated as having happened to `key`."""
        with translated(f"{self.url}/{key}"), self._connections.one() as fs:
            yield fs

    @contextlib.contextmanager
    def _writing(self, key: str) -> Iterator[Filesystem]:
        """As `_at`; what is missing for a write is not the object, but the place for it."""
        try:
            with self._at(key) as fs:
                yield fs
        except MissingKeyError as error:
            where = f"{self.url}/{key} can't be written"
            if self._place.is_object_store:
                raise ConfigError(where, "there seems to be no such bucket", "look at `url` in [cold]") from error
            raise UnavailableError(where, "a folder or file for it went away", "it is tried again") from error
