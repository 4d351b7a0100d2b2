"""The hook as training code uses it: it must not raise, not block and not lose."""

import errno
import os
import re
import threading
import time
from pathlib import Path

import pytest
import torch

import ckpt_tier
from ckpt_tier import spawn
from ckpt_tier import tier as tier_module
from ckpt_tier.errors import NotFoundError, UsageError
from ckpt_tier.inbox import Ticket
from ckpt_tier.operations import HOOK_ERRORS
from ckpt_tier.spawn import start_worker
from ckpt_tier.system.locks import FileLock, anyone_present
from ckpt_tier.tier import START_AGAIN, TRAINING_LOCK, Tier
from ckpt_tier.wiring import WORKER_LOCK
from tests.builders import TwoTiers, checkpoint


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    return TwoTiers(tmp_path)


def tickets(tiers: TwoTiers) -> list[Ticket]:
    return list(tiers.wiring().inbox.tickets())


def complaints(tiers: TwoTiers) -> str:
    path = tiers.hot / ".ckpt-tier" / HOOK_ERRORS
    return path.read_text() if path.exists() else ""


def test_a_save_is_written_atomically_handed_over_committed_and_restored(tiers: TwoTiers, tmp_path: Path) -> None:
    tier = tiers.tier()
    state = {"w": torch.arange(5), "step": 7}
    path = tier.save(state, 7, metrics={"loss": 1}, series="0", save_id="pass-1")
    assert path == tiers.path(7)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    tiers.sync()
    assert tier.drain(0) == ckpt_tier.Drained(committed=(("0", 7),), pending=())
    restored = tier.restore(7, to=tmp_path / "to")
    back = torch.load(restored.files[0], weights_only=True)
    assert torch.equal(back["w"], state["w"])
    assert tier.restore(to=tmp_path / "latest").step == 7
    [row] = tiers.operations().checkpoints()
    assert row.metrics == {"loss": 1.0}


def test_a_save_that_fails_raises_as_torch_does_and_leaves_nothing(tiers: TwoTiers) -> None:
    with pytest.raises(Exception, match="pickle"):
        tiers.tier().save({"x": lambda: None}, 7, series="0")
    assert list(tiers.path(7).parent.iterdir()) == []
    assert tickets(tiers) == []
    with pytest.raises(UsageError):
        tiers.tier().save({}, -1, series="0")


def test_the_layout_tells_the_series_and_without_it_the_name_is_main(tiers: TwoTiers) -> None:
    path = tiers.write(7, series="3")
    other = tiers.hot / "other.pt"
    other.write_bytes(checkpoint(7))
    tiers.tier().saved(path, 7)
    tiers.tier().saved(str(other), 8)
    assert {(ticket.series, ticket.step) for ticket in tickets(tiers)} == {("3", 7), ("main", 8)}


WRONG = {
    "a file that is not there": lambda tiers: (tiers.path(9), 9, {}),
    "a file elsewhere": lambda tiers: (tiers.cold / ".ckpt-tier-store", 9, {}),
    "a path that climbs out": lambda tiers: (tiers.hot / ".." / "cold" / ".ckpt-tier-store", 9, {}),
    "a folder": lambda tiers: (tiers.path(7).parent, 9, {}),
    "a step below zero": lambda tiers: (tiers.path(7), -1, {}),
    "a step that is text": lambda tiers: (tiers.path(7), "9", {}),
    "a step that is a float": lambda tiers: (tiers.path(7), 9.0, {}),
    "a series that climbs": lambda tiers: (tiers.path(7), 9, {"series": "../x"}),
    "metrics that are none": lambda tiers: (tiers.path(7), 9, {"metrics": 5}),
    "a path that is none": lambda tiers: (None, 9, {}),
    "a name that is no text": lambda tiers: (os.fsdecode(bytes(tiers.path(7)) + b"\xff"), 9, {}),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG.keys())
def test_saved_never_raises_and_never_is_silent(
    tiers: TwoTiers, call: object, caplog: pytest.LogCaptureFixture
) -> None:
    tiers.write(7)
    path, step, options = call(tiers)  # type: ignore[operator]
    tiers.tier().saved(path, step, **options)
    assert tickets(tiers) == []
    assert "was not handed over" in caplog.text
    assert complaints(tiers)


def test_a_loss_of_nan_is_left_out_and_the_checkpoint_is_handed_over_all_the_same(tiers: TwoTiers) -> None:
    wrong = {"loss": float("nan"), "name": "x", "several": torch.ones(2), "none": None, "huge": 10**400}
    good = {"whole": 1, "tensor": torch.ones(1)}
    tiers.tier().saved(tiers.write(7), 7, metrics={**wrong, **good})  # type: ignore[arg-type]
    assert [ticket.metrics for ticket in tickets(tiers)] == [{"whole": 1.0, "tensor": 1.0}]
    assert all(f"the metric {name}" in complaints(tiers) for name in wrong)


def test_with_an_automatic_layout_the_hook_and_the_scan_agree_on_the_series(tiers: TwoTiers) -> None:
    tiers.set(hot={"layout": "auto"})
    for series in ("0", "1"):
        for step in range(1, 5):
            tiers.tier().saved(tiers.write(step, series=series), step)
    tiers.sync()
    tiers.lose_journal()
    objects = tiers.objects()
    tiers.sync()
    assert tiers.objects().keys() == objects.keys()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS])
