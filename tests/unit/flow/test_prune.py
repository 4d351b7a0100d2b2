"""Pruning the cold tier: what is removed, what is freed when, and what every kill in between leaves."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.cold.documents import decode
from ckpt_tier.cold.manifest import Manifest, check
from ckpt_tier.cold.manifests import Entry
from ckpt_tier.cold.tombstones import read_tombstone
from ckpt_tier.core.events import Committed, Note
from ckpt_tier.core.retention import KeepBest, KeepEvery, KeepFor, KeepLast, Policy
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import ConflictError, IntegrityError, NotFoundError
from ckpt_tier.flow import reclaim
from ckpt_tier.flow.prune import rule
from ckpt_tier.flow.reclaim import References, sort_out
from ckpt_tier.hot.holds import hold
from ckpt_tier.pruning import Pruning
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.protocol import Stat
from tests.builders import SteppedClock, TwoTiers, manifest
from tests.kills import STRIDE, dying_at, killed_at, one_thread

DAY = 86_400.0
LONG_AGO = 1_700_000_000.0
"""2023: before any tombstone that these tests write, which has the file system's time."""


class EarlyClock(SteppedClock):
    """Starts long ago."""

    def __init__(self) -> None:
        super().__init__(LONG_AGO)

    def monotonic(self) -> float:
        return self.time - LONG_AGO


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    """Two tiers that keep the newest two and every third step in the cold one."""
    return prepared(tmp_path)


def prepared(root: Path) -> TwoTiers:
    made = TwoTiers(root, EarlyClock())
    made.set(cold={"keep_last": 2, "keep_every": 3})
    return made


def filled(tiers: TwoTiers) -> TwoTiers:
    """Six committed steps, 0 to 5, of which retention keeps 0, 3, 4 and 5; the hot tier keeps 4 and 5."""
    for step in range(6):
        tiers.write(step)
    tiers.sync()
    return tiers


def prune(tiers: TwoTiers) -> tuple[list[int], int]:
    """A whole prune, as the command does it: the steps that went, and the bytes that were freed."""
    pruning = Pruning(tiers.wiring())
    plan = pruning.cold_plan()
    gone = [ruling.step for ruling, went in pruning.remove(plan) if went]
    return gone, sum(stat.size for stat in pruning.free(plan, pruning.look_for_loose(plan)))


def age(tiers: TwoTiers, days: float, below: str = "") -> None:
    """Makes every object below a folder of the run older, as its store's clock sees it."""
    for path in (tiers.cold / "run" / below).rglob("*"):
        if path.is_file():
            seen = path.stat().st_mtime
            os.utime(path, (seen - days * DAY, seen - days * DAY))


def data(tiers: TwoTiers) -> list[int]:
    """The steps that still have data in the cold tier."""
    return sorted(int(path.name) for path in (tiers.cold / "run/0/data").iterdir())


def tombstones(tiers: TwoTiers) -> list[int]:
    folder = tiers.cold / "run/0/tombstones"
    return sorted(int(path.name.partition(".")[0]) for path in folder.glob("*")) if folder.exists() else []


def committed(tiers: TwoTiers) -> list[Manifest]:
    """Every manifest, and each object that it names is there and right."""
    found = []
    for path in sorted((tiers.cold / "run/0/manifests").glob("*.json")):
        key = path.relative_to(tiers.cold).as_posix()
        one = check(decode(path.read_bytes(), Manifest, key), key)
        for file in one.files:
            assert (tiers.cold / file.key).stat().st_size == file.size, file.key
        found.append(one)
    return found


def test_what_no_rule_keeps_is_removed_and_its_data_stays_for_the_grace(tiers: TwoTiers) -> None:
    filled(tiers)
    assert prune(tiers) == ([1, 2], 0)
    assert (tiers.cold_steps(), tombstones(tiers), data(tiers)) == ([0, 3, 4, 5], [1, 2], [0, 1, 2, 3, 4, 5])
    age(tiers, 6.9)
    assert prune(tiers) == ([], 0)
    age(tiers, 0.2)
    assert prune(tiers)[1] > 0
    assert (tiers.cold_steps(), tombstones(tiers), data(tiers)) == ([0, 3, 4, 5], [1, 2], [0, 3, 4, 5])
    assert len(committed(tiers)) == 4


