"""Where a URL leads: the filesystem of fsspec for its scheme, what that can do, and connections to it."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from ckpt_tier.errors import ConfigError, UsageError
from ckpt_tier.store.fsspec_errors import answered, said
from ckpt_tier.store.protocol import check_key

HIDDEN = ".ckpt-tier"
"""The folder at the root for what is not yet an object."""
CONNECTIONS = 8
"""At once, at most. An SSH server drops logins beyond 10 that come together: MaxStartups in
https://man.openbsd.org/sshd_config"""

_OBJECT_STORES = frozenset({"gs", "gcs", "az", "abfs", "abfss"})
"""Where an object appears when its upload is complete, never before, and can be created on the condition that there is
none: https://cloud.google.com/storage/docs/consistency and
https://learn.microsoft.com/rest/api/storageservices/put-blob. It can't be seen by trying: what shows a file as it grows
may do so only after many megabytes."""
_COPIES_WHOLE = _OBJECT_STORES | {"memory"}
"""Where a copy on the server appears whole, so that copy and delete can stand for a rename; and where folders are but a
part of names."""
_ELSEWHERE = {
    "s3a": "write it as s3://bucket/prefix",
    "file": "write it as file:///absolute/path",
    "local": "write it as file:///absolute/path",
}
_PACKAGES = {"smbclient": "smbprotocol", "webdav4": "webdav4[fsspec]", "paramiko": "ckpt-tier[sftp]"}

Filesystem = Any
"""An `fsspec.AbstractFileSystem`, which is untyped."""


class Place:
    """One URL: its filesystem and the path of the store's root there.

    Attributes:
        url: as given, without a slash at its end.
        root: the root's path as the filesystem writes paths, without a slash at its end.
        has_folders: whether folders are made and removed, rather than being a part of names.
        keeps_full_folders: whether a folder that is not empty can't be removed by mistake. SFTP's standard says so:
            https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02#section-6.6
        is_object_store: whether objects appear whole and can be created conditionally, by the store's documentation.
    """

    def __init__(self, url: str) -> None:
        """Raises ConfigError: an unknown scheme, a package that is not installed, a password, a filesystem that can't
        be a store. Does not connect."""
        scheme = _checked(url)
        self.url = url.rstrip("/")
        self._class = _filesystem_class(scheme)
        self.is_object_store = scheme in _OBJECT_STORES
        self.has_folders = scheme not in _COPIES_WHOLE
        self.keeps_full_folders = scheme in ("sftp", "ssh")
        if self.has_folders and not _can_rename(self._class):
            raise ConfigError(
                f"{scheme}:// can't be a cold tier",
                "it can neither rename a file nor is it known to write one that appears whole",
                "use s3://, gs://, az://, sftp:// or a folder",
            )
        try:
            self._options = self._class._get_kwargs_from_urls(url)
            self.root = str(self._class._strip_protocol(url)).rstrip("/")
        except Exception as error:
            raise ConfigError(f"{self.url} is not a URL", said(error), "write it as scheme://host/folder") from error
        if not self.root.strip("/") and scheme != "memory":
            raise ConfigError(f"{self.url} names no folder", fix="write it as scheme://host/folder or scheme://bucket")

    def connect(self) -> Filesystem:
        """A filesystem of its own, without a cache: a stale listing would break promises."""
        try:
            return self._class(**self._options, skip_instance_cache=True, use_listings_cache=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{self.url} can't be opened", said(error), "look at the URL, and at fsspec's own configuration"
            ) from error

    def path(self, key: str) -> str:
        """The path of a key; raises UsageError for an unfit one."""
        if check_key(key).partition("/")[0] == HIDDEN:
            raise UsageError(f"{key!r} is not a key", "the store uses that name itself")
        return f"{self.root}/{key}"

    def hidden(self, name: str) -> str:
        """The path of an unfinished file."""
        return f"{self.root}/{HIDDEN}/{name}"

    def move(self, fs: Filesystem, old: str, new: str) -> None:
        """Gives an object another name, in place of what is there. It is whole at every moment."""
        if self.has_folders:
            fs.mv(old, new)
        else:
            fs.cp_file(old, new)
            fs.rm_file(old)


class Connections:
    """Filesystems that are each used by one thread at a time: clients of SFTP and FTP are not safe to share, and none
    promises it. At most `CONNECTIONS`; a thread that finds none free waits. One that failed is not used again, and
    neither are those that lay idle then: most likely the server was away for all of them."""

    def __init__(self, connect: Callable[[], Filesystem]) -> None:
        self._connect = connect
        self._permits = threading.BoundedSemaphore(CONNECTIONS)
        self._lock = threading.Lock()
        self._idle: list[Filesystem] = []

    @contextlib.contextmanager
    def one(self) -> Iterator[Filesystem]:
        """Not to be nested: a thread that held one and waited for another could wait for ever."""
        with self._permits:
            with self._lock:
                fs = self._idle.pop() if self._idle else None
            if fs is None:
                fs = self._connect()
            try:
                yield fs
            except BaseException as error:
                if isinstance(error, Exception) and answered(error):
                    self._keep(fs)
                else:
                    self._drop(fs)
                raise
            self._keep(fs)

    def _keep(self, fs: Filesystem) -> None:
        fs.invalidate_cache()
        with self._lock:
            self._idle.append(fs)

    def _drop(self, fs: Filesystem) -> None:
        with self._lock:
            dropped, self._idle = [fs, *self._idle], []
        for each in dropped:
            close = getattr(each, "close", None)
            if callable(close):
                with contextlib.suppress(Exception):  # it is broken: the error that said so is on its way
                    close()


def _checked(url: str) -> str:
    """The scheme of a URL that may be opened; raises ConfigError, which never repeats a password."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError as error:
        raise ConfigError("the url of the cold tier is not a URL", str(error)) from error
    if password is not None:
        raise ConfigError(
            "the url of the cold tier holds a password",
            "a configuration holds no secrets",
            f"remove it: an SSH key, or the variable FSSPEC_{parts.scheme.upper()}_PASSWORD, takes its place",
        )
    if "?" in url or "#" in url or re.match(r"[a-z0-9+.-]+::", url):
        raise ConfigError("the url of the cold tier has a ?, # or ::", "it is a scheme, a host or bucket, and a folder")
    if parts.scheme in _ELSEWHERE:
        raise ConfigError(f"{parts.scheme}:// is not a cold tier", fix=_ELSEWHERE[parts.scheme])
    return parts.scheme


def _filesystem_class(scheme: str) -> Any:
    if scheme in ("sftp", "ssh"):
        with _package_needed(scheme):
            from ckpt_tier.store.sftp import KnownServers

            return KnownServers
    import fsspec

    with _package_needed(scheme):
        try:
            return fsspec.get_filesystem_class(scheme)
        except ValueError as error:
            raise ConfigError(
                f"{scheme}:// is not supported",
                "fsspec knows no such scheme",
                "use s3://bucket/prefix, file:///path, an absolute path, or a scheme of fsspec such as sftp://host/path",
            ) from error


@contextlib.contextmanager
def _package_needed(scheme: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        module = (cause.name or "").partition(".")[0]
        package = _PACKAGES.get(module, module)
        raise ConfigError(
            f"{scheme}:// needs a Python package that is not installed",
            str(cause),
            f"pip install {package!r}" if package else "install what fsspec says it needs",
        ) from error


def _can_rename(cls: Any) -> bool:
    """Whether the filesystem renames by itself: the one that every class inherits copies through this machine."""
    from fsspec import AbstractFileSystem

    return cls.mv is not AbstractFileSystem.mv
