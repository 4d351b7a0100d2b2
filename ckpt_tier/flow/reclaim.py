"""Freeing the cold tier's data that no manifest refers to: what was pruned, and what unfinished uploads left.

The order for one series, and why nothing that is referred to, or is about to be, can go:

1. the manifests are listed and read        (a)
2. tombstones and data are listed           (b)
3. the manifests are listed and read again  (c)
4. an object goes if neither (a) nor (c) refers to its member, and it and every tombstone of its step are older than
   the grace, by the store's clock; unless a receipt promises it to a checkpoint that is not whole yet
5. it is looked at once more, and must not have been written since (b)
6. it is deleted

A commit that adopts an object which is older than half the grace writes it anew first (`flow.upload`), and step 5 sees
that. One that found it younger has half the grace left, from that look to its manifest, before (b) can call the
object old; then (c) shows the manifest. What stays open is a process that is stopped between 5 and 6 for as long as
it takes to write the object anew, look at it and commit: `evict` looks at every object again before it deletes the hot
copy, but a stop that lasts beyond that as well would lose the checkpoint; `verify` reports what is missing.

The metrics that were noted of a pruned generation go the same way, since an undone prune wants them back: in step 4,
once no manifest of the generation is in (a) and (c), and note and tombstone are older than the grace.

A crash anywhere leaves some of the objects of step 4: nothing refers to them, and the next prune frees them. A
manifest that can't be read protects all data of its step; a name among the manifests that this version can't read
protects the whole series; a key below ``data/`` that is not a member's file is never touched.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.manifests import Entry, Manifests
from ckpt_tier.cold.receipts import Receipts
from ckpt_tier.cold.tombstones import list_tombstones, read_tombstone
from ckpt_tier.errors import ConflictError, MissingKeyError
from ckpt_tier.flow.prune import AT_ONCE
from ckpt_tier.flow.retry import persistently
from ckpt_tier.store.protocol import Stat, Store
from ckpt_tier.system.clock import Clock

PROBE = ".ckpt-tier-probe"


class References(msgspec.Struct, frozen=True):
    """What the manifests of a series refer to.

    Attributes:
        members: (step, member id).
        unreadable: steps of manifests that can't be read: all their data counts as referred to.
        unknown: names among the manifests that this version can't read: the whole series counts as referred to.
        generations: (step, generation), readable or not.
    """

    members: frozenset[tuple[int, str]]
    unreadable: frozenset[int]
    unknown: tuple[str, ...] = ()
    generations: frozenset[tuple[int, str]] = frozenset()


class Loose(msgspec.Struct, frozen=True):
    """What nothing refers to, in one series. `waiting` has the second, by the store's clock, at which each frees."""

    due: tuple[Stat, ...] = ()
    waiting: tuple[tuple[float, Stat], ...] = ()
    unknown: tuple[str, ...] = ()


def find_loose(manifests: Manifests, series: str, grace: float, now: float) -> Loose:
    """Steps 1 to 4: what is due at `now`, by the store's clock, and what will be. `grace` in seconds.

    Raises UnavailableError, ConflictError (somebody else prunes at the same time).
    """
    before = _references(manifests, series)
    prefix = keys.data_prefix(manifests.run, series)
    tombstones = list_tombstones(manifests, {series: 0})
    data = list(manifests.store.list(prefix))
    notes = list(manifests.store.list(keys.notes_prefix(manifests.run, series)))
    after = _references(manifests, series)
    loose = sort_out(data, prefix, (before, after), tombstones, grace, now)
    promised = _promised(manifests, series, {_step_of(stat, prefix) for stat in loose.due}, tombstones)
    due = [stat for stat in loose.due if keys.parse_data_name(stat.key.removeprefix(prefix)) not in promised]
    pruned = {(step, generation): at for (_, step, generation), at in tombstones.items()}
    due += past_notes(notes, (before, after), pruned, grace, now)
    return msgspec.structs.replace(loose, due=tuple(due))


def past_notes(
    notes: Iterable[Stat],
    looks: tuple[References, References],
    pruned: Mapping[tuple[int, str], float],
    grace: float,
    now: float,
) -> Iterator[Stat]:
    """Which notes are metrics of a generation that is gone for good. Pure; `pruned` by (step, generation)."""
    if looks[0].unknown or looks[1].unknown:
        return
    committed = looks[0].generations | looks[1].generations
    for stat in notes:
        parsed = keys.parse_metric_name(stat.key.rpartition("/")[2])
        at = pruned.get(parsed[:2]) if parsed and parsed[:2] not in committed else None
        if at is not None and max(stat.modified, at) + grace < now:
            yield stat


