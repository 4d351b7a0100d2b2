"""Resuming from the newest good checkpoint, on whichever tier."""

import os
from pathlib import Path

import pytest

from ckpt_tier.core.events import PassedOver, Warned
from ckpt_tier.errors import ConflictError, NotFoundError, UnavailableError, UsageError
from ckpt_tier.operations import Restored
from ckpt_tier.pruning import Pruning
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.folder_paths import MARKER
from ckpt_tier.store.protocol import Blocks
from tests.builders import TwoTiers, checkpoint, flip_a_bit


class GoneAmidReading(FolderStore):
    """Lists and answers, but gives no bytes."""

    def read(self, key: str, offset: int, length: int) -> Blocks:
        raise UnavailableError("gone amid the fetch")
        yield memoryview(b"")


@pytest.fixture
def trained(tiers: TwoTiers) -> TwoTiers:
    """Steps 1 and 2 are committed and on the hot tier as well."""
    tiers.write(1)
    tiers.write(2)
    tiers.sync()
    return tiers


def latest(tiers: TwoTiers, to: Path | None = None) -> Restored:
    [back] = tiers.restored(step=None, to=to)
    return back


def reasons(tiers: TwoTiers) -> dict[int, str]:
    return {event.step: event.reason for event in tiers.events if isinstance(event, PassedOver)}


def replaced(tiers: TwoTiers) -> list[Path]:
    return list((tiers.hot / ".ckpt-tier/replaced").glob("*"))


def test_a_save_that_was_never_committed_is_resumed_from_where_it_lies(trained: TwoTiers) -> None:
    path = trained.write(3)
    back = latest(trained)
    assert (back.step, back.path, back.committed, back.fetched_bytes) == (3, path, False, 0)
    generation = back.generation
    trained.sync()
    assert latest(trained).committed
    assert latest(trained).generation == generation, "it is committed under the name that was told"


def test_a_save_that_was_never_committed_is_copied_where_it_is_asked_for(trained: TwoTiers) -> None:
    trained.write(3)
    back = latest(trained, trained.root / "to")
    assert back.path == trained.root / "to/model_gpu0/model_step_3.pt"
    assert back.path.read_bytes() == checkpoint(3)


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_hot_save_is_passed_over_with_its_reason_and_stays(trained: TwoTiers, cut: bool) -> None:
    path = trained.write(3)
    os.truncate(path, 500) if cut else flip_a_bit(path)
    trained.touch(path)
    before = path.read_bytes()
    assert latest(trained).step == 2
    assert "model_step_3.pt on the hot tier is damaged" in reasons(trained)[3]
    assert path.read_bytes() == before


def test_bit_rot_in_the_hot_copy_of_a_committed_step_is_mended_from_the_cold_tier(trained: TwoTiers) -> None:
    path = trained.path(2, "0")
    flip_a_bit(path)
    rotten = path.read_bytes()
    back = latest(trained)
    assert (back.step, back.committed) == (2, True)
    assert path.read_bytes() == checkpoint(2)
    [aside] = replaced(trained)
    assert aside.read_bytes() == rotten, "what was damaged is moved, never deleted"


def test_a_truncated_hot_copy_of_a_committed_step_is_named_and_mended(trained: TwoTiers) -> None:
    path = trained.path(2, "0")
    os.truncate(path, 500)
    trained.touch(path)
    assert latest(trained).step == 2
    assert "damaged" in reasons(trained)[2]
    assert path.read_bytes() == checkpoint(2)
    assert len(replaced(trained)) == 1


def test_a_step_that_was_asked_for_is_not_mended_but_its_damage_is_said(trained: TwoTiers) -> None:
    path = trained.path(2, "0")
    flip_a_bit(path)
    rotten = path.read_bytes()
    with pytest.raises(ConflictError, match="is damaged: it has the size and time") as caught:
        trained.restored(step=2)
    assert "--force" in caught.value.fix
    assert path.read_bytes() == rotten


def test_with_the_cold_tier_away_the_newest_good_hot_copy_is_taken_with_a_warning(trained: TwoTiers) -> None:
    flip_a_bit(trained.path(2, "0"))
    (trained.cold / MARKER).rename(trained.root / "marker")
    back = latest(trained)
    assert (back.step, back.path) == (1, trained.path(1, "0"))
    assert "is damaged" in reasons(trained)[2]
    [warned] = [event for event in trained.events if isinstance(event, Warned)]
    assert "a newer checkpoint may be in the cold one" in warned.text
    assert not replaced(trained)


def test_with_the_cold_tier_away_and_nothing_hot_it_is_the_cold_tier_that_is_missing(trained: TwoTiers) -> None:
    for path in trained.hot.rglob("*.pt"):
        path.unlink()
    (trained.cold / MARKER).rename(trained.root / "marker")
    with pytest.raises(UnavailableError):
        latest(trained)


