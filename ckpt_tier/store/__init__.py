"""Cold tiers: bytes under keys, in a bucket or in a folder."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ckpt_tier.config import ColdConfig
from ckpt_tier.errors import ConfigError
from ckpt_tier.store.protocol import Store

__all__ = ["open_store"]


def open_store(
    cold: ColdConfig,
    hot: Path | None = None,
    *,
    founding: bool = False,
    still_wanted: Callable[[], None] | None = None,
) -> Store:
    """The store that `[cold]` means. Does not connect, and touches no mount that may hang; a folder's marker is looked
    for by each operation. `founding`: for `init`, which makes a folder a store. `still_wanted` is called now and then
    while a call waits for such a mount, and ends it by raising.

    Raises ConfigError for a URL that there is no store for, or whose Python package is not installed, and for a folder
    on the same device as `hot` unless `same_device` is set.
    """
    parts = urlsplit(cold.url)
    if parts.scheme == "s3":
        return _bucket(cold, parts.netloc, parts.path)
    if parts.scheme == "file" or cold.url.startswith("/"):
        return _folder(cold, hot, founding, still_wanted)
    if not parts.scheme:
        raise ConfigError(
            f"{cold.url!r} is not a cold tier",
            "it is neither a URL nor an absolute path",
            "use s3://bucket/prefix, file:///path, an absolute path, or another URL such as sftp://host/path",
        )
    return _anything_else(cold.url, parts.scheme)


def _bucket(cold: ColdConfig, bucket: str, prefix: str) -> Store:
    from ckpt_tier.store.s3 import S3Store
    from ckpt_tier.store.s3_requests import S3Options

    if not bucket or "@" in bucket or ":" in bucket:
        raise ConfigError(
            "the url of the cold tier names no bucket" if not bucket else "the url of the cold tier is no bucket's",
            fix="write it as s3://bucket/prefix; credentials come from the AWS chain, a host from `endpoint_url`",
        )
    options = S3Options(
        endpoint_url=cold.endpoint_url,
        region=cold.region,
        profile=cold.profile,
        addressing=cold.addressing,
        ca_bundle=cold.ca_bundle,
        sse=cold.sse,
        sse_kms_key_id=cold.sse_kms_key_id,
    )
    return S3Store(bucket, prefix.strip("/"), options)


def _folder(cold: ColdConfig, hot: Path | None, founding: bool, still_wanted: Callable[[], None] | None) -> Store:
    """A folder on a disk of this machine, directly; one that may hang, through a process that can be given up. So is
    a folder without a marker: it may be the empty place of a mount that comes back any moment."""
    from ckpt_tier.store.apart import ApartStore
    from ckpt_tier.store.folder import FolderStore
    from ckpt_tier.store.folder_paths import MARKER
    from ckpt_tier.system.mounts import device_of, mount_of

    root = folder_path(cold.url)
    may_hang = mount_of(root).may_hang
    is_ours = not may_hang and (founding or os.path.lexists(root / MARKER))
    # The device of a missing mount is that of the disk below it, which says nothing.
    if hot is not None and not cold.same_device and (may_hang or is_ours) and device_of(hot) == device_of(root):
        raise ConfigError(
            f"{root} is on the same device as {hot}",
            "if that disk fails or fills up, both tiers are gone",
            "mount the cold tier, or set `same_device = true` in [cold] if you mean it",
        )
    return FolderStore(root) if is_ours else ApartStore(root, still_wanted=still_wanted)


def _anything_else(url: str, scheme: str) -> Store:
    from ckpt_tier.store.fsspec_place import Place
    from ckpt_tier.store.fsspec_store import FsspecStore

    if scheme == "memory":
        raise ConfigError(
            "memory:// is not a cold tier", "it is gone when the process ends, and every checkpoint with it"
        )
    return FsspecStore(Place(url))


def folder_path(url: str) -> Path:
    """The absolute path in ``file:///path`` or a plain path; raises ConfigError."""
    parts = urlsplit(url)
    path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(url)
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        raise ConfigError(f"{url!r} names a host", fix="write file:///absolute/path")
    if not path.is_absolute():
        raise ConfigError(f"{url!r} is not an absolute path")
    return path
