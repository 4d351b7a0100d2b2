"""`should_save` as training code asks it: it must not raise, not ask the network, and not be silent."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ckpt_tier
from ckpt_tier import saving as saving_module
from ckpt_tier.core.metrics import Best
from ckpt_tier.core.saving import Gap
from ckpt_tier.errors import UsageError
from ckpt_tier.hot.space import Space
from ckpt_tier.operations import HOOK_ERRORS
from ckpt_tier.tier import Tier
from tests.builders import TwoTiers


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    made = TwoTiers(tmp_path)
    made.set(save={"every": 100})
    return made


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    earlier = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, earlier)


def complaints(tiers: TwoTiers) -> list[str]:
    path = tiers.hot / ".ckpt-tier" / HOOK_ERRORS
    return [line.partition(" ")[2] for line in path.read_text().splitlines()] if path.exists() else []


def saves(tier: Tier, steps: range, **metrics: float) -> list[int]:
    return [step for step in steps if tier.should_save(step, **metrics)]


def test_a_training_loop_saves_as_the_rules_say(tiers: TwoTiers) -> None:
    tier = tiers.tier()
    assert saves(tier, range(1, 351)) == [100, 200, 300]
    decision = tier.should_save(351)
    assert isinstance(decision, ckpt_tier.Decision)
    assert str(decision) == "step 400 is the next of every 100 steps"


def test_a_new_best_counts_what_was_saved_whoever_asked_for_it(tiers: TwoTiers) -> None:
    tiers.set(save={"best": Best("loss"), "every": None})
    tier = tiers.tier()
    assert str(tier.should_save(1, loss=torch.tensor(3.0))) == "loss 3 is the first"
    assert tier.should_save(2, loss=2.0)
    tier.saved(tiers.write(3), 3, metrics={"loss": 1.0})
    assert str(tier.should_save(4, loss=1.5)) == "loss 1.5 is no better than 1 (min)"
    assert str(tier.should_save(5, loss=float("nan"))) == "loss nan is not a finite number"
    assert str(tier.should_save(6, loss="low")) == "loss nan is not a finite number"
    assert str(tier.should_save(7, accuracy=1.0)) == "no rule under [save] applies"


def test_after_a_restart_step_time_and_best_are_those_of_what_is_there(tiers: TwoTiers) -> None:
    tiers.set(hot={"keep_last": 5}, save={"best": Best("loss"), "min_gap": Gap(seconds=60.0)})
    tier = tiers.tier()
    tier.saved(tiers.write(100), 100, metrics={"loss": 1.0})
    tiers.sync()
    tier.saved(tiers.write(150), 150, metrics={"loss": 2.0})
    assert str(tiers.tier().should_save(151, loss=0.5)) == "only 0 s since step 150 (min_gap 1 min)"
    tiers.clock.time += 61
    again = tiers.tier()
    expected = "loss 1.5 is no better than 1 (min); step 200 is the next of every 100 steps"
    assert str(again.should_save(151, loss=1.5)) == expected
    assert again.should_save(200, loss=1.5)


def test_what_only_a_scan_finds_counts_and_what_was_rejected_does_not(tiers: TwoTiers) -> None:
    tiers.write(100)
    assert str(tiers.tier().should_save(100)) == "step 100 is saved already"
    os.truncate(tiers.path(100), 50)
    tiers.touch(tiers.path(100))
    tiers.sync()
    assert tiers.states() == {100: "rejected"}
    assert tiers.tier().should_save(100), "the step is to be saved again"


def test_series_side_by_side_have_a_history_each(tiers: TwoTiers) -> None:
    tiers.write(250, series="1")
    tier = tiers.tier()
    assert str(tier.should_save(251, series="1")) == "step 300 is the next of every 100 steps"
    assert str(tier.should_save(250, series="0")) == "step 300 is the next of every 100 steps"
    assert tier.should_save(200, series="0")
    tier.saved(tiers.write(350, series="1"), 350)
    assert str(tier.should_save(351, series="1")) == "step 400 is the next of every 100 steps"
    assert str(tier.should_save(201, series="0")) == "step 300 is the next of every 100 steps"


def test_a_training_that_goes_back_saves_on_its_new_way(tiers: TwoTiers) -> None:
    tier = tiers.tier()
    assert saves(tier, range(1, 301)) == [100, 200, 300]
    assert saves(tier, range(101, 301)) == [200, 300]


def test_without_room_it_says_no_and_says_so_once(tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch) -> None:
    """statvfs is replaced: no test can fill a disk to the byte."""
    looks: list[Path] = []
    room = [10**9]

    def space(path: Path) -> Space:
        looks.append(path)
        return Space(10**9, room[0])

    monkeypatch.setattr(saving_module, "space", space)
    tier = tiers.tier()
    tier.saved(tiers.write(99), 99)
    size = tiers.path(99).stat().st_size
    assert not tier.should_save(99)
    room[0] = size - 1
    assert tier.should_save(100), "one look at the disk is good for a second"
    assert looks == [tiers.hot]
    tiers.clock.time += 1
    for step in (200, 201):
        decision = tier.should_save(step)
        assert decision.no_room
        assert "no room: a save takes" in str(decision)
    assert [line.partition(":")[0] for line in complaints(tiers)] == ["step 200 should be saved, and there is no room"]
    room[0] = size
    tiers.clock.time += 1
    assert tier.should_save(202), "what could not be saved is still due"


def test_a_signal_asks_for_the_next_save_and_the_trainers_own_handler_runs_too(tiers: TwoTiers) -> None:
    tiers.set(save={"min_gap": Gap(steps=50)})
    heard: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    tier = tiers.tier()
    tier.save_on_signal()
    tier.save_on_signal(signal.SIGUSR1)
    assert tier.should_save(100)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert heard == [signal.SIGUSR1]
    assert str(tier.should_save(100)) == "step 100 is saved already"
    assert str(tier.should_save(101)) == "asked for by SIGUSR1"
    assert not tier.should_save(102), "one signal asks for one save"
    tier.close()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert heard == [signal.SIGUSR1] * 2
    assert not tier.should_save(103)


def test_nobodys_handler_is_touched_without_being_asked(tiers: TwoTiers) -> None:
    tier = tiers.tier()
    assert tier.should_save(100)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    tier.save_on_signal()
    taken = signal.getsignal(signal.SIGUSR1)
    later = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert later is taken
    tier.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN, "somebody has taken it since"


def test_a_signal_alone_is_rule_enough(tiers: TwoTiers) -> None:
    tiers.set(save={"every": None})
    tier = tiers.tier()
    tier.save_on_signal()
    assert not tier.should_save(5)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert tier.should_save(6)
    assert complaints(tiers) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, 0, 9999, "SIGUSR1"])
def test_a_signal_that_can_not_be_caught_is_refused(tiers: TwoTiers, number: object) -> None:
    with pytest.raises(UsageError):
        tiers.tier().save_on_signal(number)  # type: ignore[arg-type]


def test_a_signal_can_only_be_taken_by_the_main_thread(tiers: TwoTiers) -> None:
    caught: list[Exception] = []

    def take() -> None:
        try:
            tiers.tier().save_on_signal()
        except UsageError as error:
            caught.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    assert "main thread" in str(caught)


@pytest.mark.parametrize("step", [-1, "7", 7.0, None, 10**12])
def test_a_wrong_step_is_a_no_that_is_said_once_and_never_an_error(tiers: TwoTiers, step: object) -> None:
    tier = tiers.tier()
    for _ in range(3):
        assert not tier.should_save(step)  # type: ignore[arg-type]
    [said] = complaints(tiers)
    assert "should_save can't answer" in said
    assert tier.should_save(torch.tensor(100))  # type: ignore[arg-type]


def test_without_a_rule_it_says_so_once_instead_of_never_saving_in_silence(tiers: TwoTiers) -> None:
    tiers.set(save={"every": None})
    tier = tiers.tier()
    assert saves(tier, range(1000)) == []
    [said] = complaints(tiers)
    assert "no rule under [save]" in said


def test_a_hot_folder_that_can_not_be_read_is_said_and_training_saves_all_the_same(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no disk")

    monkeypatch.setattr("ckpt_tier.hot.scan.scan", refuse)
    assert tiers.tier().should_save(100)
    assert "does not know what was saved before: no disk" in complaints(tiers)[0]


def test_what_nobody_thought_of_does_not_reach_the_training(tiers: TwoTiers) -> None:
    class Odd:
        def __float__(self) -> float:
            raise KeyError("odd")

    assert not tiers.tier().should_save(100, loss=Odd())
    assert "should_save failed" in complaints(tiers)[0]


def test_an_answer_takes_microseconds(tiers: TwoTiers) -> None:
    tiers.set(save={"interval": 3600.0, "best": Best("loss"), "min_gap": Gap(steps=10)})
    tier = Tier(tiers.config)
    tier.should_save(0, loss=1.0)
    begun = time.process_time()
    for step in range(1, 10_001):
        tier.should_save(step, loss=2.0)
    assert (time.process_time() - begun) / 10_000 < 200e-6
