"""The worker's housekeeping: whatever fails in it, the queue goes on and nothing is silent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt_tier import worker
from ckpt_tier.core.events import Warned
from ckpt_tier.errors import CancelledError, UnavailableError
from ckpt_tier.worker import REST, _House
from tests.builders import TwoTiers


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    return TwoTiers(tmp_path)


@pytest.fixture
def house(tiers: TwoTiers) -> Iterator[_House]:
    """Of a worker that has committed one step."""
    tiers.write(1)
    with tiers.syncing() as syncing:
        syncing.run_until_idle()
        yield _House(syncing, tiers.wiring(), tiers.events.append)


def warnings(tiers: TwoTiers) -> list[str]:
    return [event.text for event in tiers.happened(Warned) if isinstance(event, Warned)]


def test_first_it_sweeps_and_then_it_verifies(house: _House, tiers: TwoTiers) -> None:
    for _ in range(20):
        house.keep()
        tiers.clock.time += 0.5
    now = tiers.operations().status()
    assert now.cold.last_verified_at is not None
    assert house._parts.journal.facts.swept_at > 0
    assert warnings(tiers) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UnavailableError("the line is down"), "put off: the line is down"),
        (ZeroDivisionError("odd"), "ZeroDivisionError"),
    ],
    ids=["expected", "unexpected"],
)
def test_what_fails_is_said_once_and_tried_again_in_an_hour(
    house: _House, tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    tried = []

    def fails(*_: object) -> None:
        tried.append(tiers.clock.time)
        raise error

    monkeypatch.setattr(worker, "sweep", fails)
    for _ in range(10):
        house.keep()
        tiers.clock.time += 1.0
    [warned] = warnings(tiers)
    assert said in warned
    tiers.clock.time += REST
    house.keep()
    assert len(tried) == 2


def test_a_stop_request_is_no_failure(house: _House, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise CancelledError("stopped")

    monkeypatch.setattr(worker, "sweep", stopped)
    with pytest.raises(CancelledError):
        house.keep()


def test_a_log_that_cannot_be_rotated_does_not_fill_itself_by_saying_so(
    house: _House, tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker, "rotate_log", refused)
    for _ in range(10):
        house.rotate_log()
        tiers.clock.time += 1.0
    [warned] = warnings(tiers)
    assert "No space left" in warned
    tiers.clock.time += REST
    house.rotate_log()
    assert len(warnings(tiers)) == 2
