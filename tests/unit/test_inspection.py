"""Which checkpoint `inspect` means, and where it is read."""

from pathlib import Path

import pytest

from ckpt_tier.core.nouns import FileStamp, Stamp, stamp_of
from ckpt_tier.core.states import State
from ckpt_tier.errors import IntegrityError, NotFoundError, SourceChangedError, UsageError
from ckpt_tier.inspection import Inspection, at_path
from ckpt_tier.journal.journal import Journal
from ckpt_tier.journal.saves import Save, SavedFile
from ckpt_tier.tensors.content import read_tensor
from tests.builders import TwoTiers


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    tiers = TwoTiers(tmp_path)
    for step in (5, 10, 15):
        tiers.write(step)
    tiers.sync()
    return tiers


def inspection(tiers: TwoTiers) -> Inspection:
    return Inspection(tiers.wiring())


def test_a_step_that_was_evicted_is_read_from_the_cold_tier(tiers: TwoTiers) -> None:
    assert tiers.hot_steps() == [10, 15]
    assert [inspection(tiers).checkpoint(step).where for step in (5, 10)] == ["cold", "hot"]
    found = inspection(tiers).checkpoint(5)
    [held] = found.catalogues()
    assert [tensor.name for tensor in held.tensors] == ["model.w"]
    with found.files[0].open() as reader:
        assert read_tensor(reader, held, held.tensors[0]).verified


def test_the_api_gives_the_same(tiers: TwoTiers) -> None:
    [held] = tiers.tier().inspect(5)
    assert {entry.name: entry.value for entry in held.entries} == {"step": "5", "lr": "0.1"}


def test_the_latest_is_the_hot_one_where_it_was_saved_later_than_all_that_is_committed(tiers: TwoTiers) -> None:
    [newest] = (tiers.cold / "run/0/manifests").glob("000000000015.*")
    newest.unlink()
    assert inspection(tiers).checkpoint(None).step == 15
    assert inspection(tiers).checkpoint(None, tier="cold").step == 10


def test_while_the_cold_tier_is_away_the_hot_one_is_shown_with_a_note(tiers: TwoTiers) -> None:
    tiers.cold.rename(tiers.root / "away")
    found = inspection(tiers).checkpoint(None)
    assert (found.step, found.where) == (15, "hot")
    assert "the cold tier was left out" in found.notes[0]
    assert inspection(tiers).checkpoint(10).notes == ()


def test_several_series_and_none_named_is_an_error(tiers: TwoTiers) -> None:
    tiers.write(15, series="1")
    tiers.sync()
    for tier in ("hot", "cold"):
        with pytest.raises(UsageError, match="there are the series 0, 1"):
            inspection(tiers).checkpoint(15, tier=tier)  # type: ignore[arg-type]
    assert inspection(tiers).checkpoint(15, series="1").series == "1"


def test_a_missing_object_is_an_integrity_error_that_names_it(tiers: TwoTiers) -> None:
    found = inspection(tiers).checkpoint(5)
    [key] = [key for key in tiers.objects() if "/data/000000000005/" in key and key.endswith(".pt")]
    (tiers.cold / key).unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        list(found.catalogues())


def test_a_file_that_changes_while_it_is_read_is_not_believed(tiers: TwoTiers) -> None:
    found = inspection(tiers).checkpoint(15)
    with pytest.raises(SourceChangedError), found.files[0].open():
        tiers.path(15).write_bytes(b"other")


def test_shares_on_the_hot_tier_count_as_a_checkpoint_only_together(tiers: TwoTiers) -> None:
    def share(rank: int) -> Save:
        path = tiers.write(20 + rank)
        status = path.stat()
        stamp = Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
        name = path.relative_to(tiers.hot).as_posix()
        return Save(
            series="ranked",
            step=7,
            path=name,
            stamp=stamp_of([FileStamp(name, stamp)]),
            files=(SavedFile(path=name, stamp=stamp),),
            saved_at=float(rank),
            rank=rank,
            world_size=2,
            state=State.VALIDATED,
            generation="0" * 16,
        )

    journal = Journal.open(tiers.state_dir)
    journal.put(share(0))
    assert inspection(tiers).checkpoint(7, rank=0, tier="hot").step == 7
    with pytest.raises(NotFoundError):
        inspection(tiers).checkpoint(7, tier="hot")
    journal.put(share(1))
    journal.close()
    assert len(inspection(tiers).checkpoint(7, tier="hot").files) == 2


def test_hidden_files_of_a_folder_are_left_out(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "a.txt").write_bytes(b"x")
    assert [file.path for file in at_path(tmp_path).files] == ["a.txt"]
    (tmp_path / "a.txt").unlink()
    with pytest.raises(NotFoundError, match="there is no file"):
        at_path(tmp_path)
