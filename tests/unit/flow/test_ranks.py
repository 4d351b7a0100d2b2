"""Many ranks, one checkpoint: committed without leader, lock or collective, and never mixed with another save."""

import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ckpt_tier.cold.documents import decode, encode
from ckpt_tier.cold.manifest import Manifest
from ckpt_tier.cold.receipts import Receipt, Receipts
from ckpt_tier.core.events import Warned
from ckpt_tier.core.states import State
from ckpt_tier.errors import AttentionError, ConflictError, IntegrityError, NotFoundError, UsageError
from ckpt_tier.flow import upload
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.reclaim import find_loose
from ckpt_tier.hot.layout import Layout
from ckpt_tier.journal.saves import Save
from ckpt_tier.pruning import Pruning
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.tier import Tier
from tests.builders import SteppedClock, TwoTiers, checkpoint

SHARED = "step_{step}/rank_{rank}.pt"
OWN = "step_{step}.pt"


class Node:
    """One machine of the training: its own hot folder and journal, and the cold tier that all share."""

    def __init__(self, root: Path, name: str, layout: str, clock: SteppedClock, **hot: object) -> None:
        self.tiers = TwoTiers(root / name, clock, layout=layout, **hot)
        cold = root / "cold"
        cold.mkdir(exist_ok=True)
        FolderStore(cold).create_marker()
        self.tiers.cold = cold
        self.tiers.set(cold={"url": str(cold)})
        self.start_again()

    def start_again(self) -> None:
        """The training's process is another one from here on."""
        self.opened = Tier(self.tiers.config, clock=self.tiers.clock, started_at=self.tiers.clock.time)

    def save(self, step: int, rank: int, world_size: int, seed: int = 0, **more: object) -> Path:
        layout = Layout.parse(self.tiers.config.hot.layout)
        path = self.tiers.hot / layout.format("main", step, rank if layout.has_rank else None)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(".new")
        temporary.write_bytes(checkpoint(step, 100 * rank + seed))
        temporary.replace(path)
        self.tiers.touch(path)
        self.opened.saved(path, step, rank=rank, world_size=world_size, **more)  # type: ignore[arg-type]
        return path

    def sync(self) -> None:
        self.tiers.sync()

    def manifests(self) -> list[Manifest]:
        found = sorted((self.tiers.cold / "run" / "main" / "manifests").glob("*.json"))
        return [decode(path.read_bytes(), Manifest, path.name) for path in found]

    def states(self) -> dict[tuple[int, int | None], str]:
        return {(save.step, save.rank): str(save.state) for save in self.tiers.saves()}


def nodes(root: Path, count: int, layout: str = OWN, **hot: object) -> list[Node]:
    clock = SteppedClock()
    return [Node(root, f"node-{number}", layout, clock, **hot) for number in range(count)]


def test_five_of_six_ranks_are_invisible_and_the_sixth_commits_one_manifest(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 6)
    for rank, node in enumerate(cluster):
        node.save(5, rank, 6, metrics={"loss": 1.5} if rank == 0 else {})
    for node in cluster[:5]:
        node.sync()
    assert cluster[0].manifests() == []
    assert cluster[0].states() == {(5, 0): "uploaded"}
    assert cluster[0].tiers.saves()[0].reason == "waits for ranks 1, 2, 3, 4, 5 of 6"
    assert cluster[4].tiers.saves()[0].reason == "waits for rank 5 of 6"
    cluster[5].sync()
    [manifest] = cluster[0].manifests()
    assert [member.rank for member in manifest.members] == list(range(6))
    assert manifest.metrics == {"loss": 1.5}
    for node in cluster:
        node.sync()
        [save] = node.tiers.saves()
        assert (save.state, save.generation) == (State.COMMITTED, manifest.generation)
        assert node.tiers.unsent() == []
    assert len(cluster[0].manifests()) == 1


