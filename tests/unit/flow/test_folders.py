"""A folder as one checkpoint: taken up when whole, committed as one, evicted and brought back by one rename."""

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt_tier.core.events import Evicted, NotEvicted
from ckpt_tier.core.states import State
from ckpt_tier.errors import ConflictError
from ckpt_tier.flow import evict
from ckpt_tier.flow.delivery import STALLED_WAIT
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.protocol import Stat
from tests.builders import TwoTiers, checkpoint
from tests.kills import dying_at, killed_at, one_thread

LAYOUT = "checkpoint-{step}/"


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    return TwoTiers(tmp_path, layout=LAYOUT, keep_last=1)


def write(tiers: TwoTiers, step: int, seed: int = 0, *, done: bool = True) -> Path:
    """A folder as trainers of language models write it: shards, optimizer, and text."""
    folder = tiers.hot / f"checkpoint-{step}"
    (folder / "global").mkdir(parents=True, exist_ok=True)
    files = {
        "model-00001.pt": checkpoint(step, seed),
        "global/optimizer.pt": checkpoint(step, seed + 50),
        "config.json": json.dumps({"seed": seed}).encode(),
    }
    if done:
        files["trainer_state.json"] = b'{"global_step": %d}' % step
    for name, data in files.items():
        (folder / name).write_bytes(data)
        tiers.touch(folder / name)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def cold_steps(tiers: TwoTiers) -> list[int]:
    return tiers.cold_steps("main")


def test_a_folder_is_one_checkpoint_of_one_member_with_all_its_files(tiers: TwoTiers) -> None:
    folder = write(tiers, 5)
    expected = content(folder)
    tiers.sync()
    assert cold_steps(tiers) == [5]
    [listed] = tiers.operations().checkpoints()
    assert listed.size_bytes == sum(map(len, expected.values()))
    [back] = tiers.restored(step=5, to=tiers.root / "back")
    assert content(tiers.root / "back" / "checkpoint-5") == expected
    assert {path.name for path in back.files} == {"model-00001.pt", "optimizer.pt", "config.json", "trainer_state.json"}


