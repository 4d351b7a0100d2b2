"""A set of files that a killed restore had begun to place is finished by the next start, and never by halves."""

import shutil
from pathlib import Path

import pytest

from ckpt_tier.core.events import Note, Warned
from ckpt_tier.flow import placing
from ckpt_tier.inbox import HIDDEN
from tests.builders import TwoTiers, checkpoint
from tests.kills import Countdown, dying_at, killed_at

RANKS = 3
STEP = 5
TOUCHES = 60  # more than a restore of the set has


def below(root: Path) -> TwoTiers:
    return TwoTiers(root, layout="step_{step}/rank_{rank}.pt", ranks=RANKS, keep_last=1)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> TwoTiers:
    tiers = below(tmp_path_factory.mktemp("template"))
    for step in (STEP, STEP + 1):
        for rank in range(RANKS):
            path = tiers.hot / f"step_{step}/rank_{rank}.pt"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(checkpoint(step, rank))
            tiers.touch(path)
            tiers.tier().saved(path, step, rank=rank, world_size=RANKS, save_id=f"save-{step}")
    tiers.sync()
    assert in_place(tiers.hot) == []
    return tiers


@pytest.fixture
def filled(template: TwoTiers, tmp_path: Path) -> TwoTiers:
    """A checkpoint of three ranks in one folder, committed and no longer hot."""
    shutil.copytree(template.root, tmp_path, dirs_exist_ok=True)
    tiers = below(tmp_path)
    tiers.clock.time = template.clock.time
    return tiers


def in_place(root: Path) -> list[int]:
    """Which ranks of the step are there; each must be whole."""
    ranks = []
    for rank in range(RANKS):
        path = root / f"step_{STEP}/rank_{rank}.pt"
        if path.exists():
            assert path.read_bytes() == checkpoint(STEP, rank)
            ranks.append(rank)
    return ranks


def bring(tiers: TwoTiers, to: Path | None = None) -> None:
    tiers.restored(step=STEP, to=to)


def kill_between_two_names(tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch, to: Path | None = None) -> None:
    """A restore that dies when one file of three has its name."""
    real, dies = placing.publish, Countdown(1)

    def publish(temporary: Path, target: Path) -> None:
        dies.tick()
        real(temporary, target)

    with monkeypatch.context() as patch, killed_at(10**6):
        patch.setattr(placing, "publish", publish)
        bring(tiers, to)
    assert in_place(to or tiers.hot) == [0]


def finished(tiers: TwoTiers) -> list[str]:
    return [event.text for event in tiers.happened(Note) if "finished the restore" in getattr(event, "text", "")]  # type: ignore[attr-defined]


@dying_at(range(TOUCHES))
def test_after_a_kill_anywhere_the_next_sync_shows_all_of_the_set_or_nothing(filled: TwoTiers, count: int) -> None:
    with killed_at(count):
        bring(filled)
    before = in_place(filled.hot)
    filled.sync()
    after = in_place(filled.hot)
    assert after in ([], list(range(RANKS)))
    assert set(before) <= set(after)
    bring(filled)
    assert in_place(filled.hot) == list(range(RANKS))
    assert not (filled.hot / HIDDEN / "staging").exists()
    assert len(filled.cold_steps("main")) == 2


def test_the_touches_that_are_tried_are_all_there_are(filled: TwoTiers) -> None:
    with killed_at(TOUCHES) as countdown:
        bring(filled)
    assert 0 < countdown.left < TOUCHES
    assert in_place(filled.hot) == list(range(RANKS))


def test_a_set_half_of_which_has_its_names_is_finished_by_the_next_sync_and_said(
    filled: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_between_two_names(filled, monkeypatch)
    filled.sync()
    assert in_place(filled.hot) == [0, 1, 2]
    assert finished(filled) == ["finished the restore of step 5 of series main, which had been killed"]
    assert not (filled.hot / HIDDEN / "staging").exists()


def test_elsewhere_it_is_finished_by_the_next_restore_of_whichever_step(
    filled: TwoTiers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    kill_between_two_names(filled, monkeypatch, to)
    filled.restored(step=STEP + 1, to=to)
    assert in_place(to) == [0, 1, 2]
    assert (to / f"step_{STEP + 1}/rank_2.pt").read_bytes() == checkpoint(STEP + 1, 2)
    assert len(finished(filled)) == 1


def test_a_restore_under_way_is_left_alone(filled: TwoTiers, monkeypatch: pytest.MonkeyPatch) -> None:
    kill_between_two_names(filled, monkeypatch)
    with placing.destination_lock(filled.hot, "another restore").acquire(""):
        filled.sync()
    assert in_place(filled.hot) == [0]


def test_another_file_in_the_place_stays_and_a_person_is_told(
    filled: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_between_two_names(filled, monkeypatch)
    theirs = filled.hot / f"step_{STEP}/rank_1.pt"
    theirs.write_bytes(checkpoint(STEP, 99))
    placing.finish(filled.hot, filled.clock, filled.events.append)
    assert theirs.read_bytes() == checkpoint(STEP, 99)
    assert not (filled.hot / f"step_{STEP}/rank_2.pt").exists()
    [warned] = filled.happened(Warned)
    assert "is not finished" in str(warned)
    assert "rank_1.pt is there and differs" in str(warned)
    filled.events.clear()
    placing.finish(filled.hot, filled.clock, filled.events.append)
    assert filled.events == []


def test_staged_bytes_that_are_not_as_they_were_proven_get_no_name(
    filled: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_between_two_names(filled, monkeypatch)
    staged = sorted((filled.hot / HIDDEN / "staging").glob("*/*.part"))
    assert len(staged) == 2
    for path in staged:
        path.write_bytes(b"?" * path.stat().st_size)
    filled.sync()
    assert in_place(filled.hot) == [0]
    assert any("is not in staging any more as it was proven" in str(event) for event in filled.happened(Warned))
    bring(filled)
    assert in_place(filled.hot) == [0, 1, 2]


def test_a_list_that_names_a_place_outside_the_destination_is_refused(
    filled: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_between_two_names(filled, monkeypatch)
    [found] = (filled.hot / HIDDEN / "staging").glob("*/placing.json")
    found.write_bytes(found.read_bytes().replace(b"step_5/rank_1.pt", b"../../rank_1.pt"))
    filled.sync()
    assert in_place(filled.hot) == [0]
    assert not (filled.hot.parent.parent / "rank_1.pt").exists()
    assert any("leads outside the destination" in str(event) for event in filled.happened(Warned))
    assert not found.exists()


def test_what_the_disk_refuses_is_said_and_tried_again(filled: TwoTiers, monkeypatch: pytest.MonkeyPatch) -> None:
    kill_between_two_names(filled, monkeypatch)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(placing, "publish", full)
        filled.sync()
    assert any("can't be finished" in str(event) for event in filled.happened(Warned))
    filled.sync()
    assert in_place(filled.hot) == [0, 1, 2]
