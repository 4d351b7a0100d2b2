"""What is not given is measured, configured or assumed, in this order, and said."""

import contextlib
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from ckpt_tier.config.model import FreeSpace
from ckpt_tier.core.estimate import Assumption, estimate
from ckpt_tier.errors import UsageError
from ckpt_tier.estimating import UPLINK, Answer, Given, answer, look
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.space import space
from ckpt_tier.journal.journal import Facts, Journal
from tests.builders import TwoTiers

WHOLE = Given(steps=757_500, every=5000, size=1_200_000_000, series=6, keep=3)


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    return TwoTiers(tmp_path)


def asked(tiers: TwoTiers, given: Given) -> Answer:
    return answer(given, look(None, tiers.config, env={}, cwd=tiers.root))


def source(found: Answer, name: str) -> str:
    return next((each.source for each in found.assumptions if each.name == name), "given")


def put(tiers: TwoTiers, step: int, series: str = "0") -> None:
    """A file in a checkpoint's place: nothing here looks into one."""
    path = tiers.hot / Layout.parse(tiers.config.hot.layout).format(series, step)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * 120)


def learn(tiers: TwoTiers, rate: float) -> None:
    with contextlib.closing(Journal.open(tiers.state_dir)) as journal:
        journal.learn(Facts(upload_bytes_per_second=rate))


def test_what_is_given_is_not_an_assumption(tiers: TwoTiers) -> None:
    whole = msgspec.structs.replace(WHOLE, interval=1500.0, uplink=10**8, budget=22 * 10**9)
    assert asked(tiers, whole).assumptions == ()


def test_the_uplink_is_as_the_journal_measured_it(tiers: TwoTiers) -> None:
    assert (asked(tiers, WHOLE).training.uplink, source(asked(tiers, WHOLE), "uplink")) == (UPLINK, "assumed")
    learn(tiers, 120e6)
    found = asked(tiers, WHOLE)
    assert found.training.uplink == 120_000_000
    assert Assumption("uplink", "120 MB/s", "measured") in found.assumptions


@pytest.mark.parametrize(
    ("bandwidth", "uplink", "known"), [(10**6, 10**6, "configured"), (10**9, 120 * 10**6, "measured")]
)
def test_a_bandwidth_that_is_configured_is_never_exceeded(
    tiers: TwoTiers, bandwidth: int, uplink: int, known: str
) -> None:
    learn(tiers, 120e6)
    tiers.set(upload={"bandwidth": bandwidth})
    found = asked(tiers, WHOLE)
    assert (found.training.uplink, source(found, "uplink")) == (uplink, known)


def test_a_running_folder_needs_no_option(tiers: TwoTiers) -> None:
    for step in (5000, 10_000, 15_000):
        for series in "01":
            put(tiers, step, series)
    found = asked(tiers, Given())
    assert (found.training.steps, found.every, found.training.size, found.training.series) == (15_000, 5000, 120, 2)
    assert (found.keep, source(found, "keep")) == (2, "configured")


def test_the_room_is_what_is_free_and_what_checkpoints_hold_less_min_free(tiers: TwoTiers) -> None:
    tiers.set(hot={"min_free": FreeSpace(size=10**6)})
    put(tiers, 5000)
    seen = look(None, tiers.config, env={}, cwd=tiers.root)
    assert seen.measured is not None
    assert answer(WHOLE, seen).training.room == seen.free + seen.measured.held - 10**6
    assert abs(seen.free - space(tiers.hot).free) < 10**9


def test_without_a_folder_the_disk_of_the_current_one_is_meant(tmp_path: Path) -> None:
    found = answer(WHOLE, look(None, None, env={}, cwd=tmp_path))
    assert source(found, "budget") == "measured"
    assert (source(found, "interval"), source(found, "uplink")) == ("assumed", "assumed")


def test_a_folder_that_is_not_the_configured_one_is_recognised_by_itself(tiers: TwoTiers, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for step in (100, 200):
        (other / f"model_step_{step}.pt").write_bytes(b"x" * 50)
    found = answer(Given(steps=1000), look(other, tiers.config, env={"HOME": str(tmp_path)}, cwd=tmp_path))
    assert (found.every, found.training.size, found.keep) == (100, 50, 3)
    assert source(found, "keep") == "assumed"


def test_a_budget_is_solved_for_what_to_keep_unless_that_is_given(tiers: TwoTiers) -> None:
    free = msgspec.structs.replace(WHOLE, keep=None, budget=22 * 10**9)
    assert (asked(tiers, free).keep, asked(tiers, free).asked.fits) == (2, True)
    fixed = msgspec.structs.replace(WHOLE, budget=22 * 10**9)
    assert (asked(tiers, fixed).keep, asked(tiers, fixed).asked.fits, asked(tiers, fixed).largest_keep) == (3, False, 2)


@pytest.mark.parametrize("name", ["steps", "every", "size"])
def test_what_nobody_knows_has_to_be_given(tiers: TwoTiers, name: str) -> None:
    with pytest.raises(UsageError, match=f"--{name} is missing") as caught:
        asked(tiers, msgspec.structs.replace(WHOLE, **{name: None}))
    assert f"--{name} " in caught.value.fix
    assert str(tiers.hot) in caught.value.why


def test_a_hot_folder_that_is_not_there_is_no_obstacle_to_arithmetic(tiers: TwoTiers) -> None:
    tiers.hot.rmdir()
    assert asked(tiers, WHOLE).asked.saves == 151
    with pytest.raises(UsageError, match="is not there"):
        asked(tiers, Given())


def test_a_training_that_ends_before_its_first_save_is_refused(tiers: TwoTiers) -> None:
    with pytest.raises(UsageError, match="no checkpoint would be made in 100 steps"):
        asked(tiers, msgspec.structs.replace(WHOLE, steps=100))


PLANNED = Given(steps=757_500, size=1_200_000_000, series=6, budget=600 * 10**9)


@pytest.mark.parametrize("keep", [None, "all"])
def test_a_budget_without_a_frequency_says_how_often_to_save_if_all_are_kept(
    tiers: TwoTiers, keep: Literal["all"] | None
) -> None:
    found = asked(tiers, msgspec.structs.replace(PLANNED, keep=keep))
    assert (found.every, found.keep, found.asked.saves) == (9100, "all", 83)
    assert found.asked.fits
    assert not estimate(found.training, 9000, "all").fits, "100 steps less, and it is too much"


def test_a_budget_with_a_frequency_from_the_folder_still_says_how_many_to_keep(tiers: TwoTiers) -> None:
    for step in (5000, 10_000):
        put(tiers, step)
    found = asked(tiers, Given(steps=100_000, budget=600))
    assert (found.every, found.keep) == (5000, 4)
    assert asked(tiers, Given(steps=100_000, budget=600, keep="all")).every == 17_000


def test_a_budget_that_says_how_often_must_hold_one_save_and_tells_no_time(tiers: TwoTiers) -> None:
    with pytest.raises(UsageError, match="not even one save fits") as caught:
        asked(tiers, msgspec.structs.replace(PLANNED, budget=10**9))
    assert "7.20 GB" in caught.value.why
    with pytest.raises(UsageError, match="--interval says the time"):
        asked(tiers, msgspec.structs.replace(PLANNED, interval=60.0))
