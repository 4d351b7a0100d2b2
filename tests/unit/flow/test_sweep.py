"""Clearing away what kills left: what goes, what stays, and what a crash in between leaves."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ckpt_tier.core.events import Note, Warned
from ckpt_tier.core.states import State
from ckpt_tier.errors import AccessDeniedError, CancelledError, ConfigError, UnavailableError
from ckpt_tier.flow import sweep as sweep_module
from ckpt_tier.flow.sweep import DAY, STAGING_AGE, is_due, still_unnamed, sweep
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.folder_upload import partial_name
from ckpt_tier.store.protocol import Leftovers
from ckpt_tier.system.locks import FileLock
from tests.builders import START, TwoTiers, checkpoint
from tests.kills import Kill

GENERATION = "0123456789abcdef"
UNNAMED = ".model_step_5.pt.0123456789abcdef.tmp"


def swept(tiers: TwoTiers, store: FolderStore | None = None) -> None:
    """One sweep by a worker."""
    with tiers.syncing(store) as syncing:
        sweep(syncing.parts, tiers.wiring().layout)


def told(tiers: TwoTiers, kind: type[Note] | type[Warned]) -> list[str]:
    return [str(event.text) for event in tiers.happened(kind) if isinstance(event, Note | Warned)]


def staging(tiers: TwoTiers, name: str = GENERATION) -> Path:
    """What a restore had brought down when it was killed: a finished file has the checkpoint's own, old time."""
    folder = tiers.hot / HIDDEN / "staging" / name
    folder.mkdir(parents=True)
    (folder / "0.part").write_bytes(b"x" * 5000)
    (folder / "0.pieces").write_text("0 00\n")
    for path in (folder / "0.part", folder / "0.pieces", folder):
        os.utime(path, (1.0, 1.0))
    tiers.clock.time = folder.stat().st_ctime
    return folder


def unnamed_file(tiers: TwoTiers, data: bytes, name: str = UNNAMED, days: float = 2.0) -> Path:
    path = tiers.hot / "model_gpu0" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    then = tiers.clock.time - days * DAY
    os.utime(path, (then, then))
    return path


# Once a day


def test_a_sweep_is_due_once_a_day_and_a_clock_set_back_does_not_put_it_off(tiers: TwoTiers) -> None:
    with tiers.syncing() as syncing:
        assert is_due(syncing.parts)
        sweep(syncing.parts, tiers.wiring().layout)
        assert not is_due(syncing.parts)
        tiers.clock.time += DAY - 1
        assert not is_due(syncing.parts)
        tiers.clock.time += 2
        assert is_due(syncing.parts)
        tiers.clock.time = START - 5 * DAY
        assert is_due(syncing.parts)


