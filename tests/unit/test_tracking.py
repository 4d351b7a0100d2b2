"""Names tracked through the checkpoints of two tiers: which are looked at, where each is read, what fails alone."""

import io
from pathlib import Path

import msgspec
import pytest
import torch

from ckpt_tier.core.nouns import FileStamp, Stamp, stamp_of
from ckpt_tier.core.states import State
from ckpt_tier.errors import IntegrityError, NotFoundError, UnavailableError, UsageError
from ckpt_tier.journal.journal import Journal
from ckpt_tier.journal.saves import Save, SavedFile
from ckpt_tier.tracking import Tracked, Tracking
from tests.builders import TwoTiers, flip_a_bit


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    tiers = TwoTiers(tmp_path)
    for step in (5, 10, 15):
        tiers.write(step)
    tiers.sync()
    return tiers


def track(tiers: TwoTiers, *patterns: str, series: str | None = None, **options: object) -> Tracked:
    tracking = Tracking(tiers.wiring())
    return tracking.run(patterns, tracking.steps(series, **options))  # type: ignore[arg-type]


def values(tracked: Tracked, name: str) -> dict[int, float | None]:
    return {
        point.step.step: next((t.found.figures.value for t in point.tracks if t.name == name and t.found.figures), None)
        for point in tracked.points
    }


def test_every_step_is_read_where_it_is_and_the_second_time_from_the_cache(tiers: TwoTiers) -> None:
    found = track(tiers, "step", "model.w")
    assert [(point.step.step, point.where) for point in found.points] == [(5, "cold"), (10, "hot"), (15, "hot")]
    assert values(found, "step") == {5: 5.0, 10: 10.0, 15: 15.0}
    again = track(tiers, "model.w", "step")
    assert [point.where for point in again.points] == ["cache"] * 3
    assert (again.cost.requests, again.cached) == (0, 3)
    assert [point.tracks for point in again.points] == [point.tracks for point in found.points]


def test_the_api_gives_the_same(tiers: TwoTiers) -> None:
    assert values(tiers.tier().track("step", first=10), "step") == {10: 10.0, 15: 15.0}


def test_a_hot_copy_that_changed_is_read_from_the_cold_tier(tiers: TwoTiers) -> None:
    tiers.path(10).write_bytes(b"other")
    found = track(tiers, "step")
    assert [point.where for point in found.points] == ["cold", "cold", "hot"]
    assert values(found, "step")[10] == 10.0


def test_what_is_on_the_hot_tier_alone_is_tracked_too(tiers: TwoTiers) -> None:
    [newest] = (tiers.cold / "run/0/manifests").glob("000000000015.*")
    newest.unlink()
    assert values(track(tiers, "step"), "step") == {5: 5.0, 10: 10.0, 15: 15.0}


def test_without_a_cold_tier_the_hot_one_is_tracked(tiers: TwoTiers) -> None:
    tiers.config = msgspec.structs.replace(tiers.config, cold=msgspec.structs.replace(tiers.config.cold, url=""))
    found = track(tiers, "step")
    assert values(found, "step") == {10: 10.0, 15: 15.0}
    assert found.cold_error == ""


def test_while_the_cold_tier_is_away_the_hot_one_is_tracked_and_that_is_told(tiers: TwoTiers) -> None:
    tiers.cold.rename(tiers.root / "away")
    found = track(tiers, "step")
    assert values(found, "step") == {10: 10.0, 15: 15.0}
    assert found.cold_error
    tiers.lose_journal()
    with pytest.raises(UnavailableError):
        track(tiers, "step", series="0")


def test_a_step_that_was_saved_twice_has_two_points_by_time(tiers: TwoTiers) -> None:
    tiers.write(5, seed=1)
    tiers.sync()
    steps = [(point.step.step, point.step.generation) for point in track(tiers, "model.w").points]
    assert [step for step, _ in steps] == [5, 5, 10, 15]
    assert steps[0][1] != steps[1][1]


