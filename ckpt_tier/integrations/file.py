"""An open file of ``ckpt://``: what was read is kept for what is read nearby, as fsspec's caches do it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
from fsspec.spec import AbstractBufferedFile

from ckpt_tier.integrations.configured import Opened
from ckpt_tier.integrations.errors import as_os_errors
from ckpt_tier.integrations.listing import file_info
from ckpt_tier.integrations.places import Place

if TYPE_CHECKING:
    from ckpt_tier.integrations.filesystem import CkptFileSystem

COLD_CACHE = "blockcache"
"""The one of fsspec's caches with the fewest requests and bytes for what torch.load does: to the end of a file, to its
start, then through it. Only the last block is read twice: 100 MB cost 13 requests and 108 MB. With "readahead" they
cost 12 and 117 MB, and 16 and 118 MB where there are many small tensors."""
BLOCK_SIZE = 8 * 2**20
"""Bytes."""
_BLOCKS_KEPT = 8
"""So that an open file takes 64 MiB at the most."""


class CkptFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec is untyped
    """For one thread at a time. `path` names the generation that was opened, so that a pickled file opens the same one
    again, whatever ``latest`` means by then."""

    def __init__(
        self,
        fs: CkptFileSystem,
        place: Place,
        opened: Opened,
        block_size: int | None,
        cache_type: str | None,
        cache_options: dict[str, Any] | None,
    ) -> None:
        checkpoint = opened.checkpoint
        exact = msgspec.structs.replace(
            place, step=checkpoint.step, latest=False, generation=checkpoint.generation or place.generation
        )
        self._content = opened.content
        self._place = exact
        self._pid = os.getpid()
        self._details = file_info(checkpoint, opened.source, exact)
        if cache_type is None and opened.source.key is not None:
            cache_type, cache_options = COLD_CACHE, {"maxblocks": _BLOCKS_KEPT, **(cache_options or {})}
        super().__init__(
            fs,
            str(exact),
            block_size=block_size or BLOCK_SIZE,
            cache_type=cache_type or "none",  # the system itself keeps what lies on its disks
            cache_options=cache_options,
            size=opened.source.size,
        )

    def _fetch_range(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        with as_os_errors():
            if self._pid != os.getpid():  # a connection can't be shared with the process that this one was forked from
                self._content, self._pid = self.fs.opened(self._place).content, os.getpid()
            return self._content.read(start, end) if start < end else b""

    def close(self) -> None:
        """Lets go of the file and of what was kept of it."""
        if not self.closed:
            super().close()
            self._content.close()