def test_the_grace_begins_with_the_prune_however_old_the_data_is(tiers: TwoTiers) -> None:
    filled(tiers)
    age(tiers, 365)
    assert prune(tiers) == ([1, 2], 0)
    assert prune(tiers) == ([], 0)
    assert data(tiers) == [0, 1, 2, 3, 4, 5]


def test_a_tombstone_says_when_why_by_which_policy_and_how_much(tiers: TwoTiers) -> None:
    filled(tiers)
    before = {one.step: one for one in committed(tiers)}
    prune(tiers)
    manifests = tiers.wiring().cold.manifests
    found = read_tombstone(manifests, "0", 1, before[1].generation)
    assert found.pruned_at == format_time(tiers.clock.now())
    assert found.policy == ("keep_last = 2", "keep_every = 3")
    assert found.reasons == ("not one of the newest 2", "no multiple of 3 steps")
    assert (found.size_bytes, found.manifest) == (before[1].size, before[1])


def test_without_a_rule_in_the_cold_tier_everything_is_kept(tiers: TwoTiers) -> None:
    tiers.set(cold={"keep_last": None, "keep_every": None})
    filled(tiers)
    assert prune(tiers) == ([], 0)
    assert tiers.cold_steps() == [0, 1, 2, 3, 4, 5]


def test_pins_and_holds_are_stronger_than_the_policy_and_a_pin_is_looked_for_until_the_last_moment(
    tiers: TwoTiers,
) -> None:
    filled(tiers)
    tiers.write(6)
    tiers.write(7)
    tiers.write(8)
    tiers.sync()
    pruning = Pruning(tiers.wiring())
    pruning.pin(1, None, "for the paper")
    hold(tiers.hot, "0", 2, tiers.clock.now() + 60)
    plan = pruning.cold_plan()
    assert [r.step for r in plan.removals] == [4, 5]
    reasons = {r.step: r.reasons for r in plan.rulings}
    assert reasons[1] == ("pinned: for the paper",)
    assert reasons[2][0].startswith("restored, and held until")
    Pruning(tiers.wiring()).pin(4, "0", "")
    hold(tiers.hot, "0", 5, tiers.clock.now() + 60)
    assert [(ruling.step, went) for ruling, went in pruning.remove(plan)] == [(4, False), (5, False)]
    assert 4 in tiers.cold_steps()
    pruning.unpin(4, None)
    with pytest.raises(NotFoundError):
        pruning.unpin(4, None)
    assert [r.step for r in pruning.cold_plan().removals] == [4]


def test_a_step_that_is_pinned_between_the_plan_and_its_turn_stays(tiers: TwoTiers) -> None:
    filled(tiers)
    pruning = Pruning(tiers.wiring())
    plan = pruning.cold_plan()
    with mock.patch.object(Pruning, "_protected", return_value={}):
        pruning.pin(1, None, "")
        assert sorted((ruling.step, went) for ruling, went in pruning.remove(plan)) == [(1, False), (2, True)]
    assert (tiers.cold_steps(), tombstones(tiers)) == ([0, 1, 3, 4, 5], [2])


def test_a_pin_needs_a_step_that_is_somewhere_and_says_when_it_came_too_late(tiers: TwoTiers) -> None:
    filled(tiers)
    pruning = Pruning(tiers.wiring())
    with pytest.raises(NotFoundError, match="step 99 of series '0' is not in the cold tier"):
        pruning.pin(99, None, "")
    tiers.write(99)
    assert [pin.series for pin in pruning.pin(99, None, "")] == ["0"]
    real_put = FolderStore.put

    def put_and_prune(store: FolderStore, key: str, data: bytes, *, if_absent: bool = False) -> None:
        real_put(store, key, data, if_absent=if_absent)
        for path in (tiers.cold / "run/0/manifests").glob("000000000001.*"):
            path.unlink()

    with (
        mock.patch.object(FolderStore, "put", put_and_prune),
        pytest.raises(ConflictError, match="step 1 of series '0' was pruned at the same moment"),
    ):
        pruning.pin(1, None, "")


