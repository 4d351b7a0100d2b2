"""The same bucket as `s3.S3Store`, read through s3fs: the same endpoint, credentials, certificates and addressing."""

from typing import Any
from urllib.parse import urlsplit

from ckpt_tier.config import ColdConfig
from ckpt_tier.store.fsspec_errors import translated
from ckpt_tier.store.protocol import check_key

_CONNECT_TIMEOUT = 30.0
_READ_TIMEOUT = 120.0
"""Seconds; both as in `s3_requests`."""


class S3Reader:
    """Reads ranges of objects, each range by one request, which s3fs tries up to five times.

    Safe to use from several threads, but not over a fork. Connects with the first range.
    """

    def __init__(self, cold: ColdConfig) -> None:
        from s3fs import S3FileSystem

        parts = urlsplit(cold.url)
        self._root = f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
        named = {"region_name": cold.region, "verify": cold.ca_bundle}
        self._fs: Any = S3FileSystem(
            endpoint_url=cold.endpoint_url,
            client_kwargs={name: value for name, value in named.items() if value is not None},
            config_kwargs={
                "s3": {"addressing_style": cold.addressing},
                "response_checksum_validation": "when_required",
                # Only s3fs tries again.
                "retries": {"total_max_attempts": 1},
                "connect_timeout": _CONNECT_TIMEOUT,
                "read_timeout": _READ_TIMEOUT,
                "user_agent_extra": "ckpt-tier",
            },
            skip_instance_cache=True,
            use_listings_cache=False,
            **({"profile": cold.profile} if cold.profile else {}),
        )

    def read(self, key: str, begin: int, end: int) -> bytes:
        """The bytes from `begin` to `end`, fewer where the object ends before. Raises MissingKeyError,
        AccessDeniedError, UnavailableError."""
        where = f"s3://{self._root}/{check_key(key)}"
        with translated(where):
            return bytes(self._fs.cat_file(where, start=begin, end=end))