def test_with_the_cold_tier_away_amid_the_fetch_an_older_copy_that_lies_here_is_taken(trained: TwoTiers) -> None:
    trained.path(2).unlink()
    store = GoneAmidReading(trained.cold)
    [back] = trained.restored(step=None, store=store)
    assert (back.step, back.fetched_bytes) == (1, 0)
    assert any("the cold tier is away" in event.text for event in trained.events if isinstance(event, Warned))


def test_what_was_committed_before_the_cold_tier_went_away_is_not_called_uncommitted(trained: TwoTiers) -> None:
    (trained.cold / MARKER).unlink()
    assert latest(trained).committed


def test_a_series_or_a_rank_that_is_a_slip_is_no_first_start(trained: TwoTiers) -> None:
    with pytest.raises(UsageError, match="there is no series 'typo'"):
        trained.restored(step=None, series=["typo"])
    with pytest.raises(UsageError, match="has no rank 9"):
        trained.restored(step=None, rank=9)


def test_a_folder_that_nobody_has_called_complete_is_passed_over(tmp_path: Path) -> None:
    tiers = TwoTiers(tmp_path, layout="checkpoint-{step}/")
    for step in (1, 2):
        folder = tiers.hot / f"checkpoint-{step}"
        folder.mkdir()
        for name in ("model.pt", "optimizer.pt"):
            (folder / name).write_bytes(checkpoint(step))
        if step == 1:
            tiers.sync()
    assert latest(tiers).step == 1
    assert "nobody knows whether checkpoint-2 is complete" in reasons(tiers)[2]


def test_before_the_first_sync_the_hot_tier_alone_is_looked_at(tiers: TwoTiers) -> None:
    tiers.write(1)
    assert latest(tiers).step == 1
    assert tiers.tier().restore().step == 1


def test_where_there_is_nothing_it_is_no_such_checkpoint(tiers: TwoTiers) -> None:
    with pytest.raises(NotFoundError, match="no checkpoint yet"):
        latest(tiers)


def test_a_save_that_is_open_for_writing_is_passed_over(trained: TwoTiers) -> None:
    with trained.write(3).open("ab"):
        assert latest(trained).step == 2
    assert "open for writing" in reasons(trained)[3]


def test_shares_are_resumed_from_only_as_a_whole_set(tmp_path: Path) -> None:
    tiers = TwoTiers(tmp_path, layout="step_{step}/rank_{rank}.pt", ranks=2)
    for step, ranks in ((1, 2), (2, 1)):
        for rank in range(ranks):
            path = tiers.hot / f"step_{step}/rank_{rank}.pt"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(checkpoint(step, rank))
            tiers.touch(path)
    [back] = tiers.restored(step=None)
    assert (back.step, back.path, len(back.files)) == (1, tiers.hot / "step_1", 2)
    assert reasons(tiers) == {2: "waits for rank 1 of 2"}


def test_a_share_that_only_the_hook_knows_as_one_is_no_whole_checkpoint(trained: TwoTiers) -> None:
    path = trained.write(3)
    trained.tier().saved(path, 3, rank=0, world_size=6)
    assert latest(trained).step == 2
    assert reasons(trained) == {3: "waits for ranks 1, 2, 3, 4, 5 of 6"}


def with_a_pruned_step(tiers: TwoTiers) -> TwoTiers:
    """Step 3 was pruned from the cold tier, and the newest, 4, is damaged on both tiers."""
    tiers.set(hot={"keep_last": 9}, cold={"keep_last": 1, "keep_every": 2})
    tiers.write(3)
    damaged = tiers.write(4)
    tiers.sync()
    pruning = Pruning(tiers.wiring())
    assert [ruling.step for ruling, went in pruning.remove(pruning.cold_plan()) if went] == [1, 3]
    for tombstone in (tiers.cold / "run/0/tombstones").iterdir():
        tiers.touch(tombstone)
    [data] = (tiers.cold / "run/0/data/000000000004").rglob("*.pt")
    data.unlink()
    flip_a_bit(damaged)
    return tiers


def test_what_was_pruned_from_the_cold_tier_does_not_come_back_by_itself(trained: TwoTiers) -> None:
    with_a_pruned_step(trained)
    assert latest(trained).step == 2
    assert "it was pruned from the cold tier on " in reasons(trained)[3]
    trained.lose_journal()
    assert latest(trained).step == 2, "its bytes are told without the journal"
    assert trained.path(3).exists()


def test_what_was_saved_again_after_its_prune_is_resumed_from(trained: TwoTiers) -> None:
    with_a_pruned_step(trained)
    trained.clock.sleep(60)
    trained.touch(trained.path(3))
    assert latest(trained).step == 3


def test_with_the_cold_tier_away_nobody_can_tell_that_a_copy_was_pruned(trained: TwoTiers) -> None:
    with_a_pruned_step(trained)
    (trained.cold / MARKER).unlink()
    assert latest(trained).step == 3
