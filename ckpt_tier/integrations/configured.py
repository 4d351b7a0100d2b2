"""One configuration as a filesystem uses it: its run with both tiers, other runs of the same store, and their bytes."""

from __future__ import annotations

import functools
import os
import threading
from urllib.parse import urlsplit

import msgspec

from ckpt_tier.cold.runs import list_runs
from ckpt_tier.config import Config
from ckpt_tier.errors import IntegrityError, NoColdTierError, NotFoundError, SourceChangedError
from ckpt_tier.flow.retry import persistently
from ckpt_tier.inspection import Checkpoint
from ckpt_tier.integrations.content import ColdContent, ColdReader, Content, HotContent
from ckpt_tier.integrations.errors import NotAFileError
from ckpt_tier.integrations.places import Place
from ckpt_tier.integrations.tree import Tree, by_path
from ckpt_tier.store.s3_filesystem import S3Reader
from ckpt_tier.tensors.sources import Source
from ckpt_tier.wiring import Wiring


class Opened(msgspec.Struct, frozen=True):
    """One file that can be read: of which checkpoint, and how."""

    checkpoint: Checkpoint
    source: Source
    content: Content


class Configured:
    """Safe to use from several threads, but not over a fork: `pid` tells whose it is."""

    def __init__(self, config: Config) -> None:
        self.pid = os.getpid()
        self._config = config
        self._wiring = Wiring(config)
        self._lock = threading.RLock()
        self._trees: dict[str, Tree] = {}

    def runs(self) -> list[str]:
        """The configuration's run, and the others of its store, sorted. Raises UnavailableError, ConfigError."""
        try:
            others = persistently(lambda: list_runs(self._wiring.store), self._wiring.clock)
        except NoColdTierError:
            others = []
        return sorted({self._config.run, *others})

    def tree(self, run: str) -> Tree:
        """What is below a run; whether there is one shows when it is asked."""
        with self._lock:
            if run not in self._trees:
                own = run == self._config.run
                config = self._config if own else msgspec.structs.replace(self._config, run=run, run_id=None)
                self._trees[run] = Tree(self._wiring if own else Wiring(config), own=own)
            return self._trees[run]

    def open(self, place: Place) -> Opened:
        """The file, wherever it is nearest. Raises NotFoundError, NotAFileError, IntegrityError, SourceChangedError,
        UnavailableError."""
        if place.run is None or not place.path:
            raise _is_folder(place)
        tree = self.tree(place.run)
        try:
            return self._open(tree.checkpoint(place), place)
        except (NotFoundError, SourceChangedError):  # what was found lately may be evicted, or replaced
            tree.forget()
            return self._open(tree.checkpoint(place), place)

    def _open(self, checkpoint: Checkpoint, place: Place) -> Opened:
        files = by_path(checkpoint.files)
        source = files.get(place.path)
        if source is None:
            if any(path.startswith(f"{place.path}/") for path in files):
                raise _is_folder(place)
            raise no_such_file(checkpoint, place)
        if source.key is None:
            return Opened(checkpoint, source, HotContent(source))
        return Opened(checkpoint, source, ColdContent(source, source.key, self._cold.fetch))

    @functools.cached_property
    def _cold(self) -> ColdReader:
        is_s3 = urlsplit(self._config.cold.url).scheme == "s3"
        return ColdReader(self._wiring.store, S3Reader(self._config.cold) if is_s3 else None, self._wiring.clock)


def _is_folder(place: Place) -> NotAFileError:
    return NotAFileError(f"ckpt://{place} is a folder", "a file in it can be opened", "list it with ls")


def no_such_file(checkpoint: Checkpoint, place: Place) -> NotFoundError:
    """The error for a path that the checkpoint does not have; it names some that it has."""
    paths = sorted(by_path(checkpoint.files))
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return NotFoundError(
        f"there is no {place.path!r} in step {checkpoint.step} of series {checkpoint.series!r}",
        f"it has {', '.join(paths[:3])}{more}",
        "paths are relative to the hot folder that it was saved in",
    )


def prove(source: Source, crc64nvme: str) -> None:
    """Raises IntegrityError unless the whole file's CRC-64/NVME, in hex, is what validation found."""
    if source.digest is not None and source.digest.crc64nvme != crc64nvme:
        raise IntegrityError(
            f"{source.place} is not what was saved",
            f"its CRC-64/NVME is {crc64nvme}, the manifest says {source.digest.crc64nvme}",
            "`ckpt-tier verify --read` tells what else is damaged; take another step",
        )