# A hot copy of what was pruned


def test_a_hot_copy_of_a_pruned_generation_is_not_uploaded_again_even_without_a_journal(tiers: TwoTiers) -> None:
    tiers.set(hot={"keep_last": 6})
    filled(tiers)
    prune(tiers)
    tiers.set(hot={"keep_last": 2})
    for _ in range(2):
        tiers.lose_journal()
        tiers.events.clear()
        tiers.sync()
        assert tiers.cold_steps() == [0, 3, 4, 5]
        assert tiers.hot_steps() == [1, 2, 4, 5]
        assert all(event.adopted for event in tiers.happened(Committed) if isinstance(event, Committed))
    notes = [event.text for event in tiers.happened(Note) if isinstance(event, Note)]
    assert len(notes) == 2
    assert "is not uploaded again: pruned from the cold tier on" in notes[0]
    assert tiers.operations().status().attention == ()
    assert tiers.operations().status().queue.count == 0


def test_a_worker_whose_listing_is_older_than_the_prune_commits_nothing_of_it(tiers: TwoTiers) -> None:
    tiers.set(hot={"keep_last": 6})
    filled(tiers)
    prune(tiers)
    tiers.set(hot={"keep_last": 2})
    with tiers.syncing() as syncing:
        with mock.patch("ckpt_tier.flow.observe.list_tombstones", return_value={}):
            syncing.list_cold()
        while syncing.advance():
            pass
        assert syncing.attention() is None
    assert tiers.cold_steps() == [0, 3, 4, 5]
    assert tiers.hot_steps() == [1, 2, 4, 5]


def test_the_same_bytes_saved_again_after_the_prune_are_committed_again(tiers: TwoTiers) -> None:
    filled(tiers)
    prune(tiers)
    tiers.clock.time = tiers.cold.stat().st_mtime + 3600
    tiers.write(1)
    tiers.sync()
    assert tiers.cold_steps() == [0, 1, 3, 4, 5]
    assert tombstones(tiers) == [1, 2]
    age(tiers, 8)
    prune(tiers)
    assert data(tiers) == [0, 1, 3, 4, 5]
    assert {one.step for one in committed(tiers)} == {0, 1, 3, 4, 5}


def test_a_prune_can_be_undone_by_hand_while_the_data_is_there(tiers: TwoTiers) -> None:
    filled(tiers)
    prune(tiers)
    [buried] = (tiers.cold / "run/0/tombstones").glob("000000000001.*")
    taken = json.loads(buried.read_text())["manifest"]
    (tiers.cold / "run/0/manifests" / buried.name).write_text(json.dumps(taken))
    [restored] = tiers.restored(step=1)
    assert restored.step == 1
    assert 1 in {one.step for one in committed(tiers)}


# Freeing data: what a commit is about to refer to stays


def interrupted_upload(tiers: TwoTiers) -> Path:
    """Data of step 9 that nothing refers to: its upload was killed before the manifest."""
    tiers.write(9)
    killed = mock.patch("ckpt_tier.flow.delivery.commit", side_effect=KeyboardInterrupt)
    with one_thread(), killed, pytest.raises(KeyboardInterrupt):
        tiers.sync()
    [path] = (tiers.cold / "run/0/data/000000000009").rglob("*.pt")
    return path


def test_data_of_an_unfinished_upload_is_freed_once_it_is_older_than_the_grace(tiers: TwoTiers) -> None:
    filled(tiers)
    path = interrupted_upload(tiers)
    age(tiers, 6.9)
    prune(tiers)
    assert path.exists()
    age(tiers, 0.2)
    prune(tiers)
    assert not path.exists()
    tiers.sync()
    assert 9 in {one.step for one in committed(tiers)}