def test_each_rank_comes_back_with_its_own_bytes(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 3)
    for rank, node in enumerate(cluster):
        node.save(5, rank, 3)
        node.sync()
    for rank in range(3):
        [back] = cluster[0].tiers.restored(step=5, rank=rank, to=tmp_path / f"back-{rank}")
        assert back.files == (tmp_path / f"back-{rank}" / "step_5.pt",)
        assert back.files[0].read_bytes() == checkpoint(5, 100 * rank)
    with pytest.raises(UsageError, match="3 ranks under the same paths"):
        cluster[0].tiers.restored(step=5, to=tmp_path / "all")
    with pytest.raises(NotFoundError, match="has no rank 3"):
        cluster[0].tiers.restored(step=5, rank=3, to=tmp_path / "none")
    assert not (tmp_path / "all" / "step_5.pt").exists()


def test_over_one_shared_folder_one_worker_commits_all_ranks_and_evicts_them_together(tmp_path: Path) -> None:
    [node] = nodes(tmp_path, 1, SHARED, keep_last=1)
    for step in (5, 6):
        for rank in range(4):
            node.save(step, rank, 4)
    node.sync()
    assert [(m.step, len(m.members)) for m in node.manifests()] == [(5, 4), (6, 4)]
    left = sorted(path.relative_to(node.tiers.hot).as_posix() for path in node.tiers.hot.rglob("rank_*.pt"))
    assert left == [f"step_6/rank_{rank}.pt" for rank in range(4)]
    node.tiers.restored(step=5)
    assert (node.tiers.hot / "step_5/rank_3.pt").read_bytes() == checkpoint(5, 300)


def test_ranks_found_by_scanning_alone_need_their_number_and_are_committed_once_settled(tmp_path: Path) -> None:
    [node] = nodes(tmp_path, 1, SHARED)
    for rank in range(3):
        path = node.tiers.hot / f"step_5/rank_{rank}.pt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(checkpoint(5, rank))
        node.tiers.touch(path)
    node.sync()
    assert node.manifests() == []
    assert node.states() == {}
    assert any("set [hot] ranks" in action.reason for action in node.tiers.operations().plan())
    node.tiers.set(hot={"ranks": 3})
    node.sync()
    assert node.manifests() == []
    assert "waits 120 s, in case a rank saves it again" in {save.reason for save in node.tiers.saves()}
    node.tiers.clock.time += 200
    node.sync()
    assert [len(m.members) for m in node.manifests()] == [3]


def test_without_the_journal_committed_shares_are_recognised_and_nothing_is_sent_or_posted_again(
    tmp_path: Path,
) -> None:
    [node] = nodes(tmp_path, 1, SHARED, ranks=2)
    for rank in range(2):
        node.save(5, rank, 2)
    node.sync()
    before = node.tiers.objects()
    node.tiers.lose_journal()
    node.sync()
    assert {save.state for save in node.tiers.saves()} == {State.COMMITTED}
    assert node.tiers.objects() == before


def test_a_lost_journal_before_the_last_rank_loses_nothing(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 2)
    cluster[0].save(5, 0, 2)
    cluster[0].sync()
    cluster[0].tiers.lose_journal()
    cluster[0].sync()
    assert cluster[0].states() == {(5, 0): "uploaded"}
    cluster[1].save(5, 1, 2)
    cluster[1].sync()
    cluster[0].sync()
    assert len(cluster[0].manifests()) == 1
    assert cluster[0].states() == {(5, 0): "committed"}


# Saves are never mixed


def shas(manifest: Manifest) -> list[str]:
    return [file.sha256 for file in manifest.files]


