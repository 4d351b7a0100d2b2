"""``ckpt://``: every checkpoint of every tier as files that can be read, for whatever speaks fsspec.

with fsspec.open("ckpt://swelu/0/740000/model_gpu0/model_step_740000.pt") as file:
    state = torch.load(file)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike

from ckpt_tier.config import load
from ckpt_tier.errors import NotFoundError
from ckpt_tier.integrations.configured import Configured, Opened, prove
from ckpt_tier.integrations.errors import ReadOnlyError, as_os_errors
from ckpt_tier.integrations.file import CkptFile
from ckpt_tier.integrations.listing import Info, entries, entry
from ckpt_tier.integrations.places import Place, UnfitError, parse
from ckpt_tier.system.digests import crc64nvme, to_hex

_COPIED = 16 * 2**20
"""Bytes that `get` asks for at once."""


class CkptFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec is untyped
    """``ckpt://RUN/SERIES/STEP[@GENERATION]/path``, read only; STEP may be ``latest``: the one saved last.

    Paths are those in the hot folder. A file is read from the hot copy where that is the very content that was
    validated, else from the cold tier. `cat` and `get` of whole files check every byte; what is read by ranges through
    `open` is as right as the store and the line are.

    Args:
        config: a ``ckpt-tier.toml``; None finds one as the command line does, when it is first needed. RUN is its run,
            or another one of the same cold tier.

    May be used by several threads, is pickled by its options, and in a process that was forked begins anew. An open
    file is for one thread at a time. Every error is an OSError and an error of `ckpt_tier` in one: FileNotFoundError
    for what is not there, PermissionError, ConnectionError. `exists`, `walk`, `find` and `glob` raise as well where the
    cold tier can't be asked; they don't show nothing.
    """

    protocol = "ckpt"

    def __init__(self, config: str | os.PathLike[str] | None = None, **storage_options: Any) -> None:
        super().__init__(**storage_options)
        self._config = config
        self._made: Configured | None = None

    @property
    def _here(self) -> Configured:
        made = self._made
        if made is None or made.pid != os.getpid():
            config = load(None if self._config is None else Path(self._config), env=os.environ, cwd=Path.cwd())
            made = self._made = Configured(config)
        return made

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forgets everything: the configuration is read, and both tiers are asked, anew."""
        self._made = None

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        """Runs, series, steps (``STEP@GENERATION`` as well, where a step was saved several times), files."""
        with as_os_errors():
            found = entries(self._here, self._place(path))
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **_: Any) -> Info:
        """Of a file also `tier` ("hot", "cold"), `series`, `step`, `generation`, `saved_at` (RFC 3339), `rank`,
        `sha256` and `mtime` (seconds since the epoch)."""
        with as_os_errors():
            return entry(self._here, self._place(path))

    def exists(self, path: str, **_: Any) -> bool:
        """Whether it is there. Raises where nobody can tell."""
        return self._kind(path) is not None

    def isdir(self, path: str) -> bool:
        """Whether it is a folder. Raises where nobody can tell."""
        return self._kind(path) == "directory"

    def isfile(self, path: str) -> bool:
        """Whether it is a file. Raises where nobody can tell."""
        return self._kind(path) == "file"

    def _kind(self, path: str) -> str | None:
        try:
            return str(self.info(path)["type"])
        except FileNotFoundError:
            return None

    def walk(
        self, path: str, maxdepth: int | None = None, topdown: bool = True, on_error: Any = None, **kw: Any
    ) -> Any:
        """As every fsspec's; but what can't be asked is raised, not left out, unless `on_error` says so."""
        return super().walk(path, maxdepth, topdown, on_error or _unless_missing, **kw)

    def modified(self, path: str) -> datetime:
        """When the file was last written, before it was taken up."""
        return datetime.fromtimestamp(self.info(path)["mtime"], UTC)

    def ukey(self, path: str) -> str:
        """The SHA-256 of a file; whatever caches files goes by it."""
        return str(self.info(path).get("sha256") or super().ukey(path))

    def checksum(self, path: str) -> int:
        """The same wherever the same content is read from."""
        return int(self.ukey(path), 16)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        cache_type: str | None = None,
        **_: Any,
    ) -> CkptFile:
        if mode != "rb":
            self._refuse(path)
        with as_os_errors():
            place = self._place(path)
            opened = self.opened(place)
        return CkptFile(self, place, opened, block_size, cache_type, cache_options)

    def opened(self, place: Place) -> Opened:
        """The file of that place. Raises errors of `ckpt_tier`."""
        if not place.path:
            entry(self._here, place)  # what is not there is no folder either
        return self._here.open(place)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Exactly that range; a whole file is checked."""
        with self._reading(path) as opened:
            size = opened.source.size
            begin, finish, _step = slice(start, end).indices(size)
            data = opened.content.read(begin, finish) if begin < finish else b""
            if (begin, finish) == (0, size):
                prove(opened.source, to_hex(crc64nvme(data)))
            return data

    def get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **_: Any) -> None:
        """Copies a file and checks every byte; what proves wrong is removed."""
        target = outfile or (lpath if isfilelike(lpath) else None)
        if target is not None:
            self._copy(rpath, target.write, callback)
        elif self.isdir(rpath):
            Path(lpath).mkdir(parents=True, exist_ok=True)
        else:
            path = Path(lpath)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("wb") as file:
                    self._copy(rpath, file.write, callback)
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def _copy(self, path: str, write: Callable[[bytes], object], callback: Any) -> None:
        with self._reading(path) as opened:
            size, crc = opened.source.size, 0
            callback.set_size(size)
            for begin in range(0, size, _COPIED):
                data = opened.content.read(begin, min(size, begin + _COPIED))
                crc = crc64nvme(data, crc)
                write(data)
                callback.relative_update(len(data))
            prove(opened.source, to_hex(crc))

    @contextlib.contextmanager
    def _reading(self, path: str) -> Iterator[Opened]:
        with as_os_errors():
            opened = self.opened(self._place(path))
            with contextlib.closing(opened.content):
                yield opened

    def _place(self, path: str) -> Place:
        shown = self._strip_protocol(path)
        try:
            return parse(shown)
        except UnfitError as error:
            raise NotFoundError(
                f"ckpt://{shown!r} names nothing", str(error), "write it as ckpt://RUN/SERIES/STEP[@GENERATION]/path"
            ) from error

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise ReadOnlyError(
            "ckpt:// is read only",
            "what is committed is never changed",
            "save into the hot folder and call tier.saved(path, step); `ckpt-tier prune` removes",
        )

    mkdir = makedirs = rmdir = rm = rm_file = _rm = mv = cp_file = put_file = pipe_file = touch = _refuse


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