def test_where_nothing_was_left_nothing_is_said_or_made(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    before = sorted(tiers.hot.rglob("*")), tiers.objects()
    tiers.events.clear()
    swept(tiers)
    assert (sorted(tiers.hot.rglob("*")), tiers.objects()) == before
    assert tiers.events == []


# Unfinished uploads


def partial(tiers: TwoTiers, key: str, days: float = 2.0) -> Path:
    folder = tiers.cold / ".ckpt-tier-tmp"
    folder.mkdir(exist_ok=True)
    path = folder / partial_name(key)
    path.write_bytes(b"12345")
    then = path.stat().st_mtime - days * DAY
    os.utime(path, (then, then))
    return path


def test_an_unfinished_upload_goes_after_a_day_unless_a_save_in_the_queue_goes_on_with_it(tiers: TwoTiers) -> None:
    class Cut(FolderStore):
        def upload(self, *_: Any) -> None:
            raise ConfigError("no bucket")

    tiers.write(1)
    tiers.sync(Cut(tiers.cold))
    assert tiers.states() == {1: "stalled"}
    [row] = tiers.saves()
    assert row.state is State.STALLED
    with tiers.syncing() as syncing:
        from ckpt_tier.flow.upload import manifest_of

        [file] = manifest_of(syncing.parts, row).files
    waited_for = partial(tiers, file.key)
    forgotten = partial(tiers, "run/0/data/000000000009/0123456789abcdef/x.pt")
    young = partial(tiers, "run/0/data/000000000008/0123456789abcdef/x.pt", days=0.5)
    swept(tiers)
    assert [path.exists() for path in (waited_for, forgotten, young)] == [True, False, True]
    assert told(tiers, Note) == ["cleared away 1 unfinished upload in the cold tier, 5 B"]


def test_only_what_lies_below_the_data_of_this_run_is_asked_for(tiers: TwoTiers) -> None:
    asked: list[tuple[list[str], float]] = []

    class Asked(FolderStore):
        def clean_up(self, prefixes: Any, older_than: float, keep: Any) -> Leftovers:
            asked.append((prefixes, older_than))
            return Leftovers()

    tiers.write(1)
    tiers.sync()
    tiers.write(2, series="7")
    swept(tiers, Asked(tiers.cold))
    assert asked == [(["run/0/data/", "run/7/data/"], DAY)]


@pytest.mark.parametrize("error", [AccessDeniedError("s3:AbortMultipartUpload was refused"), ConfigError("odd")])
def test_uploads_that_may_not_be_dropped_are_said_and_the_rest_is_cleared_all_the_same(
    tiers: TwoTiers, error: Exception
) -> None:
    class Refusing(FolderStore):
        def clean_up(self, *_: Any) -> Leftovers:
            raise error

    broken = unnamed_file(tiers, checkpoint(5)[:1000])
    swept(tiers, Refusing(tiers.cold))
    assert not broken.exists()
    [warned] = told(tiers, Warned)
    assert str(error) in warned


def test_while_the_cold_tier_is_away_the_sweep_is_put_off(tiers: TwoTiers) -> None:
    class Away(FolderStore):
        def clean_up(self, *_: Any) -> Leftovers:
            raise UnavailableError("away")

    with tiers.syncing(Away(tiers.cold)) as syncing:
        with pytest.raises(UnavailableError):
            sweep(syncing.parts, tiers.wiring().layout)
        assert is_due(syncing.parts)


# Staging


def test_the_staging_of_a_restore_goes_a_week_after_the_last_byte_came(tiers: TwoTiers) -> None:
    folder = staging(tiers)
    tiers.clock.time += STAGING_AGE - 60
    swept(tiers)
    assert sorted(path.name for path in folder.iterdir()) == ["0.part", "0.pieces"]
    tiers.clock.time += 120
    swept(tiers)
    assert not folder.parent.exists()
    [note] = told(tiers, Note)
    assert "1 restore" in note


def test_what_a_restore_under_way_has_locked_stays(tiers: TwoTiers) -> None:
    folder = staging(tiers)
    tiers.clock.time += 2 * STAGING_AGE
    with FileLock(tiers.hot / HIDDEN / "restore.lock", "a restore").acquire(""):
        swept(tiers)
        assert folder.exists()
    swept(tiers)
    assert not folder.exists()


def test_only_folders_that_a_restore_makes_are_taken_for_staging_and_no_link_is_followed(
    tiers: TwoTiers, tmp_path: Path
) -> None:
    ours = staging(tiers)
    mine = ours.with_name("my-backup")
    ours.rename(mine)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious.pt").write_bytes(b"x")
    ours.symlink_to(elsewhere)
    ours.with_name("fedcba9876543210").write_text("a file")
    tiers.clock.time += 2 * STAGING_AGE
    swept(tiers)
    assert (mine / "0.part").exists()
    assert (elsewhere / "precious.pt").exists()
    assert ours.with_name("fedcba9876543210").exists()
    shutil.move(ours.parent, elsewhere / "staging")
    (tiers.hot / HIDDEN / "staging").symlink_to(elsewhere / "staging")
    tiers.clock.time += DAY
    swept(tiers)
    assert (elsewhere / "staging/my-backup/0.part").exists()


def test_a_kill_while_staging_is_removed_leaves_a_rest_that_the_next_sweep_removes(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = staging(tiers)
    tiers.clock.time += 2 * STAGING_AGE
    with monkeypatch.context() as patch:

        def killed(path: Path) -> None:
            (path / "0.part").unlink()
            raise Kill

        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(Kill):
            swept(tiers)
    [rest] = folder.parent.iterdir()
    assert rest.name.startswith(f"{GENERATION}.")
    assert rest.suffix == ".leaving"
    swept(tiers)
    assert not folder.parent.exists()


def test_a_restore_begins_anew_where_its_staging_was_cleared_away(tiers: TwoTiers) -> None:
    for step in range(4):
        tiers.write(step)
    tiers.sync()
    [row] = [each for each in tiers.operations().entries("0") if each.step == 0]
    staging(tiers, row.generation)
    tiers.clock.time += 2 * STAGING_AGE
    swept(tiers)
    tiers.tier().restore(0, series="0")
    assert tiers.path(0).read_bytes() == checkpoint(0)


# Files of saves that were killed


@pytest.mark.parametrize("cut", [0, 4, 100, 700, 1000, -22, -1])
def test_the_broken_file_of_a_killed_save_goes_after_a_day(tiers: TwoTiers, cut: int) -> None:
    young = unnamed_file(tiers, checkpoint(5)[:cut], UNNAMED.replace("0123", "4567"), days=0.9)
    broken = unnamed_file(tiers, checkpoint(5)[:cut])
    swept(tiers)
    assert not broken.exists()
    assert young.exists()
    [note] = told(tiers, Note)
    assert "1 broken file of a save that was killed" in note


def test_a_whole_or_unknown_one_is_never_removed_but_named_by_status_with_what_to_do(tiers: TwoTiers) -> None:
    whole = unnamed_file(tiers, checkpoint(5))
    unknown = unnamed_file(tiers, b"some format of one's own", UNNAMED.replace("0123", "4567"))
    for _ in range(2):
        swept(tiers)
        tiers.clock.time += DAY
    assert whole.read_bytes() == checkpoint(5)
    assert unknown.exists()
    warnings = tiers.operations().status().warnings
    assert len(warnings) == 2
    assert f"model_gpu0/{UNNAMED}" in warnings[0]
    assert "rename it to model_gpu0/model_step_5.pt" in warnings[0]
    assert not tiers.happened(Warned)


def test_files_of_other_names_stay_whatever_they_hold(tiers: TwoTiers) -> None:
    others = [
        unnamed_file(tiers, b"", name)
        for name in (
            "model_step_5.pt.0123456789abcdef.tmp",
            ".model_step_5.pt.0123.tmp",
            ".model_step_5.pt.0123456789ABCDEF.tmp",
            ".model_step_5.pt.0123456789abcdef.tmp2",
            ".notes.txt.0123456789abcdef.tmp",
            ".model_step_5.pt.0123456789abcdef.evicted",
        )
    ]
    hidden = tiers.hot / HIDDEN / "model_gpu0" / UNNAMED
    hidden.parent.mkdir(parents=True)
    hidden.write_bytes(b"")
    os.utime(hidden, (1.0, 1.0))
    swept(tiers)
    assert all(path.exists() for path in [*others, hidden])


def test_a_broken_one_that_a_process_has_open_stays(tiers: TwoTiers) -> None:
    broken = unnamed_file(tiers, checkpoint(5)[:1000])
    with broken.open("rb"):
        swept(tiers)
        assert broken.exists()
    swept(tiers)
    assert not broken.exists()


def test_one_that_changes_or_gets_its_name_while_it_is_looked_at_stays(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown, named = unnamed_file(tiers, b""), unnamed_file(tiers, b"", UNNAMED.replace("0123", "4567"))
    look = sweep_module.glance

    def meanwhile(path: Path) -> Any:
        try:
            return look(path)
        finally:
            if path == grown:
                path.write_bytes(checkpoint(5))
            else:
                path.rename(tiers.path(5))

    monkeypatch.setattr(sweep_module, "glance", meanwhile)
    swept(tiers)
    assert grown.read_bytes() == checkpoint(5)
    assert tiers.path(5).exists()
    assert not named.exists()


def test_what_the_system_refuses_is_said_and_does_not_keep_the_others_from_going(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging(tiers)
    broken = unnamed_file(tiers, checkpoint(5)[:1000])
    tiers.clock.time += 2 * STAGING_AGE

    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied", "staging")

    monkeypatch.setattr(shutil, "rmtree", refused)
    swept(tiers)
    assert not broken.exists()
    [warned] = told(tiers, Warned)
    assert "Permission denied" in warned


def test_a_stop_request_ends_a_sweep_which_the_next_start_does_again(tiers: TwoTiers) -> None:
    with tiers.syncing() as syncing:
        tiers.clock.cancelled = True
        with pytest.raises(CancelledError):
            sweep(syncing.parts, tiers.wiring().layout)
        assert is_due(syncing.parts)


def test_a_file_that_vanishes_meanwhile_is_passed_over(tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = unnamed_file(tiers, b"")

    layout = tiers.wiring().layout
    gone.unlink()
    monkeypatch.setattr(os, "walk", lambda _: [(str(gone.parent), [], [gone.name])])
    assert still_unnamed(tiers.hot, layout, tiers.clock.time) == []