@pytest.mark.parametrize("seconds", [30.0, 3600.0], ids=["within the window", "an hour later"])
@pytest.mark.parametrize("second", [range(6), range(3, 6)], ids=["all six", "the other three"])
def test_a_pass_that_died_and_a_second_one_are_never_a_blend(tmp_path: Path, seconds: float, second: range) -> None:
    cluster = nodes(tmp_path, 6)
    for rank in range(3):
        cluster[rank].save(5, rank, 6, seed=1)
        cluster[rank].sync()
    cluster[0].tiers.clock.time += seconds
    for node in cluster:
        node.start_again()
    cluster[0].tiers.clock.time += 1
    for rank in second:
        cluster[rank].save(5, rank, 6, seed=2)
    for node in reversed(cluster):
        node.sync()
    for node in cluster:
        node.sync()
    made = cluster[0].manifests()
    if len(second) == 6:
        [manifest] = made
        assert len({file.sha256 for file in manifest.files}) == 6
        cold = cluster[0].tiers.cold
        for rank, file in enumerate(manifest.files):
            assert (cold / file.key).read_bytes() == checkpoint(5, 100 * rank + 2)
    else:
        assert made == []


def test_two_whole_passes_are_two_generations_and_both_come_back(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 3)
    for seed in (1, 2):
        for node in cluster:
            node.start_again()
        for rank, node in enumerate(cluster):
            node.save(5, rank, 3, seed=seed)
        for node in cluster:
            node.sync()
        for node in cluster:
            node.sync()
        cluster[0].tiers.clock.time += 3600
    first, second = sorted(cluster[0].manifests(), key=lambda m: m.saved)
    for manifest, seed in ((first, 1), (second, 2)):
        for rank in range(3):
            to = tmp_path / f"{seed}-{rank}"
            cluster[0].tiers.restored(step=5, generation=manifest.generation, rank=rank, to=to)
            assert (to / "step_5.pt").read_bytes() == checkpoint(5, 100 * rank + seed)


def test_a_second_pass_in_the_same_processes_is_told_apart_by_the_step_that_does_not_grow(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 3)
    for rank, node in enumerate(cluster):
        node.save(5, rank, 3, seed=1)
        if rank < 2:
            node.sync()
    cluster[2].tiers.clock.time += 10
    for rank in (0, 1):
        cluster[rank].save(5, rank, 3, seed=2)
    cluster[2].sync()
    assert [m.members[0].files[0].sha256 for m in cluster[2].manifests()] == [
        save.files[0].digest.sha256 for save in cluster[0].tiers.saves() if save.files[0].digest is not None
    ][:1]
    [manifest] = cluster[2].manifests()
    for rank, file in enumerate(manifest.files):
        assert (cluster[2].tiers.cold / file.key).read_bytes() == checkpoint(5, 100 * rank + 1)


def test_the_same_bytes_saved_again_in_a_second_pass_make_its_set_whole(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 2)
    for seed in (1, 2):
        for node in cluster:
            node.start_again()
        for rank, node in enumerate(cluster):
            node.save(5, rank, 2, seed=0 if rank == 0 else seed)  # rank 0 saves the same bytes in both passes
        for node in (*cluster, *cluster):
            node.sync()
        cluster[0].tiers.clock.time += 3600
    assert len(cluster[0].manifests()) == 2


def test_what_nobody_can_tell_apart_stays_pending_and_is_reported(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 2)
    cluster[0].save(5, 0, 2, seed=1)
    cluster[0].sync()
    cluster[0].start_again()
    cluster[0].opened = Tier(cluster[0].tiers.config, clock=cluster[0].tiers.clock, started_at=0.0)
    cluster[0].save(5, 0, 2, seed=2)
    cluster[0].sync()
    cluster[1].opened = Tier(cluster[1].tiers.config, clock=cluster[1].tiers.clock, started_at=0.0)
    cluster[1].save(5, 1, 2)
    with cluster[1].tiers.syncing() as syncing:
        syncing.run_until_idle()
        assert str(syncing.attention()) == "a person is needed: 1 incomplete"
    assert cluster[1].manifests() == []
    assert "rank 0 saved it more than once" in cluster[1].tiers.saves()[0].reason