def test_no_failure_of_the_disk_reaches_the_training(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    path = tiers.write(7)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    tiers.tier().saved(path, 7, series="0")
    assert "was not handed over" in caplog.text
    monkeypatch.undo()
    tiers.sync()
    assert tiers.cold_steps() == [7], "the scan finds it all the same"


def test_a_relative_path_and_a_path_through_a_symlink_find_the_hot_folder(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers.write(7)
    monkeypatch.chdir(tiers.hot)
    tiers.tier().saved("model_gpu0/model_step_7.pt", 7)
    (tiers.root / "alias").symlink_to(tiers.hot)
    tiers.tier().saved(tiers.root / "alias" / "model_gpu0" / "model_step_7.pt", 7)
    tiers.tier().saved(tiers.hot / "model_gpu0" / ".." / "model_gpu0" / "model_step_7.pt", 7)
    assert {ticket.path for ticket in tickets(tiers)} == {"model_gpu0/model_step_7.pt"}
    assert len(tickets(tiers)) == 3


def test_draining_without_a_worker_returns_at_once(tiers: TwoTiers) -> None:
    tier = tiers.tier()
    tier.saved(tiers.write(7), 7)
    begun = time.monotonic()
    assert tier.drain(60).pending == (("0", 7),)
    assert time.monotonic() - begun < 5


def test_draining_waits_for_the_worker_that_runs(tiers: TwoTiers) -> None:
    tier = Tier(tiers.config)
    path = tiers.write(7)
    tier.saved(path, 7)
    lock = FileLock(tiers.hot / ".ckpt-tier" / WORKER_LOCK, "test").acquire("")
    [ticket] = tickets(tiers)
    threading.Timer(0.3, lambda: tiers.wiring().inbox.resolve(ticket.id)).start()
    assert tier.drain(30).committed == (("0", 7),)
    tier.saved(tiers.write(8), 8)
    assert tier.drain(0.3).pending == (("0", 8),)
    lock.release()


def test_the_same_file_handed_over_twice_has_one_fate(tiers: TwoTiers) -> None:
    tier = tiers.tier()
    path = tiers.write(7)
    tier.saved(path, 7)
    tier.saved(path, 7)
    assert tier.drain(0).pending == (("0", 7),)
    tiers.sync()
    assert tier.drain(0) == ckpt_tier.Drained(committed=(("0", 7),), pending=())


def test_what_was_rejected_is_pending_and_not_waited_for(tiers: TwoTiers) -> None:
    tier = tiers.tier()
    path = tiers.write(7)
    path.write_bytes(b"")
    tier.saved(path, 7)
    tiers.sync()
    assert tier.drain(60).pending == (("0", 7),)


def test_a_worker_is_started_once_and_again_only_after_a_while(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[float] = []
    monkeypatch.setattr(tier_module, "start_worker", lambda *_: started.append(tiers.clock.now()))
    with_worker = Tier(tiers.config, clock=tiers.clock, worker=True)
    assert anyone_present(tiers.hot / ".ckpt-tier" / TRAINING_LOCK)
    with_worker.saved(tiers.write(7), 7)
    with_worker.drain(3 * START_AGAIN + 1)
    assert len(started) == 4, "a worker that dies at once is not started ten times a second"
    with_worker.close()
    with_worker.close()
    assert not anyone_present(tiers.hot / ".ckpt-tier" / TRAINING_LOCK)


def test_no_second_worker_is_started_beside_one_that_runs(tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FileLock(tiers.hot / ".ckpt-tier" / WORKER_LOCK, "test").acquire("")
    monkeypatch.setattr(tier_module, "start_worker", lambda *_: pytest.fail("a second worker"))
    Tier(tiers.config, clock=tiers.clock, worker=True).close()
    lock.release()


def test_a_tier_that_only_reads_starts_nothing_and_changes_nothing(tiers: TwoTiers) -> None:
    tiers.tier().close()
    assert list(tiers.hot.iterdir()) == []
    with pytest.raises(NotFoundError):
        tiers.tier().restore(7)
    assert list(tiers.hot.iterdir()) == []


def test_open_reads_the_configuration_and_takes_the_place_of_single_keys(tiers: TwoTiers) -> None:
    file = tiers.root / "ckpt-tier.toml"
    file.write_text(
        f'run = "swelu"\nstate_dir = "{tiers.state_dir}"\n[hot]\npath = "hot"\nlayout = "{{step}}.pt"\n'
        f'[cold]\nurl = "{tiers.cold}"\nsame_device = true\n'
    )
    assert ckpt_tier.open(file, worker=False).config.run == "swelu"
    assert ckpt_tier.open(str(file), run="other", worker=False).config.run == "other"
    assert ckpt_tier.open(tiers.config, worker=False).config is tiers.config


def test_leaving_the_block_drains_and_closes(tiers: TwoTiers) -> None:
    with tiers.tier() as tier:
        tier.saved(tiers.write(7), 7)
    assert tier._presence is None


def test_the_worker_is_started_in_a_session_of_its_own_with_the_overrides(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tiers.root / "python"
    script.write_text('#!/bin/sh\necho "$@ run=$CKPT_TIER_RUN sid=$(ps -o sid= -p $$) pid=$$"\n')
    script.chmod(0o755)
    monkeypatch.setattr(spawn.sys, "executable", str(script))
    start_worker(tiers.config, {"CKPT_TIER_RUN": "other"})
    log = tiers.state_dir / spawn.LOG_NAME
    patience = time.monotonic() + 30
    while not log.read_text().endswith("\n") and time.monotonic() < patience:
        time.sleep(0.05)
    said = log.read_text()
    assert "-m ckpt_tier sync --watch --for-training run=other" in said
    words = dict(word.split("=") for word in re.sub("= +", "=", said).split() if "=" in word)
    assert words["sid"] == words["pid"]
