"""Receipts: each share's proof that its objects are in the cold tier, and the manifest that a whole set of them gives.

A receipt never changes, and a manifest is made from receipts alone: everybody who sees the set whole writes the same
bytes under the same name, so committing needs no leader, no lock and no collective.
"""

from collections.abc import Sequence

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.documents import MAX_DOCUMENT_BYTES, decode, encode
from ckpt_tier.cold.manifest import FORMAT, Manifest, Member, check
from ckpt_tier.core.nouns import Pass, check_save_id, generation_id
from ckpt_tier.core.units import parse_time
from ckpt_tier.errors import CkptTierError, ConflictError, IntegrityError, KeyExistsError, UsageError
from ckpt_tier.store.protocol import Store
from ckpt_tier.system.asking import answers

PARALLEL_READS = 16
MAX_WORLD_SIZE = 1_000_000


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One share, uploaded. `saved_at` is RFC 3339 in UTC; `during` is None for what scanning found."""

    format: int
    run: str
    run_id: str
    series: str
    step: int
    rank: int
    world_size: int
    save_id: str | None
    saved_at: str
    during: Pass | None
    layout: str
    member: Member
    metrics: dict[str, float]
    versions: dict[str, str]

    @property
    def saved(self) -> float:
        """`saved_at` in seconds since the epoch."""
        return parse_time(self.saved_at)

    @property
    def member_id(self) -> str:
        return self.member.id

    @property
    def key(self) -> str:
        place = (self.run, self.series, self.step)
        return keys.receipt_key(*place, self.save_id, self.saved, self.rank, self.world_size)


class Receipts:
    """The receipts of one run. Safe to use from several threads. Each request is tried once."""

    def __init__(self, store: Store, run: str) -> None:
        self._store = store
        self._run = run
        self._known: dict[str, Receipt] = {}

    def post(self, receipt: Receipt) -> None:
        """Puts the receipt. Raises ConflictError when the same save id and rank has brought other files before."""
        _check(receipt, receipt.key)
        try:
            self._store.put(receipt.key, encode(receipt), if_absent=True)
        except KeyExistsError as error:
            there = self._read(receipt.key)
            if isinstance(there, CkptTierError):
                raise there from error
            if there.member.id != receipt.member.id:
                raise ConflictError(
                    f"rank {receipt.rank} has saved step {receipt.step} twice under the save id {receipt.save_id!r}",
                    "the two saves hold different bytes, and a save id stands for one save of all ranks",
                    "give each pass of the training its own save id",
                ) from error

    def names(self, series: str, step: int) -> tuple[str, ...]:
        """The keys of all receipts of a step. With a save id they tell by themselves whether its set can be whole."""
        prefix = keys.receipts_prefix(self._run, series, step)
        return tuple(
            each.key for each in self._store.list(prefix) if keys.is_receipt_name(each.key.removeprefix(prefix))
        )

    def of_step(self, series: str, step: int) -> tuple[list[Receipt], list[IntegrityError]]:
        """All sound receipts of a step, and what is wrong with the others."""
        return self.read(self.names(series, step))

    def read(self, names: Sequence[str]) -> tuple[list[Receipt], list[IntegrityError]]:
        """The receipts under these keys that are sound, and what is wrong with the others."""
        missing = [name for name in names if name not in self._known]
        damaged = []
        for name, result in zip(missing, answers(self._read, missing, PARALLEL_READS), strict=True):
            if isinstance(result, Receipt):
                self._known[name] = result
            else:
                damaged.append(result)
        return [self._known[name] for name in names if name in self._known], damaged

    def forget(self, before: dict[str, int]) -> None:
        """Drops from memory what is older than these steps, by series."""
        self._known = {
            name: receipt for name, receipt in self._known.items() if receipt.step >= before.get(receipt.series, 0)
        }

    def _read(self, key: str) -> Receipt | IntegrityError:
        try:
            return _check(decode(self._store.get(key, MAX_DOCUMENT_BYTES), Receipt, key), key)
        except IntegrityError as error:
            return error


def manifest_of_set(receipts: Sequence[Receipt]) -> Manifest:
    """The manifest that a whole set commits, from nothing but its receipts."""
    ordered = sorted(receipts, key=lambda each: each.rank)
    first = ordered[0]
    metrics: dict[str, float] = {}
    for receipt in reversed(ordered):
        metrics |= receipt.metrics
    return Manifest(
        format=FORMAT,
        run=first.run,
        run_id=first.run_id,
        series=first.series,
        step=first.step,
        saved_at=max(receipt.saved_at for receipt in ordered),
        generation=generation_id(receipt.member.id for receipt in ordered),
        save_id=first.save_id,
        layout=first.layout,
        members=tuple(receipt.member for receipt in ordered),
        metrics=metrics,
        versions=first.versions,
    )


def _check(receipt: Receipt, key: str) -> Receipt:
    """`receipt`, if it is sound and stands under the right `key`; raises IntegrityError."""
    problem = _problem(receipt, key)
    if problem:
        raise IntegrityError(
            f"the receipt {key} is not sound", problem, "nothing was taken from it; look who wrote it to the bucket"
        )
    # What a manifest of this share alone would have to pass.
    alone = manifest_of_set([receipt])
    check(alone, alone.key)
    return receipt


def _problem(receipt: Receipt, key: str) -> str:
    if receipt.format != FORMAT:
        return f"its format is {receipt.format}, this version reads {FORMAT}"
    if not 0 <= receipt.rank < receipt.world_size <= MAX_WORLD_SIZE or receipt.member.rank != receipt.rank:
        return "its ranks are impossible"
    try:
        if receipt.save_id is not None:
            check_save_id(receipt.save_id)
        if receipt.key != key:
            return "it stands under another name than its contents give"
    except (UsageError, ValueError, OverflowError) as error:
        return str(error)
    return ""