def test_a_save_id_used_twice_for_different_bytes_is_refused_and_reported(tmp_path: Path) -> None:
    [node] = nodes(tmp_path, 1)
    node.save(5, 0, 2, seed=1, save_id="pass-1")
    node.sync()
    node.save(5, 0, 2, seed=2, save_id="pass-1")
    with node.tiers.syncing() as syncing:
        syncing.run_until_idle()
        attention = syncing.attention()
    assert isinstance(attention, AttentionError)
    reasons = [save.reason for save in node.tiers.saves() if save.state is State.STALLED]
    assert ["has saved step 5 twice under the save id 'pass-1'" in reason for reason in reasons] == [True]


def test_the_job_says_what_belongs_together_where_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = nodes(tmp_path, 2)
    for name, value, expected in (
        ("TORCHELASTIC_RUN_ID", "none", None),
        ("SLURM_JOB_ID", "77", "77-0-0-0"),
        ("TORCHELASTIC_RUN_ID", "swelu", "swelu-0-0"),
        ("CKPT_TIER_SAVE_ID", "mine", "mine-0"),
    ):
        monkeypatch.setenv(name, value)
        cluster[0].start_again()
        cluster[0].save(5, 0, 2)
        assert list(cluster[0].tiers.wiring().inbox.tickets())[-1].save_id == expected
    cluster[0].save(5, 0, 2)
    assert list(cluster[0].tiers.wiring().inbox.tickets())[-1].save_id == "mine-1"


# Late, incomplete, racing


def test_a_rank_that_comes_an_hour_late_commits(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 2)
    for rank, node in enumerate(cluster):
        node.save(5, rank, 2)
    cluster[0].sync()
    cluster[0].tiers.clock.time += 3600
    cluster[1].sync()
    assert len(cluster[1].manifests()) == 1


def test_a_set_that_a_later_checkpoint_has_overtaken_needs_a_person_until_it_is_given_up(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 2)
    cluster[0].save(5, 0, 2, save_id="late")
    with cluster[0].tiers.syncing() as syncing:
        syncing.run_until_idle()
        assert syncing.attention() is None, "a queue that is merely not empty is no trouble"
    for rank, node in enumerate(cluster):
        node.save(6, rank, 2)
        node.sync()
    with cluster[0].tiers.syncing() as syncing:
        syncing.run_until_idle()
        attention = syncing.attention()
    assert attention is not None
    assert str(attention) == "a person is needed: 1 incomplete"
    [warning] = [event for event in cluster[0].tiers.happened(Warned) if "is not whole" in str(event)]
    assert "waits for rank 1 of 2" in str(warning)
    assert [a.state for a in cluster[0].tiers.operations().status().attention] == ["incomplete"]
    assert cluster[0].tiers.operations().dismiss({5}) == [("main", 5)]
    with cluster[0].tiers.syncing() as syncing:
        syncing.run_until_idle()
        assert syncing.attention() is None
    assert (cluster[0].tiers.hot / "step_5.pt").exists(), "nothing uncommitted is deleted"
    cluster[1].save(5, 1, 2, save_id="late")
    cluster[1].sync()
    cluster[0].sync()
    assert len(cluster[0].manifests()) == 2, "and it is committed all the same when the other rank comes"


def test_two_committers_at_once_write_the_same_manifest(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 8)
    for rank, node in enumerate(cluster):
        node.save(5, rank, 8)
    barrier = threading.Barrier(8)
    failures: list[BaseException] = []

    def run(node: Node) -> None:
        barrier.wait()
        try:
            node.sync()
            node.sync()
        except BaseException as error:  # noqa: BLE001 (shown below)
            failures.append(error)

    threads = [threading.Thread(target=run, args=(node,)) for node in cluster]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for node in cluster:
        node.sync()
        assert node.states() == {(5, cluster.index(node)): "committed"}
    assert len(cluster[0].manifests()) == 1