def test_what_a_commit_adopts_and_finds_older_than_half_the_grace_is_written_anew(tiers: TwoTiers) -> None:
    filled(tiers)
    path = interrupted_upload(tiers)
    for days, renewed in ((3.0, False), (1.0, True)):
        age(tiers, days)
        before = path.stat().st_mtime
        killed = mock.patch("ckpt_tier.flow.delivery.commit", side_effect=KeyboardInterrupt)
        with one_thread(), killed, pytest.raises(KeyboardInterrupt):
            tiers.sync()
        assert (path.stat().st_mtime > before + DAY) == renewed
    tiers.sync()
    assert 9 in {one.step for one in committed(tiers)}


def test_a_commit_between_the_two_listings_saves_its_data(tiers: TwoTiers) -> None:
    filled(tiers)
    interrupted_upload(tiers)
    age(tiers, 8)
    with mock.patch("ckpt_tier.flow.upload._renew"):  # so that only the second listing can save it
        pruning = Pruning(tiers.wiring())
        plan = pruning.cold_plan()
        assert len(plan.due) == 2
        list_data = FolderStore.list
        done = []

        def list_and_commit(store: FolderStore, prefix: str, after: str = "") -> Iterator[Stat]:
            found = list(list_data(store, prefix, after))
            if "/data/" in prefix and not done:
                done.append(True)
                tiers.sync()
            return iter(found)

        with mock.patch.object(FolderStore, "list", list_and_commit):
            assert list(pruning.free(plan, pruning.look_for_loose(plan))) == []
    assert done
    assert 9 in {one.step for one in committed(tiers)}


def test_what_was_written_anew_since_the_listing_is_not_deleted(tiers: TwoTiers) -> None:
    filled(tiers)
    path = interrupted_upload(tiers)
    age(tiers, 8)
    pruning = Pruning(tiers.wiring())
    plan = pruning.cold_plan()
    found = pruning.look_for_loose(plan)
    os.utime(path)
    assert [stat.key for stat in pruning.free(plan, found) if stat.key.endswith(".pt")] == []
    assert path.exists()


def test_only_what_the_plan_showed_is_freed(tiers: TwoTiers) -> None:
    filled(tiers)
    pruning = Pruning(tiers.wiring())
    plan = pruning.cold_plan()
    path = interrupted_upload(tiers)
    age(tiers, 8)
    assert list(pruning.free(plan, pruning.look_for_loose(plan))) == []
    assert path.exists()


def test_a_manifest_that_can_not_be_read_is_kept_and_protects_the_data_of_its_step(tiers: TwoTiers) -> None:
    filled(tiers)
    shutil.rmtree(tiers.state_dir)  # with its cache of manifests
    [path] = (tiers.cold / "run/0/manifests").glob("000000000001.*")
    path.write_text("{}")
    age(tiers, 400)
    plan = Pruning(tiers.wiring()).cold_plan()
    assert [r.step for r in plan.removals] == [2]
    [ruling] = [r for r in plan.rulings if r.step == 1]
    assert "can't be trusted" in ruling.reasons[0]
    assert [type(error) for error in plan.untrusted.values()] == [IntegrityError]
    prune(tiers)
    age(tiers, 8)
    prune(tiers)
    assert data(tiers) == [0, 1, 3, 4, 5]


def test_a_name_among_the_manifests_that_is_not_understood_protects_the_series(tiers: TwoTiers) -> None:
    filled(tiers)
    prune(tiers)
    age(tiers, 8)
    strange = tiers.cold / "run/0/manifests/000000000001.v2.cbor"
    strange.write_bytes(b"of a later version")
    assert prune(tiers) == ([], 0)
    assert Pruning(tiers.wiring()).cold_plan().loose["0"].unknown == ("000000000001.v2.cbor",)
    strange.unlink()
    assert prune(tiers)[1] > 0


