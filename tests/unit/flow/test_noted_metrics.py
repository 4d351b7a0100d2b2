"""Metrics that are noted later: retention in both tiers, the list and pins go by them, and a prune takes them along."""

import json
import os
import threading
from pathlib import Path
from unittest import mock

import pytest

from ckpt_tier.core.metrics import Best
from ckpt_tier.core.retention import KeepBest
from ckpt_tier.errors import ConflictError, IntegrityError, NotFoundError, UnavailableError, UsageError
from ckpt_tier.noting import Annotated, annotate
from ckpt_tier.pruning import Pruning
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.system.clock import Clock
from tests.builders import TwoTiers
from tests.kills import dying_at, killed_at
from tests.unit.flow.test_prune import EarlyClock, age, committed, data, prune

BEST = KeepBest("loss", "min", 1)


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    """Both tiers keep the newest and the best; nothing is saved yet."""
    made = TwoTiers(tmp_path, EarlyClock(), keep_last=1, keep_best=BEST)
    made.set(cold={"keep_last": 1, "keep_best": BEST})
    return made


def saved(tiers: TwoTiers, step: int, seed: int = 0, **metrics: float) -> None:
    """A step by the hook, synced."""
    tiers.tier().saved(tiers.write(step, seed), step, metrics=metrics)
    tiers.sync()


def note(tiers: TwoTiers, step: int, generation: str | None = None, **metrics: float) -> Annotated:
    return annotate(tiers.wiring(), step, metrics, generation=generation)


def notes(tiers: TwoTiers) -> list[str]:
    folder = tiers.cold / "run/0/notes"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def metrics(tiers: TwoTiers) -> dict[int, dict[str, float]]:
    """As `list` has them."""
    return {row.step: row.metrics for row in tiers.operations().checkpoints()}


# The best stays in both tiers


def test_the_best_by_the_hooks_metrics_stays_in_both_tiers(tiers: TwoTiers) -> None:
    for step, loss in ((1, 1.0), (2, 3.0), (3, 2.0)):
        saved(tiers, step, loss=loss)
    assert tiers.hot_steps() == [1, 3]
    assert prune(tiers)[0] == [2]
    assert tiers.cold_steps() == [1, 3]


def test_the_best_by_what_was_noted_later_stays_in_both_tiers(tiers: TwoTiers) -> None:
    tiers.set(hot={"keep_last": 3})
    for step in (1, 2, 3):
        saved(tiers, step, loss=5.0)
    note(tiers, 2, loss=1.0)
    note(tiers, 3, loss=9.0)
    tiers.set(hot={"keep_last": 1})
    tiers.sync()
    assert tiers.hot_steps() == [2, 3]
    assert prune(tiers)[0] == [1]
    assert tiers.cold_steps() == [2, 3]


def test_the_last_word_counts_even_against_the_hook_and_a_clock_that_is_ahead(tiers: TwoTiers) -> None:
    saved(tiers, 1, loss=1.0)
    tiers.clock.time += 10**6
    note(tiers, 1, loss=7.0, accuracy=0.5)
    tiers.clock.time -= 10**6
    assert note(tiers, 1, loss=8.0).metrics == {"loss": 8.0, "accuracy": 0.5}
    assert metrics(tiers) == {1: {"loss": 8.0, "accuracy": 0.5}}
    assert len(notes(tiers)) == 3, "nothing was overwritten"


def test_saying_it_again_changes_nothing(tiers: TwoTiers) -> None:
    saved(tiers, 1, loss=1.0)
    assert note(tiers, 1, loss=1.0).noted == {}, "the hook had said that"
    assert note(tiers, 1, accuracy=0.5).noted == {"accuracy": 0.5}
    before = notes(tiers)
    assert note(tiers, 1, accuracy=0.5, loss=1.0).noted == {}
    assert notes(tiers) == before