def test_a_share_that_asks_a_moment_too_early_does_not_undo_what_the_last_one_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [node] = nodes(tmp_path, 1, SHARED)
    for rank in range(2):
        node.save(5, rank, 2)
    asked, noted = threading.Event(), threading.Event()
    ask, post, note = upload.set_of, Receipts.post, upload.note_committed

    def ask_too_early(mine: Receipt, *others: Any, **more: Any) -> Any:
        answer = ask(mine, *others, **more)
        if mine.rank == 0:
            asked.set()
            assert noted.wait(60)
        return answer

    def post_afterwards(self: Receipts, receipt: Receipt) -> None:
        assert receipt.rank == 0 or asked.wait(60)
        post(self, receipt)

    def note_first(parts: Parts, save: Save, **more: Any) -> Save:
        row = note(parts, save, **more)
        if save.rank == 0:
            noted.set()
        return row

    monkeypatch.setattr(upload, "set_of", ask_too_early)
    monkeypatch.setattr(Receipts, "post", post_afterwards)
    monkeypatch.setattr(upload, "note_committed", note_first)
    node.sync()
    assert node.states() == {(5, 0): "committed", (5, 1): "committed"}
    assert [save.reason for save in node.tiers.saves()] == ["", ""]


def test_a_share_whose_trainer_deletes_it_while_it_waits_is_committed_and_never_called_lost(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 2)
    path = cluster[0].save(5, 0, 2)
    cluster[0].sync()
    path.unlink()
    cluster[0].sync()
    assert cluster[0].states() == {(5, 0): "uploaded"}
    cluster[1].save(5, 1, 2)
    cluster[1].sync()
    cluster[0].sync()
    cluster[0].sync()
    assert cluster[0].states() == {}
    assert cluster[0].tiers.unsent() == []


def test_a_rank_that_is_rejected_keeps_its_set_pending(tmp_path: Path) -> None:
    [node] = nodes(tmp_path, 1, SHARED, keep_last=1)
    for rank in range(3):
        node.save(5, rank, 3)
    for rank in range(3):
        path = node.save(6, rank, 3)
        if rank == 1:
            os.truncate(path, 100)
    with node.tiers.syncing() as syncing:
        syncing.run_until_idle()
        assert syncing.attention() is not None
    assert [m.step for m in node.manifests()] == [5]
    assert len(list(node.tiers.hot.glob("step_5/*.pt"))) == 3, "an incomplete checkpoint does not push a whole one out"


# What is read is hostile


def receipt_of(node: Node) -> tuple[str, Receipt]:
    [path] = (node.tiers.cold / "run/main/receipts").rglob("*.json")
    key = path.relative_to(node.tiers.cold).as_posix()
    return key, decode(path.read_bytes(), Receipt, key)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"rank": 7}, "its ranks are impossible"),
        ({"world_size": 10**9}, "its ranks are impossible"),
        ({"step": 6}, "it stands under another name"),
        ({"save_id": "../x"}, "is not a save id"),
        ({"saved_at": "yesterday"}, "yesterday"),
        ({"format": 2}, "its format is 2"),
    ],
)
def test_a_receipt_that_is_not_sound_is_reported_and_counts_for_nothing(
    tmp_path: Path, change: dict[str, object], why: str
) -> None:
    cluster = nodes(tmp_path, 2)
    cluster[0].save(5, 0, 2)
    cluster[0].sync()
    key, receipt = receipt_of(cluster[0])
    forged = msgspec.structs.replace(receipt, **change)
    (cluster[0].tiers.cold / key).write_bytes(encode(forged))
    found, damaged = Receipts(FolderStore(cluster[0].tiers.cold), "run").of_step("main", 5)
    assert found == []
    [error] = damaged
    assert isinstance(error, IntegrityError)
    assert why in str(error)


def test_posting_the_same_receipt_again_changes_nothing_and_another_one_is_a_conflict(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 2)
    cluster[0].save(5, 0, 2, save_id="a")
    cluster[0].sync()
    key, receipt = receipt_of(cluster[0])
    receipts = Receipts(FolderStore(cluster[0].tiers.cold), "run")
    before = (cluster[0].tiers.cold / key).read_bytes()
    receipts.post(receipt)
    cluster[1].save(5, 0, 2, seed=9, save_id="b")
    cluster[1].sync()
    others, _ = receipts.of_step("main", 5)
    other = next(each for each in others if each.save_id == "b")
    with pytest.raises(ConflictError, match="twice under the save id"):
        receipts.post(msgspec.structs.replace(other, save_id="a"))
    assert (cluster[0].tiers.cold / key).read_bytes() == before