def test_two_prunes_at_once_end_as_one_does(tiers: TwoTiers) -> None:
    filled(tiers)
    first, second = Pruning(tiers.wiring()), Pruning(tiers.wiring())
    plans = first.cold_plan(), second.cold_plan()
    assert [went for _, went in first.remove(plans[0])] == [True, True]
    assert [went for _, went in second.remove(plans[1])] == [True, True]
    assert (tiers.cold_steps(), tombstones(tiers)) == ([0, 3, 4, 5], [1, 2])
    age(tiers, 8)
    plans = first.cold_plan(), second.cold_plan()
    found = first.look_for_loose(plans[0]), second.look_for_loose(plans[1])
    assert len(list(first.free(plans[0], found[0]))) == 4
    assert list(second.free(plans[1], found[1])) == []


def test_a_manifest_that_goes_while_it_is_read_is_another_prune(tiers: TwoTiers) -> None:
    filled(tiers)
    gone = pytest.raises(ConflictError, match="disappeared while it was read")
    ghost = Entry("0", 2, "0" * 16, 1.0)
    with mock.patch("ckpt_tier.cold.manifests.Manifests.entries_from", return_value=[ghost]), gone:
        Pruning(tiers.wiring()).cold_plan()
    listed = Stat(f"run/0/manifests/{2:012d}.{'0' * 16}.json", 1, None, 1.0)
    gone = pytest.raises(ConflictError, match="disappeared while it was read")
    with mock.patch.object(FolderStore, "list", return_value=[listed]), gone:
        reclaim.find_loose(tiers.wiring().cold.manifests, "0", DAY, 0.0)


# Killed between every two lines


@pytest.mark.parametrize("old", [False, True], ids=["while removing", "while freeing"])
@dying_at(range(STRIDE), "first")
def test_a_prune_killed_anywhere_leaves_every_checkpoint_whole_or_pruned_and_the_next_one_ends_it(
    tmp_path: Path, old: bool, first: int
) -> None:
    template = filled(prepared(tmp_path / "template"))
    if old:
        prune(template)
        age(template, 8)
    count, survived = first, True
    while survived:
        root = tmp_path / str(count)
        shutil.copytree(template.root, root)
        tiers = prepared(root)
        tiers.clock.time = template.clock.time
        survived = False
        with one_thread(), killed_at(count) as countdown:
            prune(tiers)
        survived = countdown.left < 0
        kept = {one.step for one in committed(tiers)}
        assert kept >= {0, 3, 4, 5}
        assert kept | set(tombstones(tiers)) == {0, 1, 2, 3, 4, 5}, "neither committed nor pruned"
        if not old:
            assert data(tiers) == [0, 1, 2, 3, 4, 5], "data went before its grace"
        prune(tiers)
        assert {one.step for one in committed(tiers)} == {0, 3, 4, 5}
        assert tombstones(tiers) == [1, 2]
        age(tiers, 8)
        prune(tiers)
        assert data(tiers) == [0, 3, 4, 5]
        assert len(committed(tiers)) == 4
        shutil.rmtree(root)
        count += STRIDE
    assert count > 12, "the kills came to an end too soon to have met every line"


# The pure decisions

GENERATIONS = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 20), st.sampled_from([{}, {"loss": 1.0}, {"loss": 2.0}])),
    max_size=10,
    unique_by=lambda each: each[0],
)
RULES = st.lists(
    st.sampled_from([KeepLast(1), KeepLast(3), KeepEvery(2), KeepBest("loss", "min", 1), KeepFor(5.0)]), max_size=3
)