def test_without_a_journal_the_hot_tier_still_keeps_the_best_that_the_hook_told(tiers: TwoTiers) -> None:
    for step, loss in ((1, 1.0), (2, 3.0)):
        saved(tiers, step, loss=loss)
    tiers.lose_journal()
    saved(tiers, 3, loss=2.0)
    assert tiers.hot_steps() == [1, 3]


def test_a_restored_copy_is_among_the_best_again_once_its_hold_is_over(tiers: TwoTiers) -> None:
    tiers.set(hot={"keep_best": None})
    for step, loss in ((1, 1.0), (2, 3.0), (3, 2.0)):
        saved(tiers, step, loss=loss)
    for step in (1, 2):
        tiers.restored(step=step)
    tiers.set(hot={"keep_best": BEST})
    tiers.sync()
    assert tiers.hot_steps() == [1, 2, 3]
    tiers.clock.time += tiers.config.hot.hold + 1
    tiers.sync()
    assert tiers.hot_steps() == [1, 3]


def test_a_step_saved_twice_has_its_metrics_by_generation(tiers: TwoTiers) -> None:
    saved(tiers, 1, seed=1, loss=1.0)
    first = tiers.saves()[0].generation
    saved(tiers, 1, seed=2, loss=2.0)
    assert note(tiers, 1, loss=5.0).generation != first, "without a name it is the one saved last"
    note(tiers, 1, first, loss=6.0)
    assert sorted(row.metrics["loss"] for row in tiers.operations().checkpoints()) == [5.0, 6.0]
    with pytest.raises(NotFoundError, match="has no generation"):
        note(tiers, 1, "f" * 16, loss=1.0)


# What can not be noted


def test_what_is_not_committed_yet_says_what_to_do_first(tiers: TwoTiers) -> None:
    saved(tiers, 1)
    tiers.write(2)
    with pytest.raises(NotFoundError, match="step 2 is not committed yet") as caught:
        note(tiers, 2, loss=1.0)
    assert "ckpt-tier sync" in caught.value.fix
    with pytest.raises(NotFoundError, match="nearest step"):
        note(tiers, 3, loss=1.0)


def test_a_step_of_several_series_needs_the_one_that_is_meant(tiers: TwoTiers) -> None:
    for series in "01":
        tiers.write(1, series=series)
    tiers.sync()
    with pytest.raises(UsageError, match="series 0, 1"):
        note(tiers, 1, loss=1.0)
    assert annotate(tiers.wiring(), 1, {"loss": 1.0}, series="1").series == "1"
    assert notes(tiers) == []


def test_a_manifest_that_is_damaged_is_not_annotated(tiers: TwoTiers) -> None:
    saved(tiers, 1)
    [path] = (tiers.cold / "run/0/manifests").iterdir()
    path.write_bytes(b"{}")
    tiers.lose_journal()
    with pytest.raises(IntegrityError):
        note(tiers, 1, loss=1.0)


def test_a_cold_tier_that_is_away_is_told_apart(tiers: TwoTiers) -> None:
    saved(tiers, 1)
    (tiers.cold / ".ckpt-tier-store").unlink()
    with pytest.raises(UnavailableError):
        note(tiers, 1, loss=1.0)


# What it costs


def test_an_idle_sync_asks_no_more_than_before_with_notes_or_without(tiers: TwoTiers) -> None:
    asked: list[tuple[str, str]] = []
    lock = threading.Lock()

    def counted(name: str) -> mock._patch:  # type: ignore[type-arg]
        real = getattr(FolderStore, name)

        def call(store: FolderStore, key: str, *arguments: object, **more: object) -> object:
            with lock:
                asked.append((name, key.partition(".")[0]))
            return real(store, key, *arguments, **more)

        return mock.patch.object(FolderStore, name, call)

    def requests() -> list[tuple[str, str]]:
        asked.clear()
        with counted("list"), counted("get"), counted("stat"), counted("put"):
            tiers.sync()
        return sorted(asked)

    saved(tiers, 1, loss=1.0)
    before = requests()
    assert before.count(("list", "run/0/notes/")) == 1
    for number in range(20):
        note(tiers, 1, loss=float(number))
    assert requests() == before


