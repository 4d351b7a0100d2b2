"""When to save and why: a table of cases, and what holds whatever the rules."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.core.metrics import Best
from ckpt_tier.core.saving import Decision, Gap, History, Saved, SaveRules, better, decide, history_of

EVERY = SaveRules(every=5000)
INTERVAL = SaveRules(interval=1800.0)
BEST = SaveRules(best=Best("loss"))
SAVED = History(step=5000, at=1000.0, is_saved=True, best=1.83, size=1_200_000_000)
BEGUN = History(step=0, at=1000.0)

CASES = [
    # rules, history, step, loss, seconds later → yes or no, and why
    (EVERY, SAVED, 9999, None, 1, False, "step 10000 is the next of every 5,000 steps"),
    (EVERY, SAVED, 10_000, None, 1, True, "step 10000 of every 5,000 steps"),
    (EVERY, SAVED, 10_003, None, 1, True, "step 10000 of every 5,000 steps"),
    (EVERY, SAVED, 5000, None, 1, False, "step 5000 is saved already"),
    (EVERY, BEGUN, 0, None, 0, False, "step 5000 is the next of every 5,000 steps"),
    (SaveRules(every=1), BEGUN, 1, None, 0, True, "step 1 of every 1 step"),
    (INTERVAL, SAVED, 5001, None, 1799, False, "29 min 59 s since step 5000 (interval 30 min)"),
    (INTERVAL, SAVED, 5001, None, 1800, True, "30 min since step 5000 (interval 30 min)"),
    (INTERVAL, BEGUN, 7, None, 1800, True, "30 min since training began (interval 30 min)"),
    (INTERVAL, SAVED, 5001, None, -9000, True, "2 h 30 min since step 5000 (interval 30 min)"),
    (BEST, SAVED, 5001, 1.9, 1, False, "loss 1.9 is no better than 1.83 (min)"),
    (BEST, SAVED, 5001, 1.83, 1, False, "loss 1.83 is no better than 1.83 (min)"),
    (BEST, SAVED, 5001, 1.8, 1, True, "loss 1.8 is a new best (min), before it was 1.83"),
    (BEST, BEGUN, 7, 9.0, 1, True, "loss 9 is the first"),
    (BEST, SAVED, 5001, math.nan, 1, False, "loss nan is not a finite number"),
    (BEST, SAVED, 5001, None, 1, False, "no rule under [save] applies"),
    (
        SaveRules(every=5000, interval=1800.0, best=Best("loss"), min_gap=Gap(steps=100)),
        SAVED,
        5200,
        2.0,
        60,
        False,
        (
            "loss 2 is no better than 1.83 (min); step 10000 is the next of every 5,000 steps; "
            "1 min since step 5000 (interval 30 min)"
        ),
    ),
    (
        SaveRules(best=Best("loss"), min_gap=Gap(steps=500)),
        SAVED,
        5499,
        1.0,
        1,
        False,
        "only 499 steps since step 5000 (min_gap 500 steps)",
    ),
    (
        SaveRules(best=Best("loss"), min_gap=Gap(seconds=600.0)),
        SAVED,
        5499,
        1.0,
        9,
        False,
        "only 9 s since step 5000 (min_gap 10 min)",
    ),
    (
        SaveRules(best=Best("loss"), min_gap=Gap(steps=500)),
        SAVED,
        5500,
        1.0,
        1,
        True,
        "loss 1 is a new best (min), before it was 1.83",
    ),
    (SaveRules(every=1, min_gap=Gap(steps=500)), BEGUN, 1, None, 1, True, "step 1 of every 1 step"),
]


@pytest.mark.parametrize(("rules", "history", "step", "loss", "later", "save", "reason"), CASES)
def test_each_rule_says_yes_or_no_and_why(
    rules: SaveRules, history: History, step: int, loss: float | None, later: float, save: bool, reason: str
) -> None:
    decision = decide(step, {} if loss is None else {"loss": loss}, rules, history, history.at + later)
    assert (bool(decision), str(decision)) == (save, reason)


def test_a_request_from_outside_is_stronger_than_the_gap_but_not_than_a_full_disk() -> None:
    rules = SaveRules(every=5000, min_gap=Gap(steps=500))
    asked = decide(5001, {}, rules, SAVED, 1001.0, asked="SIGUSR1", free=2 * 10**9)
    assert asked == Decision(True, "asked for by SIGUSR1")
    full = decide(5001, {}, rules, SAVED, 1001.0, asked="SIGUSR1", free=10**9)
    assert str(full) == "no room: a save takes 1.20 GB, 1.00 GB are free (asked for by SIGUSR1)"
    assert (bool(full), full.no_room) == (False, True)
    assert not decide(5000, {}, rules, SAVED, 1001.0, asked="SIGUSR1"), "that step is saved"


def test_a_save_that_just_fits_is_made_and_one_of_unknown_size_too() -> None:
    assert decide(10_000, {}, EVERY, SAVED, 2000.0, free=1_200_000_000)
    assert not decide(10_000, {}, EVERY, SAVED, 2000.0, free=1_199_999_999)
    assert decide(5000, {}, EVERY, BEGUN, 2000.0, free=0)
    assert decide(10_000, {}, EVERY, SAVED, 2000.0, free=None)


def test_a_training_that_went_back_counts_anew_and_keeps_its_best() -> None:
    back = SAVED.begun(3001, 9000.0)
    assert str(decide(3002, {}, EVERY, back, 9001.0)) == "step 5000 is the next of every 5,000 steps"
    assert decide(5000, {}, EVERY, back, 9001.0)
    assert not decide(3002, {"loss": 1.9}, BEST, back, 9001.0)
    assert SAVED.begun(5000, 9000.0).step == 4999, "a training that first asks at a multiple may save there"


def saved(step: int, at: float, loss: float | None = None, size: int = 10) -> Saved:
    return Saved(step=step, saved_at=at, size=size, metrics={} if loss is None else {"loss": loss})


def test_a_restart_goes_on_from_the_last_save_and_the_best_of_all() -> None:
    found = [saved(5000, 100.0, 1.5), saved(10_000, 200.0, 1.9, size=20), saved(10_000, 190.0)]
    history = history_of(found, Best("loss"), step=10_001, now=999.0)
    assert history == History(step=10_000, at=200.0, is_saved=True, best=1.5, size=20)


def test_a_restart_from_before_the_last_save_does_not_wait_for_the_steps_of_the_old_branch() -> None:
    found = [saved(5000, 100.0, 1.5), saved(600_000, 200.0)]
    history = history_of(found, Best("loss"), step=5001, now=999.0)
    assert decide(10_000, {}, EVERY, history, 1000.0)
    assert history.best == 1.5
    assert str(decide(5000, {}, EVERY, history_of(found, None, 5000, 999.0), 999.0)) == "step 5000 is saved already"


def test_the_first_start_has_no_history() -> None:
    assert history_of([], Best("loss"), step=7, now=9.0) == History(step=6, at=9.0)


METRICS = st.dictionaries(st.sampled_from(["loss", "accuracy"]), st.floats())
RULES = st.builds(
    SaveRules,
    every=st.none() | st.integers(1, 50),
    interval=st.none() | st.floats(1, 100),
    best=st.none() | st.builds(Best, st.sampled_from(["loss", "accuracy"]), st.sampled_from(["min", "max"])),
    min_gap=st.none() | st.builds(Gap, st.integers(0, 50)) | st.builds(Gap, st.none(), st.floats(0, 50)),
)


@given(RULES, st.lists(st.tuples(st.integers(0, 9), METRICS, st.floats(0, 30))))
def test_over_a_whole_training_saves_are_apart_and_never_further_than_the_rules_ask(
    rules: SaveRules, training: list[tuple[int, dict[str, float], float]]
) -> None:
    step, now = 0, 1000.0
    history = history_of([], rules.best, step, now)
    for stride, metrics, pause in training:
        step, now = step + stride, now + pause
        before = history
        decision = decide(step, metrics, rules, history, now)
        assert str(decision)
        if decision:
            history = history.after(step, now, better(rules.best, metrics, history.best))
            if before.is_saved and rules.min_gap is not None:
                assert step - before.step >= (rules.min_gap.steps or 0)
                assert now - before.at >= (rules.min_gap.seconds or 0.0)
            continue
        if rules.min_gap is None and rules.every is not None and step != history.step:
            assert step // rules.every == history.step // rules.every
        if rules.min_gap is None and rules.interval is not None and not (history.is_saved and step == history.step):
            assert now - history.at < rules.interval


@given(st.lists(METRICS), st.sampled_from(["min", "max"]))
def test_the_best_of_all_is_the_least_or_greatest_finite_one(metrics: list[dict[str, float]], mode: str) -> None:
    best = None
    for each in metrics:
        best = better(Best("loss", mode), each, best)  # type: ignore[arg-type]
    finite = [each["loss"] for each in metrics if math.isfinite(each.get("loss", math.nan))]
    assert best == (None if not finite else min(finite) if mode == "min" else max(finite))
