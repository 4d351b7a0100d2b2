"""Putting the parts together for one configuration. Each part is built when it is first asked for, and its module is
imported then: what does not ask the cold tier never loads boto3."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from ckpt_tier.config import Config
from ckpt_tier.errors import ConfigError, NotFoundError
from ckpt_tier.inbox import HIDDEN, Inbox
from ckpt_tier.system.clock import Clock, SystemClock, random_id
from ckpt_tier.system.locks import FileLock

if TYPE_CHECKING:
    from ckpt_tier.cold.manifest import Manifest
    from ckpt_tier.cold.manifests import Entry
    from ckpt_tier.cold.runs import RunDocument
    from ckpt_tier.core.events import Emit
    from ckpt_tier.flow.parts import Cold, HotParts, Parts
    from ckpt_tier.flow.sync import Syncing
    from ckpt_tier.hot.layout import Layout
    from ckpt_tier.store.protocol import Store

WORKER_LOCK = "worker.lock"


class Wiring:
    """The parts of one configuration. Not to be shared over a fork."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self.config = config
        self.clock = clock or SystemClock()
        self.inbox = Inbox(config.hot.path)

    @functools.cached_property
    def layout(self) -> Layout:
        """The hot folder's layout, recognised if it is "auto". Raises ConfigError when it can't be."""
        from ckpt_tier.hot.recognise import find_layout

        return find_layout(self.config.hot.path, self.config.hot.layout)

    @functools.cached_property
    def store(self) -> Store:
        """The cold tier's store. Raises NoColdTierError, ConfigError; does not ask it anything yet."""
        from ckpt_tier.store import open_store

        self.config.require_cold()
        return open_store(self.config.cold, self.config.hot.path, still_wanted=lambda: self.clock.sleep(0))

    @functools.cached_property
    def cold(self) -> Cold:
        """The run in the cold tier. Raises NotFoundError (no such run), ConfigError (another training of the same
        name), UnavailableError after some tries."""
        from ckpt_tier.cold.runs import check_same_run, read_run
        from ckpt_tier.flow.retry import persistently

        run = self.config.run
        document = persistently(lambda: read_run(self.store, run), self.clock)
        if document is None:
            raise NotFoundError(
                f"there is no run {run!r} at {self.store.url}",
                "nothing has been uploaded yet, or it has another name",
                "run `ckpt-tier sync`, or look at `run` in the configuration",
            )
        check_same_run(document, run, self.config.run_id, self.store.url)
        return self._joined(document)

    def begin_run(self) -> Cold:
        """The run in the cold tier, begun if it is not there yet. Raises ConfigError, UnavailableError."""
        from ckpt_tier.cold.runs import join_run
        from ckpt_tier.flow.retry import persistently

        config = self.config
        document = persistently(
            lambda: join_run(self.store, config.run, config.run_id, new_id=random_id(), now=self.clock.now()),
            self.clock,
        )
        self.cold = self._joined(document)
        return self.cold

    def _expected_run(self) -> Cold:
        """The run that the configuration names by its id, not asked for yet: so the queue, and what keeps the disk
        from filling, go to work while the cold tier is away. Without an id, the run has to be asked for."""
        if self.config.run_id is None:
            return self.begin_run()
        from ckpt_tier.cold.runs import RUN_FORMAT, RunDocument

        return self._joined(RunDocument(format=RUN_FORMAT, id=self.config.run_id, created_at=""))

    def _joined(self, document: RunDocument) -> Cold:
        from ckpt_tier.cold.cache import ManifestCache
        from ckpt_tier.cold.manifests import Manifests
        from ckpt_tier.cold.receipts import Receipts
        from ckpt_tier.flow.parts import Cold

        cache = ManifestCache(self.config.state_dir / "manifests.sqlite")
        run = self.config.run
        return Cold(
            store=self.store,
            run=document,
            manifests=Manifests(self.store, run, cache),
            receipts=Receipts(self.store, run),
        )

    def remembered_manifests(self) -> dict[Entry, Manifest]:
        """What this machine has read of the cold tier before, without asking it."""
        from ckpt_tier.cold.cache import ManifestCache
        from ckpt_tier.cold.manifests import Manifests

        cache = ManifestCache(self.config.state_dir / "manifests.sqlite")
        return Manifests(self.store, self.config.run, cache).remembered()

    def worker_lock(self, what: str) -> FileLock:
        """The lock that makes one process the hot folder's worker; `what` names the taker."""
        return FileLock(self.config.hot.path / HIDDEN / WORKER_LOCK, what)

    def require_hot(self) -> None:
        """Raises ConfigError unless the hot folder is there."""
        if not self.config.hot.path.is_dir():
            raise ConfigError(
                f"the hot folder {self.config.hot.path} is not there",
                fix="create it, or set [hot] path in the configuration",
            )

    @contextlib.contextmanager
    def working_on_hot(self, emit: Emit, what: str) -> Iterator[HotParts]:
        """What changes the hot tier alone, under the worker's lock. Raises ConflictError naming who holds it,
        ConfigError."""
        from ckpt_tier.flow.parts import HotParts
        from ckpt_tier.journal.journal import Journal

        self.require_hot()
        lock = self.worker_lock(what).acquire("it does the same work; see `ckpt-tier status`, or end it first")
        with lock, contextlib.closing(Journal.open(self.config.state_dir)) as journal:
            journal.compact()
            yield HotParts(config=self.config, journal=journal, inbox=self.inbox, clock=self.clock, emit=emit)

    @contextlib.contextmanager
    def working(self, emit: Emit, what: str) -> Iterator[Parts]:
        """What changes both tiers, under the worker's lock. Raises ConflictError naming who holds it, ConfigError,
        UnavailableError."""
        from ckpt_tier.flow.parts import Parts

        with self.working_on_hot(emit, what) as hot:
            yield Parts(**vars(hot), cold=self._expected_run())

    @contextlib.contextmanager
    def syncing(self, emit: Emit, what: str) -> Iterator[Syncing]:
        """The queue at work, under the worker's lock. Raises ConflictError naming who holds it, ConfigError,
        UnavailableError."""
        from ckpt_tier.flow.config_copy import keep_copy
        from ckpt_tier.flow.interrupted import recover_evictions
        from ckpt_tier.flow.meter import Bandwidth
        from ckpt_tier.flow.placing import finish
        from ckpt_tier.flow.sync import Syncing

        self.require_hot()
        layout = self.layout  # before a run is begun for a folder that can't be read
        with self.working(emit, what) as parts:
            journal = parts.journal
            for save in [save for save in journal.saves() if save.retry_at]:
                journal.put(msgspec.structs.replace(save, retry_at=0.0))  # somebody starts it: the cause may be mended
            recover_evictions(parts, layout)
            finish(self.config.hot.path, self.clock, emit)
            pace = Bandwidth(self.config.upload.bandwidth, self.clock)

            def join() -> None:
                keep_copy(parts, self.begin_run().run)

            with Syncing(parts, layout, pace, join) as syncing:
                yield syncing
