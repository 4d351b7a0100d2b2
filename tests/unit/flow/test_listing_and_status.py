import contextlib

import msgspec
import pytest

from ckpt_tier.config.model import FreeSpace
from ckpt_tier.errors import NotFoundError, UnavailableError
from ckpt_tier.flow.status import Status
from ckpt_tier.journal.journal import Facts, Journal
from ckpt_tier.operations import HOOK_ERRORS, Operations
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.folder_paths import MARKER
from ckpt_tier.store.protocol import Source, Watch
from tests.builders import TwoTiers, flip_a_bit


class Away(FolderStore):
    def upload(self, key: str, source: Source, watch: Watch) -> None:
        raise UnavailableError("away")


def status(tiers: TwoTiers) -> Status:
    return tiers.operations().status()


def test_the_list_shows_both_tiers_by_series_and_step(tiers: TwoTiers) -> None:
    for step in range(3):
        tiers.write(step)
    tiers.sync()
    tiers.write(9, series="1")
    rows = tiers.operations().checkpoints()
    assert [(row.series, row.step, row.state, row.hot, row.committed_at is not None) for row in rows] == [
        ("0", 0, "committed", False, True),
        ("0", 1, "committed", True, True),
        ("0", 2, "committed", True, True),
        ("1", 9, "hot", True, False),
    ]
    assert [row.step for row in tiers.operations().checkpoints("1")] == [9]


def test_a_copy_that_was_just_restored_is_shown_as_what_it_is(tiers: TwoTiers) -> None:
    for step in range(3):
        tiers.write(step)
    tiers.sync()
    tiers.restored(step=0)
    rows = tiers.operations().checkpoints()
    assert [(row.step, row.state, row.hot) for row in rows] == [
        (0, "committed", True),
        (1, "committed", True),
        (2, "committed", True),
    ]


def test_a_rejected_copy_shows_its_state(tiers: TwoTiers) -> None:
    flip_a_bit(tiers.write(1))
    tiers.sync()
    [row] = tiers.operations().checkpoints()
    assert (row.state, row.hot, row.generation) == ("rejected", True, None)


