"""Keys as paths below a root that must be the mounted one, and what the operating system's errors mean there."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ckpt_tier.errors import (
    AccessDeniedError,
    CkptTierError,
    ConfigError,
    ConflictError,
    IntegrityError,
    MissingKeyError,
    NoSpaceError,
    UnavailableError,
    UsageError,
)
from ckpt_tier.store.protocol import check_key

HIDDEN = ".ckpt-tier"
MARKER = ".ckpt-tier-store"
TEMPORARY = ".ckpt-tier-tmp"

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_IMPOSSIBLE = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}


class Root:
    """The folder of a store. Nothing is read or written below it unless its marker is there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Raises UnavailableError when the marker is missing: then the mount is."""
        try:
            found = os.lstat(self.path / MARKER)
        except OSError as error:
            why = "" if isinstance(error, FileNotFoundError) else f": {error.strerror}"
            raise UnavailableError(
                f"the cold tier at {self.path} is not there",
                f"its marker {MARKER} was not found{why}",
                "is the mount missing? For a new folder run `ckpt-tier init`",
            ) from error
        if not stat.S_ISREG(found.st_mode):
            raise IntegrityError(f"{self.path / MARKER} is not a file")

    def place(self, key: str) -> Path:
        """The path of a key; raises IntegrityError where a symbolic link lies on the way."""
        check_key(key)
        first = key.partition("/")[0]
        if first in (MARKER, TEMPORARY):
            raise UsageError(f"{key!r} is not a key", "the store uses that name itself")
        self.refuse_links(self.path / key)
        return self.path / key

    def refuse_links(self, path: Path) -> None:
        """Raises IntegrityError if `path`, or a folder between it and the root, is a symbolic link."""
        current = self.path
        for name in path.relative_to(self.path).parts:
            current /= name
            try:
                mode = os.lstat(current).st_mode
            except (FileNotFoundError, NotADirectoryError):
                return
            if stat.S_ISLNK(mode):
                raise IntegrityError(
                    f"{current} is a symbolic link", "a store has none, and none is followed", "look who put it there"
                )

    @contextlib.contextmanager
    def errors(self, key: str) -> Iterator[None]:
        """Checks the marker, and translates the operating system's errors inside."""
        try:
            self.check()
            yield
        except OSError as error:
            self.check()  # a mount that went away meanwhile is no missing object
            raise self._translated(error, key) from error

    def _translated(self, error: OSError, key: str) -> CkptTierError:
        where = self.path / key
        why = error.strerror or str(error)
        if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            return MissingKeyError(f"there is no object {where}", why)
        if isinstance(error, FileExistsError):
            return ConflictError(f"{where} is in the way", why)
        if error.errno == errno.ELOOP:
            return IntegrityError(f"{where} is a symbolic link", "a store has none, and none is followed")
        if error.errno in _FULL:
            return NoSpaceError(f"no space left for {where}", why, "free some space in the cold tier")
        if error.errno in _DENIED:
            return AccessDeniedError(f"{where} can't be used", why, "check the owner and mode of the folder and mount")
        if error.errno in _IMPOSSIBLE:
            return ConfigError(f"{where} can't be a file there", why)
        return UnavailableError(f"{where} can't be reached", why, "check the mount; it is tried again")


class Unmarked(Root):
    """A folder that is known to be the right one."""

    def check(self) -> None:
        return
