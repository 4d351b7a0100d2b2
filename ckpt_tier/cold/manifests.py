"""The manifests of a run: listing, reading and committing them."""

import contextlib
from collections.abc import Iterable, Mapping

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.cache import ManifestCache
from ckpt_tier.cold.documents import MAX_DOCUMENT_BYTES, decode, encode
from ckpt_tier.cold.listings import Span, listed_by_pages
from ckpt_tier.cold.manifest import Manifest, check, same_objects
from ckpt_tier.core.nouns import is_name
from ckpt_tier.errors import ConflictError, IntegrityError, KeyExistsError
from ckpt_tier.store.protocol import Store
from ckpt_tier.system.asking import answers

PARALLEL_READS = 16


class Entry(msgspec.Struct, frozen=True, order=True):
    """A manifest as the listing shows it; `committed_at` in seconds since the epoch by the store's clock."""

    series: str
    step: int
    generation: str
    committed_at: float


class Manifests:
    """The committed generations of one run. Safe to use from several threads.

    Each request is tried once; retrying is the caller's.
    """

    def __init__(self, store: Store, run: str, cache: ManifestCache) -> None:
        self.store = store
        self.run = run
        self._cache = cache

    def series(self) -> list[str]:
        """The series that the run has in the cold tier. Folders with names that no series can have are left out."""
        return [name for name in self.store.folders(f"{self.run}/") if is_name(name)]

    def entries(self, series: str, from_step: int = 0) -> list[Entry]:
        """The series' manifests from `from_step` on, by step."""
        return self.entries_from({series: from_step})

    def entries_from(self, oldest: Mapping[str, int]) -> list[Entry]:
        """The manifests of these series, in their order, each from the given step on and by step."""
        whole = [
            Span(
                series,
                keys.manifests_prefix(self.run, series),
                keys.manifests_before(self.run, series, step) if step else "",
            )
            for series, step in oldest.items()
        ]
        return [
            Entry(found.series, *parsed, found.modified)
            for found in listed_by_pages(self.store, whole, self._cache)
            if (parsed := keys.parse_manifest_name(found.name)) is not None
        ]

    def key(self, entry: Entry) -> str:
        return keys.manifest_key(self.run, entry.series, entry.step, entry.generation)

    def read(self, entry: Entry) -> Manifest:
        """The manifest's contents, checked. Raises MissingKeyError, IntegrityError."""
        manifests, damaged = self.read_all([entry])
        if damaged:
            raise next(iter(damaged.values()))
        return manifests[entry]

    def read_fresh(self, entry: Entry) -> Manifest:
        """As `read`, but from the store, never from the cache: for proofs."""
        result = self._fetch(entry)
        if isinstance(result, IntegrityError):
            raise result
        return result

    def read_all(
        self, entries: Iterable[Entry], at_most: int | None = None
    ) -> tuple[dict[Entry, Manifest], dict[Entry, IntegrityError]]:
        """The contents of many manifests, from the cache where it has them, and those that can't be trusted.

        With `at_most`, only the first so many of `entries` are asked of the store where the cache lacks them; the
        others are left out.
        """
        wanted = list(entries)
        cached = self._cached(wanted)
        missing = [entry for entry in wanted[:at_most] if entry not in cached]
        fetched: dict[Entry, Manifest] = {}
        damaged: dict[Entry, IntegrityError] = {}
        if missing:
            for entry, result in zip(missing, answers(self._fetch, missing, PARALLEL_READS), strict=True):
                if isinstance(result, Manifest):
                    fetched[entry] = result
                else:
                    damaged[entry] = result
            self._cache.store((self._cache_key(entry), msgspec.json.encode(m)) for entry, m in fetched.items())
        return cached | fetched, damaged

    def remembered(self) -> dict[Entry, Manifest]:
        """What the cache has of this run, without asking the store: the cold tier as this machine last read it."""
        found: dict[str, tuple[float, Manifest]] = {}
        for cached, body in self._cache.load(f"{self.store.url}\n{self.run}/").items():
            key, _, committed_at = cached.rpartition("@")
            with contextlib.suppress(msgspec.DecodeError, ValueError):  # a broken row is as good as none
                row = float(committed_at), msgspec.json.decode(body, type=Manifest)
                if key not in found or found[key][0] < row[0]:  # emptied and filled again: the later time is true
                    found[key] = row
        return {Entry(each.series, each.step, each.generation, at): each for at, each in found.values()}

    def forget_all_but(self, entries: Iterable[Entry]) -> None:
        """Drops from the cache what is of this run and not among `entries`, which must be the whole of it."""
        self._cache.keep_only(f"{self.store.url}\n{self.run}/", {self._cache_key(entry) for entry in entries})

    def shrink_cache(self) -> None:
        """Brings the cache back to its largest size."""
        self._cache.shrink()

    def commit(self, manifest: Manifest) -> bool:
        """Puts the manifest, last of all: from here on the checkpoint exists. True if it is new.

        One that is there already, of the same generation over the same objects, is success; another one raises
        ConflictError. What could not be read back raises IntegrityError, and is not written.
        """
        check(manifest, manifest.key)
        try:
            self.store.put(manifest.key, encode(manifest), if_absent=True)
        except KeyExistsError as error:
            there = decode(self.store.get(manifest.key, MAX_DOCUMENT_BYTES), Manifest, manifest.key)
            if not same_objects(check(there, manifest.key), manifest):
                raise ConflictError(
                    f"{manifest.key} is already there",
                    "it commits other objects under the same name",
                    "nothing was overwritten; look who else writes to this run",
                ) from error
            return False
        return True

    def _fetch(self, entry: Entry) -> Manifest | IntegrityError:
        key = self.key(entry)
        try:
            return check(decode(self.store.get(key, MAX_DOCUMENT_BYTES), Manifest, key), key)
        except IntegrityError as error:
            return error

    def _cached(self, entries: Iterable[Entry]) -> dict[Entry, Manifest]:
        by_series: dict[str, list[Entry]] = {}
        for entry in entries:
            by_series.setdefault(entry.series, []).append(entry)
        found = {}
        for series, members in by_series.items():
            bodies = self._cache.load(f"{self.store.url}\n{keys.manifests_prefix(self.run, series)}")
            for entry in members:
                body = bodies.get(self._cache_key(entry))
                with contextlib.suppress(msgspec.DecodeError):  # a broken row is as good as none
                    if body is not None:
                        found[entry] = msgspec.json.decode(body, type=Manifest)
        return found

    def _cache_key(self, entry: Entry) -> str:
        # With the time of commit, so that a bucket that was emptied and filled again is read anew.
        return f"{self.store.url}\n{self.key(entry)}@{entry.committed_at}"