def test_the_list_still_shows_the_cold_tier_when_the_hot_folder_is_gone(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    tiers.hot.rename(tiers.root / "gone")
    [row] = tiers.operations().checkpoints()
    assert (row.step, row.hot) == (1, False)


def everything(tiers: TwoTiers) -> list[tuple[str, int]]:
    """Every file of both tiers and the journal; the cache of manifests may grow by looking."""
    files = [path for path in tiers.root.rglob("*") if path.is_file() and path.name != "manifests.sqlite"]
    return sorted((str(path), path.stat().st_mtime_ns) for path in files)


def test_looking_changes_nothing(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    tiers.write(2)
    before = everything(tiers)
    operations = tiers.operations()
    operations.plan()
    operations.status()
    operations.checkpoints()
    assert everything(tiers) == before


def test_the_plan_is_what_the_next_pass_does(tiers: TwoTiers) -> None:
    for step in range(4):
        tiers.write(step)
    tiers.sync()
    tiers.write(4)
    planned = {(str(action.kind), action.step, action.after) for action in tiers.operations().plan()}
    assert planned == {
        ("validate", 4, ""),
        ("upload", 4, "validation"),
        ("keep", 2, ""),
        ("keep", 3, ""),
    }


def test_status_before_the_first_pass_shows_what_waits(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.write(2)
    now = status(tiers)
    assert now.queue.count == 2
    assert now.queue.eta_seconds is None
    assert now.cold.error == ""
    [series] = now.series
    assert (series.newest_committed, series.newest_hot_step, series.hot_count, series.cold_count) == (None, 2, 2, 0)
    assert not now.worker.running


def test_status_after_a_pass_says_what_would_be_left_now(tiers: TwoTiers) -> None:
    for step in (10, 20, 5):
        tiers.write(step)
    tiers.sync()
    tiers.clock.time += 100
    now = status(tiers)
    [series] = now.series
    assert series.newest_committed is not None
    assert (series.newest_committed.step, series.newest_committed.age_seconds) == (5, 100)
    assert series.cold_count == 3
    assert now.queue.count == 0
    assert now.cold.last_seen_at is not None


def test_status_names_the_worker_that_runs(tiers: TwoTiers) -> None:
    with tiers.syncing():
        worker = status(tiers).worker
        assert (worker.running, worker.what) == (True, "test")


def test_status_without_the_cold_tier_says_so_and_counts_nothing_twice(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    (tiers.cold / MARKER).rename(tiers.cold / "away")
    now = status(tiers)
    assert "is not there" in now.cold.error
    assert now.queue.count == 0, "what was committed does not wait again"
    [series] = now.series
    assert (series.cold_count, series.cold_bytes, series.newest_committed) == (None, None, None)


def test_everything_that_needs_a_person_is_listed_with_its_reason(tiers: TwoTiers) -> None:
    flip_a_bit(tiers.write(1))
    tiers.write(2)
    gone = tiers.write(3)
    with pytest.raises(UnavailableError):
        tiers.sync(Away(tiers.cold))
    gone.unlink()
    with contextlib.suppress(UnavailableError):  # step 2 may have had its turn already, or have it now
        tiers.sync(Away(tiers.cold))
    found = {(each.state, each.step): each.reason for each in status(tiers).attention}
    assert found.keys() == {("rejected", 1), ("stalled", 2), ("lost", 3)}
    assert "CRC32" in found["rejected", 1]
    assert found["stalled", 2] == "away"
    assert all(each.since for each in status(tiers).attention)


def test_what_the_hook_could_not_hand_over_is_in_status(tiers: TwoTiers) -> None:
    tiers.write(1)
    (tiers.hot / ".ckpt-tier").mkdir()
    tiers.tier().saved(tiers.root / "outside.pt", 5)
    [warning] = status(tiers).warnings
    assert "outside.pt" in warning
    assert (tiers.hot / ".ckpt-tier" / HOOK_ERRORS).exists()


def test_rates_tell_when_the_disk_is_full_and_whether_the_uplink_keeps_up(tiers: TwoTiers) -> None:
    for step in range(4):
        tiers.clock.time += 1000
        tiers.write(step)
    rate = status(tiers).uplink.saved_bytes_per_second
    assert rate is not None
    for upload_rate, keeps_up in ((rate * 10.0, True), (rate / 10.0, False)):
        journal = Journal.open(tiers.state_dir)
        journal.learn(Facts(upload_bytes_per_second=upload_rate))
        journal.close()
        now = status(tiers)
        assert now.uplink.keeps_up is keeps_up
        assert now.queue.eta_seconds == pytest.approx(now.queue.bytes / upload_rate, abs=1)
        assert now.disk.full_in_seconds is not None, "without a worker nothing makes room"


def test_the_disk_and_its_limit_are_shown_in_bytes(tiers: TwoTiers) -> None:
    tiers.set(hot={"min_free": FreeSpace(percent=50.0)})
    disk = status(tiers).disk
    assert disk.min_free_bytes == pytest.approx(disk.total_bytes / 2, rel=0.01)
    assert 0 < disk.free_bytes < disk.total_bytes


def test_status_is_one_json_document(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    now = status(tiers)
    assert msgspec.json.decode(msgspec.json.encode(now), type=Status) == now
    assert now.schema == "ckpt-tier/status/1"


def test_a_step_that_no_series_has_is_not_found(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.write(1, series="1")
    tiers.sync()
    with pytest.raises(NotFoundError, match="step 7"):
        tiers.operations().entries(step=7)
    assert len(tiers.operations().entries(step=1)) == 2


def test_bodies_beyond_the_limit_are_shown_without_their_size(tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(4):
        tiers.write(step)
    tiers.sync()
    monkeypatch.setattr("ckpt_tier.operations.READ_AT_MOST", 1)
    (tiers.state_dir / "manifests.sqlite").unlink(missing_ok=True)
    rows = Operations(tiers.wiring()).checkpoints()
    assert sum(row.size_bytes is None for row in rows) == 3
    assert all(row.size_bytes for row in tiers.operations().checkpoints(read_all=True))