# A prune takes them along


def pruned(tiers: TwoTiers) -> TwoTiers:
    """Step 2 is the best by a note, 3 the newest; 1, with a note, is pruned."""
    for step in (1, 2, 3):
        saved(tiers, step)
    note(tiers, 1, loss=2.0)
    note(tiers, 2, loss=1.0)
    assert prune(tiers)[0] == [1]
    return tiers


def test_notes_of_what_was_pruned_go_with_its_data_and_not_before(tiers: TwoTiers) -> None:
    pruned(tiers)
    assert len(notes(tiers)) == 2
    age(tiers, 6.9)
    prune(tiers)
    assert (len(notes(tiers)), data(tiers)) == (2, [1, 2, 3])
    age(tiers, 0.2)
    prune(tiers)
    assert ([name.split(".")[1] for name in notes(tiers)], data(tiers)) == (["000000000002"], [2, 3])


def test_an_undone_prune_has_its_notes_back(tiers: TwoTiers) -> None:
    pruned(tiers)
    [manifest] = tiers.cold.glob("run/0/tombstones/000000000001.*")
    body = json.loads(manifest.read_text())["manifest"]
    (tiers.cold / "run/0/manifests" / manifest.name).write_text(json.dumps(body))
    assert metrics(tiers)[1] == {"loss": 2.0}
    age(tiers, 30)
    Pruning(tiers.wiring()).pin(1, None, "")
    prune(tiers)
    assert len(notes(tiers)) == 2


def test_a_note_that_came_after_the_prune_waits_for_a_grace_of_its_own(tiers: TwoTiers) -> None:
    pruned(tiers)
    [late] = [path for path in (tiers.cold / "run/0/notes").iterdir() if ".000000000001." in path.name]
    age(tiers, 8)
    os.utime(late)
    prune(tiers)
    assert late.exists()


def test_notes_that_no_tombstone_stands_for_and_other_names_are_never_touched(tiers: TwoTiers) -> None:
    pruned(tiers)
    folder = tiers.cold / "run/0/notes"
    (folder / f"metric.000000000007.{'a' * 16}.2000000000000000.loss=1.0.json").write_text("{}")
    (folder / "abandoned.000000000001.1600000000000000.json").write_text("{}")
    (folder / "readme.txt").write_text("whose?")
    age(tiers, 30)
    prune(tiers)
    left = ["abandoned.000000000", "metric.000000000002", "metric.000000000007", "readme.txt"]
    assert [name[:19] for name in notes(tiers)] == left


@dying_at(range(14), "touch")
def test_killed_anywhere_a_later_prune_ends_with_what_is_committed_and_its_notes(tiers: TwoTiers, touch: int) -> None:
    """Between every two touches of the cold tier, in the prune that frees data and notes."""
    pruned(tiers)
    age(tiers, 8)
    with killed_at(touch):
        prune(tiers)
    assert [one.step for one in committed(tiers)] == [2, 3]
    assert metrics(tiers)[2] == {"loss": 1.0}
    prune(tiers)
    assert ([name.split(".")[1] for name in notes(tiers)], data(tiers)) == (["000000000002"], [2, 3])


@dying_at(range(12), "touch")
def test_killed_anywhere_the_same_annotate_again_completes_it(tiers: TwoTiers, touch: int) -> None:
    saved(tiers, 1)
    with killed_at(touch):
        note(tiers, 1, loss=1.0, accuracy=0.5)
    assert note(tiers, 1, loss=1.0, accuracy=0.5).metrics == {"loss": 1.0, "accuracy": 0.5}
    assert metrics(tiers)[1] == {"loss": 1.0, "accuracy": 0.5}
    assert len(notes(tiers)) == 2


def test_what_is_annotated_after_the_plan_is_not_removed_by_it(tiers: TwoTiers) -> None:
    for step in (1, 2, 3):
        saved(tiers, step)
    pruning = Pruning(tiers.wiring())
    plan = pruning.cold_plan()
    assert [ruling.step for ruling in plan.removals] == [1, 2]
    note(tiers, 1, loss=1.0)
    assert sorted((ruling.step, went) for ruling, went in pruning.remove(plan)) == [(1, False), (2, True)]