def test_an_abandoned_branch_is_left_out_unless_it_is_asked_for(tiers: TwoTiers) -> None:
    from ckpt_tier.cold.branches import write_branch
    from ckpt_tier.core.branches import Branch

    write_branch(tiers.wiring().cold.manifests, Branch("0", after=5, before=tiers.clock.time + 1))
    found = track(tiers, "step")
    assert values(found, "step") == {5: 5.0}
    assert "2 on an abandoned branch" in found.notes[0]
    whole = track(tiers, "step", abandoned=True)
    assert [point.step.abandoned for point in whole.points] == [False, True, True]


def test_steps_can_be_chosen(tiers: TwoTiers) -> None:
    assert values(track(tiers, "step", first=10), "step").keys() == {10, 15}
    assert values(track(tiers, "step", last=10), "step").keys() == {5, 10}
    assert values(track(tiers, "step", every=10), "step").keys() == {10}
    with pytest.raises(NotFoundError, match="no checkpoint to track"):
        track(tiers, "step", first=1000)


def test_a_damaged_record_is_one_points_problem_and_is_not_remembered(tiers: TwoTiers) -> None:
    [data] = (tiers.cold / "run/0/data/000000000005").rglob("*.pt")
    data.chmod(0o644)
    flip_a_bit(data)
    for _ in range(2):
        found = track(tiers, "model.w", "step")
        assert values(found, "step") == {5: 5.0, 10: 10.0, 15: 15.0}
        assert found.points[0].where == "cold"
        [(step, problem, code)] = found.problems
        assert (step.step, code) == (5, IntegrityError.exit_code)
        assert "CRC32" in problem


def test_a_missing_object_and_a_broken_manifest_stop_nothing(tiers: TwoTiers) -> None:
    [data] = (tiers.cold / "run/0/data/000000000005").rglob("*.pt")
    data.unlink()
    [manifest] = (tiers.cold / "run/0/manifests").glob("000000000010.*")
    manifest.chmod(0o644)
    manifest.write_bytes(b"{")
    (tiers.state_dir / "manifests.sqlite").unlink(missing_ok=True)
    found = track(tiers, "step")
    assert {step.step for step, _, _ in found.problems} == {5, 10}
    assert {code for _, _, code in found.problems} == {IntegrityError.exit_code}
    assert values(found, "step")[15] == 15.0


def test_a_name_that_only_some_steps_have_leaves_gaps(tiers: TwoTiers) -> None:
    path = tiers.path(20)
    torch.save({"step": 20, "new": torch.tensor(2.5)}, path)
    tiers.touch(path)
    tiers.sync()
    assert values(track(tiers, "new"), "new") == {5: None, 10: None, 15: None, 20: 2.5}


def test_a_name_that_no_step_has_is_an_error_that_tells_the_nearest(tiers: TwoTiers) -> None:
    with pytest.raises(NotFoundError, match=r"'modl\.w'.*nearest names are model\.w"):
        track(tiers, "modl.w")


def test_several_series_and_none_named_is_an_error(tiers: TwoTiers) -> None:
    tiers.write(5, series="1")
    tiers.sync()
    with pytest.raises(UsageError, match="there are the series 0, 1"):
        track(tiers, "step")
    assert values(track(tiers, "step", series="1"), "step") == {5: 5.0}


def test_names_that_every_rank_has_are_told_apart_by_the_rank(tiers: TwoTiers) -> None:
    def share(rank: int) -> Save:
        name = f"ranked/rank_{rank}.pt"
        path = tiers.hot / name
        path.parent.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        torch.save({"w": torch.tensor(float(rank)), f"only{rank}": torch.tensor(7.0)}, buffer)
        path.write_bytes(buffer.getvalue())
        status = path.stat()
        stamp = Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
        return Save(
            series="ranked",
            step=7,
            path=name,
            stamp=stamp_of([FileStamp(name, stamp)]),
            files=(SavedFile(path=name, stamp=stamp),),
            saved_at=float(rank),
            rank=rank,
            world_size=2,
            state=State.VALIDATED,
        )

    journal = Journal.open(tiers.state_dir)
    for rank in (1, 0):
        saved = journal.put(share(rank))
        journal.put(msgspec.structs.replace(saved, generation="0" * 16))
    journal.close()
    found = track(tiers, "*", series="ranked")
    assert found.names == ("rank0:w", "only0", "rank1:w", "only1")
    assert values(found, "rank1:w") == {7: 1.0}
    assert track(tiers, "w", series="ranked", rank=1).names == ("w",)