@given(RULES, GENERATIONS, st.sets(st.integers(0, 8)), st.sets(st.integers(0, 8), max_size=2))
def test_whatever_the_policy_pins_and_the_newest_stay_and_a_second_plan_removes_nothing_more(
    rules: list[KeepLast | KeepEvery | KeepBest | KeepFor],
    history: list[tuple[int, int, dict[str, float]]],
    pinned: set[int],
    unreadable: set[int],
) -> None:
    found, damaged = {}, {}
    for step, saved, metrics in history:
        one = manifest(step, saved_at=format_time(saved), metrics=metrics)
        entry = Entry("0", step, one.generation, 0.0)
        if step in unreadable:
            damaged[entry] = IntegrityError("no manifest")
        else:
            found[entry] = one
    protected = {("0", step): "pinned" for step in pinned}
    rulings = rule(Policy(tuple(rules)), found, damaged, protected, now=100.0)
    assert [r.step for r in rulings] == sorted(each[0] for each in history)
    kept = {r.step for r in rulings if r.kept}
    assert kept >= (pinned | unreadable) & {each[0] for each in history}
    assert all(r.reasons for r in rulings)
    assert all(r.reasons[0] == "pinned" for r in rulings if r.step in pinned - unreadable)
    if found:
        assert max(found, key=lambda e: (found[e].saved, e.step)).step in kept
        assert max(found, key=lambda e: (e.step, found[e].saved)).step in kept
    left = {entry: one for entry, one in found.items() if entry.step in kept}
    assert all(r.kept for r in rule(Policy(tuple(rules)), left, damaged, protected, now=100.0))


MEMBER, OTHER = "a" * 16, "b" * 16
PREFIX = "run/0/data/"


def stat_of(step: int, member: str, name: str = "x.pt", modified: float = 0.0) -> Stat:
    return Stat(f"{PREFIX}{step:012d}/{member}/{name}", 1, None, modified)


def test_a_member_that_another_generation_shares_is_referred_to() -> None:
    shared, own = stat_of(1, MEMBER), stat_of(1, OTHER)
    none = References(frozenset(), frozenset())
    one = References(frozenset({(1, MEMBER)}), frozenset())
    for looks in ((one, none), (none, one), (one, one)):
        loose = sort_out([shared, own], PREFIX, looks, {}, 10.0, 100.0)
        assert loose.due == (own,)
    assert sort_out([stat_of(2, MEMBER)], PREFIX, (one, one), {}, 10.0, 100.0).due == (stat_of(2, MEMBER),)


def test_data_frees_a_grace_after_its_last_write_and_after_the_last_tombstone_of_its_step() -> None:
    none = References(frozenset(), frozenset())
    stat = stat_of(1, MEMBER, modified=50.0)
    for buried, at in (({}, 60.0), ({("0", 1, "g"): 70.0, ("0", 1, "h"): 65.0}, 80.0), ({("0", 2, "g"): 70.0}, 60.0)):
        assert sort_out([stat], PREFIX, (none, none), buried, 10.0, at).waiting == ((at, stat),)
        assert sort_out([stat], PREFIX, (none, none), buried, 10.0, at + 1).due == (stat,)


@pytest.mark.parametrize(
    "name", ["notes.txt", "000000000001/x.pt", "1/aaaaaaaaaaaaaaaa/x", f"000000000001/{'A' * 16}/x"]
)
def test_what_is_no_member_s_file_is_never_touched(name: str) -> None:
    none = References(frozenset(), frozenset())
    loose = sort_out([Stat(PREFIX + name, 1, None, 0.0)], PREFIX, (none, none), {}, 1.0, 10**9)
    assert (loose.due, loose.waiting) == ((), ())


def test_a_hostile_tombstone_is_not_believed(tiers: TwoTiers) -> None:
    filled(tiers)
    prune(tiers)
    [buried] = (tiers.cold / "run/0/tombstones").glob("000000000001.*")
    generation = buried.name.split(".")[1]
    manifests = tiers.wiring().cold.manifests
    found = read_tombstone(manifests, "0", 1, generation)
    for wrong in (
        msgspec.structs.replace(found, format=2),
        msgspec.structs.replace(found, manifest=msgspec.structs.replace(found.manifest, step=2)),
    ):
        buried.write_bytes(msgspec.json.encode(wrong))
        with pytest.raises(IntegrityError):
            read_tombstone(manifests, "0", 1, generation)
