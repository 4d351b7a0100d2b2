"""Four real processes of a torch.distributed group (gloo), each with its own view of the cold tier; and eight processes
of one machine that ask at the same time."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

import ckpt_tier
from ckpt_tier.core.events import PassedOver
from ckpt_tier.errors import CkptTierError, UsageError
from ckpt_tier.together import Group
from tests.builders import TwoTiers, checkpoint
from tests.minio import Bucket
from tests.proxy import troubled
from tests.ready import go, started

RANKS = 4


def outcome(ask: Callable[[], ckpt_tier.Restored]) -> dict[str, Any]:
    """What one rank got, as JSON takes it."""
    try:
        got = ask()
    except CkptTierError as error:
        return {"error": type(error).__name__, "what": error.what}
    return {"step": got.step, "generation": got.generation, "bytes": got.files[0].stat().st_size}


def one_rank(rank: int, root: str) -> None:
    """Runs in a process of its own: asks in every way, and writes down what came of each."""
    dist.init_process_group("gloo", init_method=f"file://{root}/meeting", rank=rank, world_size=RANKS)
    said: dict[str, Any] = {}
    tiers = TwoTiers(Path(root) / f"rank-{rank}")
    group: Any = dist.group.WORLD

    def tier(**options: Any) -> ckpt_tier.Tier:
        return ckpt_tier.open(tiers.config, worker=False, **options)

    def to(name: str) -> Path:
        return tiers.root / name

    together = tier(process_group=group)
    if rank == 0:  # no collective: nobody else calls it
        said["alone"] = outcome(lambda: tier().restore(to=to("alone")))
    dist.barrier()
    said["apart"] = outcome(lambda: tier().restore(to=to("apart")))
    said["latest"] = outcome(lambda: together.restore(to=to("latest")))
    said["step"] = outcome(lambda: together.restore(1, to=to("step")))
    said["no such step"] = outcome(lambda: together.restore(99, to=to("none")))
    said["different questions"] = outcome(lambda: together.restore(rank % 2, to=to("different")))

    seen: list[Any] = []
    if rank == 3:
        spoil(tiers, 2)
    said["damaged for rank 3"] = outcome(lambda: together.restore(to=to("damaged"), emit=seen.append))
    said["passed over"] = [event.step for event in seen if isinstance(event, PassedOver)]
    said["damaged, and asked for"] = outcome(lambda: together.restore(2, to=to("damaged-step")))

    if rank == 1:
        in_the_way = to("conflict") / "model_gpu0" / "model_step_1.pt"
        in_the_way.parent.mkdir(parents=True)
        in_the_way.write_bytes(b"other")
    said["in the way of rank 1"] = outcome(lambda: together.restore(1, to=to("conflict")))

    blocked = to("a-file")
    if rank == 1:
        blocked.write_bytes(b"")
    said["an OSError of rank 1"] = outcome(lambda: together.restore(1, to=blocked))
    said["a wrong step"] = outcome(lambda: together.restore(-1, to=to("wrong")))

    inner = dist.new_group([2, 3])  # its rank 0 is 2
    if rank in (2, 3):
        said["inner"] = outcome(lambda: tier(process_group=inner).restore(to=to("inner")))
    else:
        try:
            Group(inner)  # type: ignore[arg-type]
        except UsageError as error:
            said["inner"] = {"error": "UsageError", "what": error.what}
    (Path(root) / f"said-{rank}.json").write_text(json.dumps(said))
    dist.barrier()
    dist.destroy_process_group()


def spoil(tiers: TwoTiers, step: int) -> None:
    for path in tiers.cold.glob(f"run/0/data/{step:012d}/*/*/*.pt"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank said. Rank 2's cold tier has a step 3 that came after rank 0 had looked."""
    root = tmp_path_factory.mktemp("ranks")
    base = TwoTiers(root / "base")
    for step in (0, 1, 2):
        base.write(step)
    base.sync()
    for rank in (0, 1, 3):
        shutil.copytree(base.cold, root / f"rank-{rank}" / "cold")
    base.write(3)
    base.sync()
    shutil.copytree(base.cold, root / "rank-2" / "cold")
    mp.spawn(one_rank, (str(root),), nprocs=RANKS)
    return [json.loads((root / f"said-{rank}.json").read_text()) for rank in range(RANKS)]