def test_a_prune_at_the_same_moment_is_said(tiers: TwoTiers) -> None:
    saved(tiers, 1)
    real = FolderStore.put

    def put_and_prune(store: FolderStore, key: str, body: bytes, *, if_absent: bool = False) -> None:
        real(store, key, body, if_absent=if_absent)
        for path in (tiers.cold / "run/0/manifests").iterdir():
            path.unlink()

    with mock.patch.object(FolderStore, "put", put_and_prune), pytest.raises(ConflictError, match="same moment"):
        note(tiers, 1, loss=1.0)


# Pins by metric


def pin_best(tiers: TwoTiers, text: str, count: int = 1, series: str | None = None) -> list[tuple[int, str]]:
    found = Pruning(tiers.wiring()).pin_best(Best.parse(text), count, series, "")
    return [(pin.step, pin.reason) for pin in found.pins]


def test_the_best_are_pinned_by_what_the_hook_told_and_what_was_noted(tiers: TwoTiers) -> None:
    tiers.set(hot={"keep_last": 9})
    for step, loss in ((1, 3.0), (2, 2.0), (3, 4.0), (4, 5.0)):
        saved(tiers, step, loss=loss)
    note(tiers, 3, loss=1.0)
    assert pin_best(tiers, "loss", 2) == [(3, "best by loss (min): 1"), (2, "best by loss (min): 2")]
    assert pin_best(tiers, "loss,max") == [(4, "best by loss (max): 5")]
    tiers.set(hot={"keep_last": 1, "keep_best": None}, cold={"keep_best": None})
    tiers.sync()
    assert tiers.hot_steps() == [2, 3, 4]
    assert prune(tiers)[0] == [1]


def test_each_series_has_its_own_best_and_one_without_the_metric_none(tiers: TwoTiers) -> None:
    for series, loss in (("0", 1.0), ("1", 2.0), ("2", None)):
        path = tiers.write(5, series=series)
        tiers.tier().saved(path, 5, metrics={} if loss is None else {"loss": loss})
    tiers.sync()
    found = Pruning(tiers.wiring()).pin_best(Best("loss"), 3, None, "why")
    assert [(each.series, each.value) for each in found.best] == [("0", 1.0), ("1", 2.0)]
    assert {pin.reason for pin in found.pins} == {"why"}


def test_a_metric_that_nobody_has_is_said_with_those_there_are(tiers: TwoTiers) -> None:
    saved(tiers, 1, loss=1.0, accuracy=0.5)
    with pytest.raises(NotFoundError, match="there are accuracy, loss") as caught:
        pin_best(tiers, "los")
    assert "annotate STEP los=" in caught.value.fix


def test_two_generations_of_a_step_among_the_best_have_one_pin(tiers: TwoTiers) -> None:
    saved(tiers, 1, seed=1, loss=1.0)
    saved(tiers, 1, seed=2, loss=2.0)
    assert pin_best(tiers, "loss", 2) == [(1, "best by loss (min): 1")]


def test_a_manifest_that_can_not_be_read_is_passed_over_and_told(tiers: TwoTiers) -> None:
    for step in (1, 2):
        saved(tiers, step, loss=float(step))
    [path] = (tiers.cold / "run/0/manifests").glob("000000000001.*")
    path.write_bytes(b"{}")
    tiers.lose_journal()
    found = Pruning(tiers.wiring()).pin_best(Best("loss"), 1, None, "")
    assert [pin.step for pin in found.pins] == [2]
    assert [entry.step for entry in found.untrusted] == [1]


def test_the_clock_is_the_only_time_there_is(tiers: TwoTiers) -> None:
    clock: Clock = tiers.clock
    saved(tiers, 1)
    note(tiers, 1, loss=1.0)
    assert notes(tiers)[0].split(".")[3] == f"{round(clock.now() * 1e6):016d}"