# What retention may take


def test_data_that_a_receipt_promises_to_an_unfinished_set_is_never_freed(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 2)
    for step in (5, 6):
        cluster[0].save(step, 0, 2)
    cluster[1].save(6, 1, 2)
    for node in (*cluster, *cluster):
        node.sync()
    manifests = cluster[0].tiers.wiring().cold.manifests
    far = 10 * 365 * 86_400.0 + cluster[0].tiers.clock.time
    assert find_loose(manifests, "main", 3600.0, far).due == ()
    for path in (cluster[0].tiers.cold / "run/main/receipts/000000000005").rglob("*.json"):
        path.unlink()
    assert {stat.key.split("/")[3] for stat in find_loose(manifests, "main", 3600.0, far).due} == {"000000000005"}


def test_what_was_committed_and_pruned_is_freed_although_its_receipts_are_there(tmp_path: Path) -> None:
    cluster = nodes(tmp_path, 2)
    for step in (5, 6):
        for rank, node in enumerate(cluster):
            node.save(step, rank, 2)
    for node in (*cluster, *cluster):
        node.sync()
    cluster[0].tiers.set(cold={"keep_last": 1})
    pruning = Pruning(cluster[0].tiers.wiring())
    list(pruning.remove(pruning.cold_plan()))
    far = 10 * 365 * 86_400.0 + cluster[0].tiers.clock.time
    due = find_loose(cluster[0].tiers.wiring().cold.manifests, "main", 3600.0, far).due
    assert {stat.key.split("/")[3] for stat in due} == {"000000000005"}
    before = {key for key in cluster[0].tiers.objects() if "_configs" not in key}
    for node in cluster:
        node.tiers.lose_journal()
        node.sync()
        assert {save.state for save in node.tiers.saves()} == {State.COMMITTED}
    assert {key for key in cluster[0].tiers.objects() if "_configs" not in key} == before
    assert [m.step for m in node.manifests()] == [6], "what was pruned is not committed again"


@pytest.mark.parametrize("harm", ["removed", "cut"])
def test_the_last_of_many_ranks_commits_nothing_while_what_another_has_sent_is(tmp_path: Path, harm: str) -> None:
    cluster = nodes(tmp_path, 6)
    for rank, node in enumerate(cluster):
        node.save(5, rank, 6)
    for node in cluster[:5]:
        node.sync()
    data = cluster[0].tiers.cold / "run" / "main" / "data" / "000000000005"
    member = next(save.member for save in cluster[2].tiers.saves())
    [sent] = data.glob(f"{member}/*.pt")
    if harm == "removed":
        sent.unlink()
    else:
        sent.write_bytes(sent.read_bytes()[:-1])
    cluster[5].sync()
    assert cluster[5].manifests() == []
    [waiting] = cluster[5].tiers.saves()
    assert waiting.state is State.STALLED
    assert sent.parent.name in waiting.reason


def test_receipts_of_a_save_id_are_read_only_when_all_ranks_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    plain = Receipts._read

    def counted(self: Receipts, key: str) -> Receipt | IntegrityError:
        read.append(key)
        return plain(self, key)

    monkeypatch.setattr(Receipts, "_read", counted)
    cluster = nodes(tmp_path, 6)
    for rank, node in enumerate(cluster):
        node.save(5, rank, 6, save_id="one")
        node.sync()
        assert len(read) == (6 if rank == 5 else 0)
    assert cluster[0].tiers.saves()[0].reason == "waits for ranks 1, 2, 3, 4, 5 of 6"
    assert len(cluster[0].manifests()) == 1