def by_rank(said: list[dict[str, Any]], question: str, field: str) -> list[Any]:
    return [each[question].get(field) for each in said]


def test_without_a_group_each_rank_goes_by_its_own_view_and_waits_for_nobody(said: list[dict[str, Any]]) -> None:
    assert by_rank(said, "apart", "step") == [2, 2, 3, 2]
    assert said[0]["alone"]["step"] == 2


def test_with_a_group_all_ranks_resume_from_the_step_that_the_leader_saw(said: list[dict[str, Any]]) -> None:
    assert by_rank(said, "latest", "step") == [2] * RANKS
    assert len(set(by_rank(said, "latest", "generation"))) == 1
    assert by_rank(said, "latest", "bytes") == [len(checkpoint(2))] * RANKS
    assert by_rank(said, "step", "step") == [1] * RANKS


def test_an_error_of_the_leader_is_raised_by_all_of_them(said: list[dict[str, Any]]) -> None:
    assert by_rank(said, "no such step", "error") == ["NotFoundError"] * RANKS
    assert len(set(by_rank(said, "no such step", "what"))) == 1


def test_ranks_that_ask_for_different_steps_are_all_told_so(said: list[dict[str, Any]]) -> None:
    assert by_rank(said, "different questions", "error") == ["UsageError"] * RANKS
    assert len(set(by_rank(said, "different questions", "what"))) == 1


def test_what_is_damaged_for_one_rank_is_passed_over_by_all(said: list[dict[str, Any]]) -> None:
    assert by_rank(said, "damaged for rank 3", "step") == [1] * RANKS
    assert [each["passed over"] for each in said] == [[2]] * RANKS
    assert by_rank(said, "damaged, and asked for", "error") == ["IntegrityError"] * RANKS
    assert all("rank 3" in what for what in by_rank(said, "damaged, and asked for", "what"))


def test_an_error_of_any_rank_is_raised_by_all_of_them(said: list[dict[str, Any]]) -> None:
    assert by_rank(said, "in the way of rank 1", "error") == ["ConflictError"] * RANKS
    assert all("rank 1" in what for what in by_rank(said, "in the way of rank 1", "what"))


def test_an_error_that_is_none_of_ours_reaches_all_of_them_too(said: list[dict[str, Any]]) -> None:
    assert by_rank(said, "an OSError of rank 1", "error") == ["CkptTierError"] * RANKS
    assert all("rank 1: FileExistsError" in what for what in by_rank(said, "an OSError of rank 1", "what"))
    assert by_rank(said, "a wrong step", "error") == ["UsageError"] * RANKS


def test_a_group_of_some_ranks_has_a_leader_of_its_own(said: list[dict[str, Any]]) -> None:
    assert by_rank(said[2:], "inner", "error") == ["NotFoundError"] * 2
    assert all("rank 1: step 3" in what for what in by_rank(said[2:], "inner", "what"))
    assert by_rank(said[:2], "inner", "error") == ["UsageError"] * 2


ASK = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.builders import TwoTiers
tiers = TwoTiers(Path(sys.argv[1]))
tiers.set(cold={"url": sys.argv[2], "endpoint_url": sys.argv[3]})
print("ready", flush=True)
sys.stdin.readline()
print(tiers.tier().restore().fetched_bytes)
"""


def test_eight_processes_of_one_machine_ask_at_once_and_one_fetches(s3: Bucket, tmp_path: Path) -> None:
    with troubled(s3) as (bucket, trouble):
        tiers = TwoTiers(tmp_path / "base")
        tiers.set(cold={"url": f"{bucket.url}/pre", "endpoint_url": bucket.endpoint_url})
        tiers.write(1)
        tiers.sync()
        trouble.seen.clear()
        arguments = (tmp_path / "asking", f"{bucket.url}/pre", bucket.endpoint_url)
        asking = [started(ASK, *arguments) for _ in range(8)]
        go(*asking)
        fetched = [int(process.communicate(timeout=120)[0]) for process in asking]
    assert sorted(fetched) == [0] * 7 + [len(checkpoint(1))]
    assert len([asked for asked in trouble.seen if asked.startswith("GET ") and "/data/" in asked]) == 1
    assert (tmp_path / "asking/hot/model_gpu0/model_step_1.pt").read_bytes() == checkpoint(1)