def _step_of(stat: Stat, prefix: str) -> int:
    parsed = keys.parse_data_name(stat.key.removeprefix(prefix))
    return -1 if parsed is None else parsed[0]


def _promised(
    manifests: Manifests, series: str, steps: Collection[int], tombstones: Mapping[tuple[str, int, str], float]
) -> set[tuple[int, str]]:
    """(step, member id) of shares whose checkpoint is not whole yet: a late rank may still commit it, and the node that
    saved them may be gone. A receipt of what was committed once and pruned promises nothing."""
    root = keys.all_receipts_prefix(manifests.run, series)
    with_receipts = (
        {stat.key.removeprefix(root).partition("/")[0] for stat in manifests.store.list(root)} if steps else ()
    )
    found: set[tuple[int, str]] = set()
    for step in steps:
        if keys.step_name(step) in with_receipts:
            buried = {
                member.id
                for name, at, generation in tombstones
                if (name, at) == (series, step)
                for member in read_tombstone(manifests, series, step, generation).manifest.members
            }
            receipts, damaged = Receipts(manifests.store, manifests.run).of_step(series, step)
            if damaged:
                raise damaged[0]
            found |= {(step, receipt.member_id) for receipt in receipts if receipt.member_id not in buried}
    return found


def sort_out(
    data: Iterable[Stat],
    prefix: str,
    looks: tuple[References, References],
    tombstones: Mapping[tuple[str, int, str], float],
    grace: float,
    now: float,
) -> Loose:
    """Step 4: which of the objects below `prefix` nothing refers to. Pure."""
    if unknown := looks[0].unknown or looks[1].unknown:
        return Loose(unknown=unknown)
    members = looks[0].members | looks[1].members
    unreadable = looks[0].unreadable | looks[1].unreadable
    buried: dict[int, float] = {}
    for (_, step, _), at in tombstones.items():
        buried[step] = max(at, buried.get(step, at))
    due, waiting = [], []
    for stat in data:
        parsed = keys.parse_data_name(stat.key.removeprefix(prefix))
        if parsed is None or parsed in members or parsed[0] in unreadable:
            continue
        frees_at = max(stat.modified, buried.get(parsed[0], stat.modified)) + grace
        if frees_at < now:
            due.append(stat)
        else:
            waiting.append((frees_at, stat))
    return Loose(tuple(due), tuple(waiting))


def free(store: Store, due: Iterable[Stat], clock: Clock) -> Iterator[Stat]:
    """Steps 5 and 6, several objects at once; yields what was deleted. Raises UnavailableError, CancelledError."""

    def one(stat: Stat) -> Stat | None:
        clock.sleep(0)
        return stat if persistently(lambda: _free_one(store, stat), clock) else None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            yield from (stat for stat in pool.map(one, due) if stat is not None)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _free_one(store: Store, seen: Stat) -> bool:
    try:
        # A listing and a HEAD may round the same second differently; what is written anew is hours younger.
        if store.stat(seen.key).modified > seen.modified + 1.0:
            return False  # a commit is under way
    except MissingKeyError:
        return False
    store.delete(seen.key)
    return True


def store_now(store: Store, name: str) -> float:
    """The store's own clock, in whole seconds where it notes no finer: by putting a small object, named `name`."""
    key = f"{PROBE}/{name}"
    store.put(key, b"what time is it?")
    try:
        return store.stat(key).modified
    finally:
        store.delete(key)


def _references(manifests: Manifests, series: str) -> References:
    prefix = keys.manifests_prefix(manifests.run, series)
    entries, unknown = [], []
    for stat in manifests.store.list(prefix):
        name = stat.key.removeprefix(prefix)
        parsed = keys.parse_manifest_name(name)
        if parsed is None:
            unknown.append(name)
        else:
            entries.append(Entry(series, *parsed, stat.modified))
    try:
        found, damaged = manifests.read_all(entries)
    except MissingKeyError as error:
        raise ConflictError(
            f"a manifest of series {series!r} disappeared while it was read",
            "somebody else prunes at the same time",
            "run it again; what was begun goes on where it stopped",
        ) from error
    return References(
        members=frozenset((entry.step, member.id) for entry, manifest in found.items() for member in manifest.members),
        unreadable=frozenset(entry.step for entry in damaged),
        unknown=tuple(unknown),
        generations=frozenset((entry.step, entry.generation) for entry in entries),
    )
