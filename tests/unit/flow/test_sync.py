"""One pass and more over real folders, with real torch files."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ckpt_tier.config.model import FreeSpace
from ckpt_tier.core.events import Changed, Committed, Evicted, Lost, NotEvicted, Rejected, Retrying, Stalled, Warned
from ckpt_tier.errors import (
    CancelledError,
    ConfigError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
)
from ckpt_tier.flow import ingest
from ckpt_tier.flow.delivery import STALLED_WAIT
from ckpt_tier.flow.line import JOBS
from ckpt_tier.flow.sync import Syncing
from ckpt_tier.flow.view import View
from ckpt_tier.formats.validate import validate
from ckpt_tier.inbox import Inbox
from ckpt_tier.journal.journal import Journal
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.folder_paths import MARKER
from ckpt_tier.store.protocol import Source, Stat, Watch
from tests.builders import SteppedClock, TwoTiers, checkpoint, flip_a_bit
from tests.kills import Kill, dying_at, killed_at


class Troubled(FolderStore):
    """A folder that fails as told: calls by name, each with its errors in order."""

    def __init__(self, root: Path, **errors: list[Exception]) -> None:
        super().__init__(root)
        self.errors = errors
        self.calls: list[str] = []

    def _fail(self, name: str) -> None:
        self.calls.append(name)
        if self.errors.get(name):
            raise self.errors[name].pop(0)

    def upload(self, key: str, source: Source, watch: Watch) -> None:
        self._fail("upload")
        super().upload(key, source, watch)

    def stat(self, key: str) -> Stat:
        self._fail("stat")
        return super().stat(key)

    def get(self, key: str, limit: int) -> bytes:
        self._fail("get")
        return super().get(key, limit)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self._fail("put")
        super().put(key, data, if_absent=if_absent)


def away(count: int) -> list[Exception]:
    return [UnavailableError("the cold tier is away") for _ in range(count)]


def test_everything_valid_is_committed_and_the_newest_stay_hot(tiers: TwoTiers) -> None:
    for series in ("0", "1"):
        for step in range(5):
            tiers.write(step, series=series)
    done = tiers.sync()
    for series in ("0", "1"):
        assert tiers.cold_steps(series) == [0, 1, 2, 3, 4]
        assert tiers.hot_steps(series) == [3, 4]
    assert done.attention() is None
    assert done.is_done
    assert len(tiers.happened(Committed)) == 10
    assert len(tiers.happened(Evicted)) == 6


def test_a_second_pass_finds_nothing_to_do(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    objects = tiers.objects()
    tiers.events.clear()
    tiers.sync()
    assert tiers.objects() == objects
    assert not tiers.happened(Committed)


@pytest.mark.parametrize("cut", [0, 1, 100, 1000, -1])
def test_a_truncated_file_is_rejected_with_its_reason_and_stays_where_it_is(tiers: TwoTiers, cut: int) -> None:
    tiers.write(1)
    path = tiers.write(2)
    path.write_bytes(checkpoint(2)[:cut])
    done = tiers.sync()
    assert tiers.cold_steps() == [1]
    assert tiers.hot_steps() == [1, 2]
    assert tiers.states()[2] == "rejected"
    [rejected] = tiers.happened(Rejected)
    assert isinstance(rejected, Rejected)
    assert rejected.reason
    attention = done.attention()
    assert attention is not None
    assert "1 rejected" in str(attention)


def test_a_rejected_file_is_reported_again_by_the_next_pass_until_it_is_mended(tiers: TwoTiers) -> None:
    flip_a_bit(tiers.write(1))
    tiers.sync()
    assert tiers.sync().attention() is not None
    tiers.write(1)
    assert tiers.sync().attention() is None
    assert tiers.cold_steps() == [1]


def test_a_rejected_file_that_is_deleted_is_reported_no_more(tiers: TwoTiers) -> None:
    path = tiers.write(1)
    flip_a_bit(path)
    tiers.sync()
    path.unlink()
    assert tiers.sync().attention() is None


def test_a_rejected_file_is_set_aside_and_stays_reported_until_a_person_removes_it(tiers: TwoTiers) -> None:
    tiers.set(validate={"on_rejected": "aside"})
    for _ in range(2):
        flip_a_bit(tiers.write(1))
        assert tiers.sync().attention() is not None
    aside = list((tiers.hot / ".ckpt-tier" / "rejected").rglob("*.pt*"))
    assert len(aside) == 2
    assert tiers.hot_steps() == []
    assert tiers.sync().attention() is not None
    for path in aside:
        path.unlink()
    assert tiers.sync().attention() is None


def test_what_the_trainer_deletes_right_after_saved_is_committed_from_the_hooks_link(tiers: TwoTiers) -> None:
    tier = tiers.tier()
    for step in range(4):
        path = tiers.write(step)
        tier.saved(path, step, series="0", metrics={"loss": float(step)})
        path.unlink()
    done = tiers.sync()
    assert tiers.cold_steps() == [0, 1, 2, 3]
    assert tiers.unsent() == []
    assert done.attention() is None
    assert not tiers.happened(Lost)
    assert tier.drain(0).committed == tuple(("0", step) for step in range(4))
    assert [row.metrics for row in tiers.operations().checkpoints()] == [{"loss": float(s)} for s in range(4)]


def test_a_file_replaced_atomically_before_the_pass_gives_two_generations(tiers: TwoTiers) -> None:
    tier = tiers.tier()
    for seed in (1, 2):
        temporary = tiers.path(5).with_suffix(".tmp")
        temporary.parent.mkdir(exist_ok=True)
        temporary.write_bytes(checkpoint(5, seed))
        temporary.replace(tiers.path(5))
        tiers.touch(tiers.path(5))
        tier.saved(tiers.path(5), 5, series="0")
    tiers.sync()
    assert tiers.cold_steps() == [5, 5]
    assert not tiers.happened(Lost)


def test_a_file_overwritten_in_place_before_its_commit_is_reported_and_the_new_content_committed(
    tiers: TwoTiers,
) -> None:
    tier = tiers.tier()
    path = tiers.write(5, 1)
    tier.saved(path, 5, series="0")
    path.write_bytes(checkpoint(5, 2))
    tiers.touch(path)
    tier.saved(path, 5, series="0")
    done = tiers.sync()
    [lost] = tiers.happened(Lost)
    assert isinstance(lost, Lost)
    assert "overwritten" in lost.reason
    assert tiers.cold_steps() == [5]
    assert done.attention() is None, "the step was saved again and committed"


def test_what_was_scanned_and_then_deleted_before_its_commit_is_lost_until_dismissed(tiers: TwoTiers) -> None:
    path = tiers.write(5)
    with pytest.raises(UnavailableError):
        tiers.sync(Troubled(tiers.cold, upload=away(99)))
    path.unlink()
    done = tiers.sync()
    assert "1 lost" in str(done.attention())
    assert "1 lost" in str(tiers.sync().attention())
    assert tiers.operations().dismiss({4}) == []
    assert tiers.operations().dismiss(None) == [("0", 5)]
    assert tiers.sync().attention() is None


def test_a_file_that_comes_back_after_it_was_lost_is_taken_up_again(tiers: TwoTiers) -> None:
    path = tiers.write(5)
    with pytest.raises(UnavailableError):
        tiers.sync(Troubled(tiers.cold, upload=away(99)))
    elsewhere = tiers.root / "elsewhere.pt"
    path.rename(elsewhere)
    tiers.sync()
    assert tiers.states() == {5: "lost"}
    elsewhere.rename(path)
    assert tiers.sync().attention() is None
    assert tiers.cold_steps() == [5]


def test_the_same_step_saved_after_a_rollback_is_a_second_generation_and_both_restore(tiers: TwoTiers) -> None:
    for seed in (1, 2):
        tiers.write(5, seed)
        tiers.sync()
    generations = [row.generation for row in tiers.operations().checkpoints()]
    assert len(set(generations)) == 2
    contents = set()
    for number, generation in enumerate(generations):
        to = tiers.root / f"to-{number}"
        [restored] = tiers.restored(step=5, generation=generation, to=to)
        contents.add(restored.files[0].read_bytes())
    assert contents == {checkpoint(5, 1), checkpoint(5, 2)}


def test_after_a_rollback_the_newest_by_time_and_by_step_stay_hot(tiers: TwoTiers) -> None:
    for step in (10, 20, 30, 40, 5, 6):
        tiers.write(step)
    tiers.sync()
    assert tiers.hot_steps() == [5, 6, 30, 40]


def test_a_lost_journal_sends_nothing_again_and_evicts_right(tiers: TwoTiers) -> None:
    for step in range(3):
        tiers.write(step)
    tiers.sync()
    tiers.lose_journal()
    tiers.write(3)
    objects = tiers.objects()
    store = Troubled(tiers.cold)
    done = tiers.sync(store)
    assert store.calls.count("upload") == 1
    assert objects.items() <= tiers.objects().items()
    assert tiers.hot_steps() == [2, 3]
    assert done.attention() is None


def test_a_manifest_deleted_in_the_cold_tier_is_committed_again_from_the_hot_copy(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    [manifest] = (tiers.cold / "run" / "0" / "manifests").iterdir()
    body = manifest.read_bytes()
    manifest.unlink()
    tiers.sync()
    assert manifest.read_bytes() == body


def test_a_watch_notices_at_its_next_listing_that_a_manifest_is_gone(tiers: TwoTiers) -> None:
    tiers.write(1)
    with tiers.syncing() as syncing:
        syncing.run_until_idle()
        [manifest] = (tiers.cold / "run" / "0" / "manifests").iterdir()
        manifest.unlink()
        syncing.run_until_idle()
    assert tiers.cold_steps() == [1]


def test_an_object_missing_in_the_cold_tier_keeps_the_hot_copy_and_is_sent_again(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    [target] = (tiers.cold / "run" / "0" / "data").rglob("*.pt")
    target.unlink()
    for step in (2, 3):
        tiers.write(step)
    tiers.sync()
    assert target.read_bytes() == checkpoint(1)
    assert tiers.hot_steps() == [2, 3]
    assert any("is missing" in event.text for event in tiers.happened(Warned) if isinstance(event, Warned))


def test_an_object_damaged_in_the_cold_tier_is_never_trusted_for_an_eviction(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    [target] = (tiers.cold / "run" / "0" / "data").rglob("*.pt")
    target.write_bytes(target.read_bytes()[:-1])
    for step in (2, 3):
        tiers.write(step)
    done = tiers.sync()
    assert tiers.hot_steps() == [1, 2, 3]
    assert "stalled" in str(done.attention())
    target.unlink()
    tiers.clock.time += STALLED_WAIT + 1
    assert tiers.sync().attention() is None
    assert tiers.hot_steps() == [2, 3]


def test_a_manifest_that_was_tampered_with_is_never_trusted_for_an_eviction(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    [manifest] = (tiers.cold / "run" / "0" / "manifests").iterdir()
    manifest.write_bytes(manifest.read_bytes().replace(b'"size":', b'"size":1'))
    for step in (2, 3):
        tiers.write(step)
    done = tiers.sync()
    assert tiers.hot_steps() == [1, 2, 3]
    assert done.attention() is not None


def test_a_cold_tier_that_is_away_ends_the_pass_and_loses_nothing(tiers: TwoTiers) -> None:
    tiers.write(1)
    (tiers.cold / MARKER).rename(tiers.cold / "away")
    with pytest.raises(UnavailableError, match="is not there"):
        tiers.sync()
    assert tiers.hot_steps() == [1]
    (tiers.cold / "away").rename(tiers.cold / MARKER)
    tiers.sync()
    assert tiers.cold_steps() == [1]


def test_a_cold_tier_that_goes_away_while_evictions_are_due_ends_the_pass_and_is_not_hammered(
    tiers: TwoTiers,
) -> None:
    for step in range(5):
        tiers.write(step)

    class Overloaded(FolderStore):
        gets = 0

        def get(self, key: str, limit: int) -> bytes:
            if "/manifests/" in key:
                Overloaded.gets += 1
                raise UnavailableError("SlowDownRead") if Overloaded.gets < 500 else AssertionError("hammered")
            return super().get(key, limit)

    with pytest.raises(UnavailableError):
        tiers.sync(Overloaded(tiers.cold))
    assert tiers.hot_steps() == [0, 1, 2, 3, 4]
    assert 0 < Overloaded.gets < 100
    tiers.sync()
    assert tiers.hot_steps() == [3, 4]


def test_an_upload_whose_object_is_not_there_afterwards_is_not_committed(tiers: TwoTiers) -> None:
    class Forgetful(FolderStore):
        def upload(self, key: str, source: Source, watch: Watch) -> None:
            super().upload(key, source, watch)
            self.delete(key)

    tiers.write(1)
    done = tiers.sync(Forgetful(tiers.cold))
    assert tiers.cold_steps() == []
    assert "stalled" in str(done.attention())


def test_a_kill_between_link_and_ticket_and_a_lost_journal_raise_no_false_alarm(tiers: TwoTiers) -> None:
    path = tiers.write(5)
    tiers.tier().saved(path, 5, series="0")
    path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inbox, "resolve", dies)
        with pytest.raises(Kill):
            tiers.sync()
    assert tiers.unsent() == []
    tiers.lose_journal()
    assert tiers.sync().attention() is None
    assert not list((tiers.hot / ".ckpt-tier" / "inbox").iterdir())


def dies(*_: object, **__: object) -> None:
    raise Kill


def test_a_short_failure_is_tried_again_and_said(tiers: TwoTiers) -> None:
    tiers.write(1)
    done = tiers.sync(Troubled(tiers.cold, upload=away(1)))
    assert tiers.cold_steps() == [1]
    assert len(tiers.happened(Retrying)) == 1
    assert done.attention() is None


def test_a_long_failure_stalls_and_the_next_sync_tries_at_once(tiers: TwoTiers) -> None:
    tiers.write(1)
    with pytest.raises(UnavailableError):
        tiers.sync(Troubled(tiers.cold, upload=away(99)))
    assert tiers.states() == {1: "stalled"}
    assert len(tiers.happened(Stalled)) == 1
    assert tiers.sync().attention() is None
    assert tiers.cold_steps() == [1]


@pytest.mark.parametrize("error", [IntegrityError("refused"), ConflictError("taken"), OSError(5, "disk")])
def test_any_other_failure_of_one_upload_stalls_that_one_and_not_the_rest(tiers: TwoTiers, error: Exception) -> None:
    tiers.write(1)
    tiers.write(2)
    done = tiers.sync(Troubled(tiers.cold, upload=[error]))
    assert len(tiers.cold_steps()) == 1
    assert "1 stalled" in str(done.attention())


def test_a_lost_reply_to_the_commit_is_success(tiers: TwoTiers) -> None:
    class Deaf(FolderStore):
        deaf = True

        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
            super().put(key, data, if_absent=if_absent)
            if "/manifests/" in key and Deaf.deaf:
                Deaf.deaf = False
                raise UnavailableError("no reply")

    tiers.write(1)
    assert tiers.sync(Deaf(tiers.cold)).attention() is None
    assert tiers.cold_steps() == [1]
    assert tiers.states() == {1: "committed"}


def test_a_file_changed_between_validation_and_upload_goes_back_to_validation(tiers: TwoTiers) -> None:
    path = tiers.write(1)

    class Slow(FolderStore):
        changed = False

        def upload(self, key: str, source: Source, watch: Watch) -> None:
            if not Slow.changed:
                Slow.changed = True
                status = path.stat()
                path.write_bytes(checkpoint(1, 7))
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            super().upload(key, source, watch)

    tiers.sync(Slow(tiers.cold))
    assert tiers.happened(Changed)
    [restored] = tiers.restored(step=1, to=tiers.root / "to")
    assert restored.files[0].read_bytes() == checkpoint(1, 7)
    assert len(tiers.cold_steps()) == 1


def test_a_file_that_is_open_for_writing_is_waited_for_and_then_taken_up(tiers: TwoTiers) -> None:
    path = tiers.write(1)
    with path.open("ab"):
        done = tiers.sync()
        assert tiers.cold_steps() == []
        assert not done.is_done
    tiers.sync()
    assert tiers.cold_steps() == [1]


def test_an_unreadable_file_is_reported_and_stops_no_other(tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tiers.write(1)
    tiers.write(2)
    from ckpt_tier.flow import ingest

    real = ingest.is_open_for_writing

    def refuse(path: Path) -> bool:
        if path == bad:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(ingest, "is_open_for_writing", refuse)
    done = tiers.sync()
    assert tiers.cold_steps() == [2]
    assert "1 unreadable" in str(done.attention())
    assert any("Permission denied" in save.reason for save in tiers.saves())
    monkeypatch.undo()
    tiers.clock.time += STALLED_WAIT + 1
    assert tiers.sync().attention() is None
    assert tiers.cold_steps() == [1, 2]


def test_a_link_that_cannot_be_let_go_is_said_once_and_tried_again_later(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        tiers.tier().saved(tiers.write(step), step, series="0")
    tried = []

    def refuse(_: Inbox, link: str) -> None:
        tried.append(link)
        raise PermissionError(13, "Permission denied", link)

    # Root is refused nothing, so this can't be provoked.
    monkeypatch.setattr(Inbox, "release", refuse)
    tiers.sync()
    assert tiers.cold_steps() == [1, 2]
    assert len(tried) == 2
    assert sum("can't release" in str(event) for event in tiers.happened(Warned)) == 2
    monkeypatch.undo()
    tiers.sync()
    assert tiers.unsent() == []


def test_a_disk_that_cannot_read_a_file_is_said_and_nothing_is_sent(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers.write(1)
    from ckpt_tier.flow import ingest

    def broken(*_: object, **__: object) -> None:
        raise IntegrityError("the file can't be read at byte 0", "Input/output error")

    monkeypatch.setattr(ingest, "validate", broken)
    done = tiers.sync()
    assert tiers.cold_steps() == []
    assert "1 unreadable" in str(done.attention())


def test_a_file_must_settle_before_it_is_taken_up_unless_the_hook_brings_it(tiers: TwoTiers) -> None:
    tiers.clock.time = time.time()
    tiers.set(hot={"settle": 1000.0})
    scanned = tiers.write(1)
    handed_over = tiers.write(2)
    tiers.tier().saved(handed_over, 2, series="0")
    with tiers.syncing() as syncing:
        syncing.list_cold()
        while syncing.advance():
            pass
        assert not syncing.is_done
    assert tiers.cold_steps() == [2]
    assert scanned.exists()
    tiers.sync()
    assert tiers.cold_steps() == [1, 2]


def test_below_min_free_more_is_evicted_but_never_the_newest(tiers: TwoTiers) -> None:
    tiers.set(hot={"min_free": FreeSpace(percent=100.0), "keep_last": 3})
    for step in range(4):
        tiers.write(step)
    done = tiers.sync()
    assert tiers.hot_steps() == [3]
    assert "filling up" in str(done.attention())


def test_below_min_free_the_links_to_what_the_trainer_deleted_are_let_go_and_reported(tiers: TwoTiers) -> None:
    tier = tiers.tier()
    for step in range(3):
        path = tiers.write(step)
        tier.saved(path, step, series="0")
        path.unlink()
    tiers.set(hot={"min_free": FreeSpace(percent=100.0)})
    with pytest.raises(UnavailableError):
        tiers.sync(Troubled(tiers.cold, upload=away(99)))
    assert {event.step for event in tiers.happened(Lost) if isinstance(event, Lost)} == {0, 1}
    assert len(tiers.unsent()) == 1
    assert tier.drain(0).pending == (("0", 0), ("0", 1), ("0", 2))


def test_a_second_worker_says_who_holds_the_lock(tiers: TwoTiers) -> None:
    with tiers.syncing(), pytest.raises(ConflictError, match=f"process {os.getpid()}"), tiers.syncing():
        pass


def test_a_missing_hot_folder_is_an_error_and_nothing_is_done(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    tiers.hot.rename(tiers.root / "unmounted")
    with pytest.raises(ConfigError, match="not there"):
        tiers.sync()
    assert not tiers.hot.exists()


def test_an_empty_mount_point_loses_nothing_for_ever(tiers: TwoTiers) -> None:
    tiers.write(1)
    with pytest.raises(UnavailableError):
        tiers.sync(Troubled(tiers.cold, upload=away(99)))
    tiers.hot.rename(tiers.root / "unmounted")
    tiers.hot.mkdir()
    tiers.sync()
    (tiers.hot / ".ckpt-tier").rename(tiers.root / "its-own")
    tiers.hot.rmdir()
    (tiers.root / "unmounted").rename(tiers.hot)
    assert tiers.sync().attention() is None
    assert tiers.cold_steps() == [1]


def test_a_stop_request_ends_the_pass_and_the_next_one_goes_on(tiers: TwoTiers) -> None:
    for step in range(3):
        tiers.write(step)
    tiers.clock.cancelled = True
    with pytest.raises(CancelledError):
        tiers.sync()
    tiers.clock.cancelled = False
    tiers.sync()
    assert tiers.cold_steps() == [0, 1, 2]


def test_a_stop_request_during_an_upload_leaves_the_save_as_it_was(tiers: TwoTiers) -> None:
    tiers.write(1)

    class Stopping(FolderStore):
        def upload(self, key: str, source: Source, watch: Watch) -> None:
            tiers.clock.cancelled = True
            super().upload(key, source, watch)

    with pytest.raises(CancelledError):
        tiers.sync(Stopping(tiers.cold))
    tiers.clock.cancelled = False
    assert tiers.states() == {1: "uploading"}
    tiers.sync()
    assert tiers.cold_steps() == [1]


def test_a_save_handed_over_twice_and_one_the_scan_had_found_are_one(tiers: TwoTiers) -> None:
    path = tiers.write(1)
    with pytest.raises(UnavailableError):
        tiers.sync(Troubled(tiers.cold, upload=away(99)))
    tier = tiers.tier()
    tier.saved(path, 1, series="0", metrics={"loss": 1.0})
    tier.saved(path, 1, series="0", metrics={"loss": 1.0})
    tiers.clock.time += STALLED_WAIT + 1
    tiers.sync()
    assert tiers.cold_steps() == [1]
    assert tiers.unsent() == []
    assert tier.drain(0).pending == ()
    [row] = tiers.operations().checkpoints()
    assert row.metrics == {"loss": 1.0}


@dying_at(range(0, 44, 3))
def test_a_kill_anywhere_in_a_pass_loses_nothing_and_leaves_nothing_behind(tiers: TwoTiers, count: int) -> None:
    tier = tiers.tier()
    tiers.write(1)
    for step in (2, 3):
        path = tiers.write(step)
        tier.saved(path, step, series="0")
    tiers.path(2).unlink()
    with killed_at(count):
        tiers.sync()
    done = tiers.sync()
    assert tiers.cold_steps() == [1, 2, 3]
    assert tiers.unsent() == []
    assert tier.drain(0).pending == ()
    assert done.attention() is None
    assert not tiers.happened(Lost)
    assert not list((tiers.hot / ".ckpt-tier" / "inbox").iterdir())


@dying_at(range(0, 44, 4))
def test_a_kill_and_a_lost_journal_together_lose_nothing_and_leave_nothing_behind(tiers: TwoTiers, count: int) -> None:
    tier = tiers.tier()
    for step in (1, 2):
        path = tiers.write(step)
        tier.saved(path, step, series="0")
        path.unlink()
    with killed_at(count):
        tiers.sync()
    tiers.lose_journal()
    assert tiers.sync().attention() is None
    assert tiers.cold_steps() == [1, 2]
    assert tiers.unsent() == []


def killed_after_the_commit(tiers: TwoTiers) -> None:
    """A pass that dies between putting the manifest of step 5 and noting it, and a trainer that deletes the file."""

    class Dying(FolderStore):
        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
            super().put(key, data, if_absent=if_absent)
            if "/manifests/" in key:
                raise Kill

    path = tiers.write(5)
    with pytest.raises(Kill):
        tiers.sync(Dying(tiers.cold))
    path.unlink()


def test_what_was_committed_but_not_noted_before_the_file_went_is_not_called_lost(tiers: TwoTiers) -> None:
    killed_after_the_commit(tiers)
    assert tiers.sync().attention() is None
    assert not tiers.happened(Lost)


def test_what_was_committed_but_has_lost_its_objects_since_is_lost_and_said(tiers: TwoTiers) -> None:
    killed_after_the_commit(tiers)
    next((tiers.cold / "run" / "0" / "data").rglob("*.pt")).unlink()
    assert "1 lost" in str(tiers.sync().attention())


def test_a_save_that_arrives_while_the_same_bytes_are_on_their_way_is_adopted(tiers: TwoTiers) -> None:
    tier = tiers.tier()
    for _ in range(3):
        tier.saved(tiers.write(5), 5, series="0")
        tiers.path(5).rename(tiers.path(5).with_suffix(".old"))
    done = tiers.sync(Troubled(tiers.cold))
    assert done.attention() is None
    assert tiers.cold_steps() == [5]
    assert not tiers.happened(Retrying)


def test_a_spool_file_that_is_no_ticket_is_said(tiers: TwoTiers) -> None:
    inbox = tiers.hot / ".ckpt-tier" / "inbox"
    inbox.mkdir(parents=True)
    (inbox / "0.json").write_text("{")
    tiers.sync()
    assert any("0.json" in event.text for event in tiers.happened(Warned) if isinstance(event, Warned))


def test_a_journal_that_cannot_be_written_is_said_and_the_pass_goes_on(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Journal.open.__func__  # type: ignore[attr-defined]

    def cramped(kind: type[Journal], folder: Path) -> Journal:
        journal = real(kind, folder)
        journal._db.execute("PRAGMA query_only=ON")
        return journal

    monkeypatch.setattr(Journal, "open", classmethod(cramped))
    for step in range(4):
        tiers.write(step)
    tiers.sync()
    assert tiers.cold_steps() == [0, 1, 2, 3]
    assert tiers.hot_steps() == [2, 3]
    assert any(
        "journal can't be written" in event.text for event in tiers.happened(Warned) if isinstance(event, Warned)
    )


def test_no_run_in_the_cold_tier_is_said_by_what_only_reads(tiers: TwoTiers) -> None:
    with pytest.raises(NotFoundError, match="no run 'run'"):
        tiers.operations().entries()
    tiers.write(1)
    assert {str(action.kind) for action in tiers.operations().plan()} == {"validate", "upload"}
    assert not (tiers.cold / "run").exists()


def test_another_trainings_run_of_the_same_name_is_refused(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    tiers.config = msgspec.structs.replace(tiers.config, run_id="f" * 16)
    with pytest.raises(ConfigError, match="another training"):
        tiers.sync()
    with pytest.raises(ConfigError, match="another training"):
        tiers.operations().entries()


def test_a_pinned_step_stays_hot(tiers: TwoTiers) -> None:
    for step in range(5):
        tiers.write(step)
    pins = tiers.cold / "run" / "0" / "pins"
    pins.mkdir(parents=True)
    (pins / "000000000001.json").write_text("{}")
    (pins / "notes.txt").write_text("")
    tiers.sync()
    assert tiers.hot_steps() == [1, 3, 4]


def test_many_saves_at_once_from_several_threads_all_arrive(tiers: TwoTiers) -> None:
    tier = tiers.tier()
    paths = [(step, tiers.write(step)) for step in range(12)]
    threads = [threading.Thread(target=tier.saved, args=(path, step), kwargs={"series": "0"}) for step, path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tiers.sync()
    assert tiers.cold_steps() == list(range(12))
    assert tiers.hot_steps() == [10, 11]
    assert not tiers.happened(NotEvicted)


def test_within_one_run_what_has_stalled_is_tried_again_when_its_time_has_come(tiers: TwoTiers) -> None:
    tiers.write(1)
    with tiers.syncing(Troubled(tiers.cold, upload=away(2))) as syncing:
        with pytest.raises(UnavailableError):
            syncing.run_until_idle()
        assert tiers.states() == {1: "stalled"}
        assert len(tiers.happened(Stalled)) == 1
        syncing.run_until_idle()
        assert "stalled" in str(syncing.attention())
        tiers.clock.time += STALLED_WAIT + 1
        syncing.run_until_idle()
        assert syncing.attention() is None
    assert tiers.cold_steps() == [1]


def test_an_object_that_vanishes_before_the_last_link_is_released_is_sent_again_from_the_link(
    tiers: TwoTiers,
) -> None:
    class Losing(FolderStore):
        loses = True

        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
            super().put(key, data, if_absent=if_absent)
            if "/manifests/" in key and Losing.loses:
                Losing.loses = False
                next((tiers.cold / "run" / "0" / "data").rglob("*.pt")).unlink()

    path = tiers.write(5)
    tiers.tier().saved(path, 5, series="0")
    path.unlink()
    assert tiers.sync(Losing(tiers.cold)).attention() is None
    assert next((tiers.cold / "run" / "0" / "data").rglob("*.pt")).read_bytes() == checkpoint(5)
    assert tiers.unsent() == []


def unreadable_manifests(tiers: TwoTiers) -> FolderStore:
    class Unreadable(FolderStore):
        def get(self, key: str, limit: int) -> bytes:
            if "/manifests/" in key:
                raise UnavailableError("SlowDownRead")
            return super().get(key, limit)

    return Unreadable(tiers.cold)


def test_the_last_link_stays_while_nobody_can_prove_that_the_cold_tier_holds_it(tiers: TwoTiers) -> None:
    path = tiers.write(5)
    tier = tiers.tier()
    tier.saved(path, 5, series="0")
    path.unlink()
    with pytest.raises(UnavailableError):
        tiers.sync(unreadable_manifests(tiers))
    [link] = tiers.unsent()
    assert link.read_bytes() == checkpoint(5)
    tiers.sync()
    assert tiers.unsent() == []
    assert tier.drain(0).pending == ()


def test_nothing_is_called_lost_while_nobody_can_tell(tiers: TwoTiers) -> None:
    path = tiers.write(5)
    tiers.sync()
    tiers.lose_journal()
    tiers.clock.time += 60
    tiers.tier().saved(path, 5, series="0")
    path.unlink()
    for link in tiers.unsent():
        link.unlink()
    with pytest.raises(UnavailableError):
        tiers.sync(unreadable_manifests(tiers))
    assert not tiers.happened(Lost)
    assert "1 lost" in str(tiers.sync().attention()), "the manifest that is there was saved at another time"


def test_the_rate_of_the_uploads_is_learned(tiers: TwoTiers) -> None:
    class Slow(FolderStore):
        def upload(self, key: str, source: Source, watch: Watch) -> None:
            tiers.clock.time += 2.0
            super().upload(key, source, watch)

    rates = []
    for step in range(2):
        tiers.write(step)
        tiers.sync(Slow(tiers.cold))
        rates.append(tiers.operations().status().uplink.uploaded_bytes_per_second)
    assert rates == [round(len(checkpoint(0)) / 2)] * 2


@pytest.mark.slow
def test_a_long_queue_is_not_looked_at_anew_for_every_few_of_it(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = Syncing._look

    def counted(self: Syncing) -> View:
        nonlocal looks
        looks += 1
        return look(self)

    monkeypatch.setattr(Syncing, "_look", counted)
    for step in range(160):
        tiers.write(step)

    begun = time.monotonic()
    tiers.sync()
    seconds = time.monotonic() - begun

    assert tiers.cold_steps() == list(range(160))
    # Found, validated, sent, evicted, nothing left, and one more for each second that it takes; four deliveries are
    # under way at a time, so one look for every few of them would be forty.
    assert looks < 20 + seconds


@pytest.mark.slow
def test_what_waits_for_a_place_in_the_line_does_not_wait_for_a_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ticking(SteppedClock):
        def monotonic(self) -> float:
            return time.monotonic()

    tiers = TwoTiers(tmp_path, Ticking())
    begun: list[str] = []
    go_on = threading.Event()
    waited_for: list[int] = []

    class Slow(FolderStore):
        def upload(self, key: str, source: Source, watch: Watch) -> None:
            begun.append(key)
            if len(begun) == 1:
                # The oldest: it is validated after all others, while the line is full.
                os.utime(tiers.write(100), (1, 1))
            go_on.wait(20)
            super().upload(key, source, watch)

    def validated(path: Path, *, stop: Callable[[], None], **options: Any) -> Any:
        if path.name.endswith("_100.pt"):
            assert len(begun) == JOBS
            go_on.set()
            until = time.monotonic() + 10
            while len(begun) == JOBS and time.monotonic() < until:
                stop()
            waited_for.append(len(begun))
        return validate(path, stop=stop, **options)

    monkeypatch.setattr(ingest, "validate", validated)
    for step in range(JOBS + 1):
        tiers.write(step)
    tiers.sync(Slow(tiers.cold))

    assert waited_for == [JOBS + 1]
    assert tiers.cold_steps() == [*range(JOBS + 1), 100]