class Asked(FolderStore):
    """Counts the questions for each object, and the listings below each prefix."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.stats: Counter[str] = Counter()
        self.lists: Counter[str] = Counter()

    def stat(self, key: str) -> Stat:
        self.stats[key] += 1
        return super().stat(key)

    def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
        self.lists[prefix] += 1
        return super().list(prefix, after)


def write_many(tiers: TwoTiers, count: int) -> Path:
    folder = tiers.hot / "checkpoint-5"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.bin").write_bytes(b"x" * (number + 1))
        tiers.touch(folder / f"{number}.bin")
    return folder


@pytest.mark.parametrize(("count", "asked", "listed"), [(4, 4, 0), (30, 0, 1)])
def test_that_few_files_are_there_is_asked_of_each_and_of_many_by_a_listing(
    tiers: TwoTiers, count: int, asked: int, listed: int
) -> None:
    folder = write_many(tiers, count)
    store = Asked(tiers.cold)
    tiers.sync(store)
    assert sum(number for key, number in store.stats.items() if key.endswith(".bin")) == asked
    assert sum(number for prefix, number in store.lists.items() if "/data/" in prefix) == listed
    expected = content(folder)
    [back] = tiers.restored(step=5, to=tiers.root / "back")
    assert content(tiers.root / "back" / "checkpoint-5") == expected
    assert len(back.files) == count


class Losing(FolderStore):
    """Loses one object, once, after all were sent."""

    lost = ""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        super().put(key, data, if_absent=if_absent)
        if "SHA256SUMS" in key and not self.lost:
            self.lost = key.rpartition("/")[0] + "/checkpoint-5/3.bin"
            self.delete(self.lost)


@pytest.mark.parametrize("count", [4, 30])
def test_what_disappears_before_the_commit_is_noticed_and_sent_again(tiers: TwoTiers, count: int) -> None:
    folder = write_many(tiers, count)
    store = Losing(tiers.cold)
    tiers.sync(store)
    assert cold_steps(tiers) == []
    [row] = tiers.saves()
    assert row.state is State.STALLED
    assert f"{store.lost} is missing" in row.reason
    tiers.clock.time += STALLED_WAIT + 1
    tiers.sync(store)
    assert cold_steps(tiers) == [5]
    tiers.restored(step=5, to=tiers.root / "back")
    assert content(tiers.root / "back" / "checkpoint-5") == content(folder)


def test_small_files_that_arrived_before_a_kill_are_not_fetched_again(tiers: TwoTiers) -> None:
    expected = content(write(tiers, 5))
    tiers.sync()
    with one_thread(), killed_at(14):
        tiers.restored(step=5, to=tiers.root / "back")
    staged = [path.read_bytes() for path in (tiers.root / "back").rglob("*.part")]
    arrived = sum(len(data) for data in staged if data in expected.values())
    assert 0 < arrived < sum(map(len, expected.values()))
    [back] = tiers.restored(step=5, to=tiers.root / "back")
    assert back.fetched_bytes == sum(map(len, expected.values())) - arrived
    assert content(tiers.root / "back" / "checkpoint-5") == expected


def test_the_sums_beside_the_data_restore_it_without_this_program(tiers: TwoTiers) -> None:
    write(tiers, 5)
    tiers.sync()
    [sums] = (tiers.cold / "run/main/data").rglob("SHA256SUMS.*")
    check = subprocess.run(["sha256sum", "-c", sums.name], cwd=sums.parent, capture_output=True, text=True, check=True)
    assert check.stdout.count(": OK") == 4
    assert "checkpoint-5/global/optimizer.pt: OK" in check.stdout


def test_older_folders_are_evicted_whole_and_leave_nothing_behind(tiers: TwoTiers) -> None:
    for step in (5, 6, 7):
        write(tiers, step)
    tiers.sync()
    assert sorted(p.name for p in tiers.hot.iterdir() if not p.name.startswith(".ckpt-tier")) == ["checkpoint-7"]
    assert cold_steps(tiers) == [5, 6, 7]


def test_a_folder_with_one_bad_shard_is_rejected_with_the_shard_named(tiers: TwoTiers) -> None:
    folder = write(tiers, 5)
    shard = folder / "global" / "optimizer.pt"
    os.truncate(shard, 100)
    tiers.sync()
    assert cold_steps(tiers) == []
    [save] = tiers.saves()
    assert save.state is State.REJECTED
    assert save.reason.startswith("global/optimizer.pt: ")
    assert content(folder)


def test_a_folder_is_taken_up_only_once_the_file_that_says_so_is_in_it(tiers: TwoTiers) -> None:
    tiers.set(hot={"complete_when": "trainer_state.json"})
    write(tiers, 5, done=False)
    tiers.sync()
    assert tiers.saves() == []
    [plan] = tiers.operations().plan()
    assert (plan.kind, plan.after) == ("wait", "a file trainer_state.json is in it")
    write(tiers, 5)
    tiers.sync()
    assert cold_steps(tiers) == [5]


def test_a_folder_that_still_gets_files_is_waited_for(tiers: TwoTiers) -> None:
    tiers.set(hot={"settle": 10.0})
    tiers.clock.time = time.time()
    folder = write(tiers, 5)
    for path in folder.rglob("*"):
        os.utime(path, (5.0, 5.0))
    tiers.clock.time = time.time() + 3.0
    assert [action.kind for action in tiers.operations().plan()] == ["wait"]


def test_the_hook_hands_a_whole_folder_over_and_keeps_it_from_the_trainers_own_clean_up(tiers: TwoTiers) -> None:
    folder = write(tiers, 5)
    expected = content(folder)
    tiers.tier().saved(folder, 5, metrics={"loss": 2.0})
    assert len(tiers.unsent()) == 4
    shutil.rmtree(folder)
    tiers.sync()
    assert cold_steps(tiers) == [5]
    assert tiers.unsent() == []
    tiers.restored(step=5)
    assert content(folder) == expected


def test_a_file_that_the_trainer_deletes_from_a_folder_meanwhile_comes_from_its_link(tiers: TwoTiers) -> None:
    folder = write(tiers, 5)
    expected = content(folder)
    tiers.tier().saved(folder, 5)
    (folder / "global" / "optimizer.pt").unlink()
    tiers.sync()
    [first, *_] = [m for m in tiers.operations().checkpoints() if m.committed_at]
    tiers.restored(step=5, generation=first.generation, to=tiers.root / "back")
    assert content(tiers.root / "back" / "checkpoint-5") == expected


def test_a_folder_saved_twice_is_two_generations(tiers: TwoTiers) -> None:
    write(tiers, 5, seed=1)
    tiers.sync()
    write(tiers, 5, seed=2)
    tiers.sync()
    assert cold_steps(tiers) == [5, 5]


def test_a_file_that_came_into_a_folder_after_its_commit_calls_the_eviction_off(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tiers, 5)
    write(tiers, 6)
    real = evict.rename_no_replace

    def then_write(source: Path, target: Path) -> None:
        if target.name.endswith(".evicting"):
            (source / "late.json").write_text("{}")
        real(source, target)

    monkeypatch.setattr(evict, "rename_no_replace", then_write)
    tiers.sync()
    assert (tiers.hot / "checkpoint-5" / "late.json").exists()
    assert (tiers.hot / "checkpoint-5" / "model-00001.pt").exists()
    assert tiers.happened(NotEvicted)
    assert not tiers.happened(Evicted)


def test_a_folder_that_is_open_is_not_evicted(tiers: TwoTiers) -> None:
    write(tiers, 5)
    write(tiers, 6)
    with (tiers.hot / "checkpoint-5" / "config.json").open("rb"):
        tiers.sync()
    assert (tiers.hot / "checkpoint-5").is_dir()


@dying_at(range(40))
def test_a_kill_at_any_moment_loses_nothing_and_leaves_no_half_folder(tiers: TwoTiers, count: int) -> None:
    expected = {step: content(write(tiers, step)) for step in (5, 6)}
    with killed_at(count):
        tiers.sync()
    tiers.sync()
    assert cold_steps(tiers) == [5, 6]
    assert sorted(p.name for p in tiers.hot.iterdir() if p.name != ".ckpt-tier") == ["checkpoint-6"]
    for step, files in expected.items():
        to = tiers.root / f"back-{step}"
        tiers.restored(step=step, to=to)
        assert content(to / f"checkpoint-{step}") == files


def test_a_folder_of_which_everything_was_proven_is_removed_by_the_next_start(tiers: TwoTiers) -> None:
    write(tiers, 6)
    half = tiers.hot / f".checkpoint-5.{'0' * 16}.evicted"
    half.mkdir()
    (half / "rest.pt").write_bytes(b"x")
    tiers.sync()
    assert not half.exists()


def test_an_existing_folder_with_other_files_is_kept_unless_forced(tiers: TwoTiers) -> None:
    folder = write(tiers, 5, seed=1)
    expected = content(folder)
    tiers.sync()
    (folder / "config.json").write_text("mine")
    with pytest.raises(ConflictError):
        tiers.restored(step=5)
    assert (folder / "config.json").read_text() == "mine"
    tiers.restored(step=5, force=True)
    assert content(folder) == expected
    aside = list((tiers.hot / ".ckpt-tier" / "replaced").iterdir())
    assert [path.read_text() for path in aside] == ["mine"]


@dying_at(range(14))
def test_a_restore_that_is_killed_shows_a_whole_folder_or_none(tiers: TwoTiers, count: int) -> None:
    expected = content(write(tiers, 5))
    tiers.sync()
    to = tiers.root / "back"
    with killed_at(count):
        tiers.restored(step=5, to=to)
    assert not (to / "checkpoint-5").exists() or content(to / "checkpoint-5") == expected
    tiers.restored(step=5, to=to)
    assert content(to / "checkpoint-5") == expected
    assert [path.name for path in to.iterdir()] == ["checkpoint-5"]


def test_a_symlink_in_a_folder_is_said_and_the_folder_left_alone(tiers: TwoTiers) -> None:
    folder = write(tiers, 5)
    (folder / "best.pt").symlink_to("model-00001.pt")
    tiers.sync()
    assert cold_steps(tiers) == []
    assert any("checkpoint-5/best.pt is neither file nor folder" in str(event) for event in tiers.events)


def test_each_rank_may_save_a_folder_of_its_own(tmp_path: Path) -> None:
    tiers = TwoTiers(tmp_path, layout="step_{step}/rank{rank}/", keep_last=1)
    for step in (5, 6):
        for rank in range(2):
            folder = tiers.hot / f"step_{step}" / f"rank{rank}"
            folder.mkdir(parents=True)
            for name in ("model.pt", "optimizer.pt"):
                (folder / name).write_bytes(checkpoint(step, rank))
                tiers.touch(folder / name)
            tiers.tier().saved(folder, step, world_size=2)
    tiers.sync()
    assert cold_steps(tiers) == [5, 6]
    assert [p.name for p in sorted((tiers.hot / "step_5").glob("*"))] == []
    tiers.restored(step=5)
    assert (tiers.hot / "step_5/rank1/optimizer.pt").read_bytes() == checkpoint(5, 1)
