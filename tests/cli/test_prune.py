"""prune, pin and unpin as a person and a script meet them."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest

from ckpt_tier.cli.prune_cold import plan_text
from ckpt_tier.cold.manifests import Entry
from ckpt_tier.core.retention import KeepBest, KeepEvery, KeepFor, KeepLast, Policy
from ckpt_tier.core.units import format_time
from ckpt_tier.flow.prune import rule
from ckpt_tier.pruning import ColdPlan
from ckpt_tier.system.locks import FileLock
from tests.builders import digest, manifest
from tests.cli.ground import EPOCH, Ground
from tests.cli.test_golden import _sorted_lines

RULES = "keep_last = 2\nkeep_every = 10_000\n"


@pytest.fixture
def pruned(ground: Ground) -> Ground:
    """Two series of eight committed checkpoints; the cold tier keeps the newest two and each ten thousandth step."""
    for series in "01":
        for step in range(0, 40_000, 5000):
            ground.save(step, series)
    ground.run("sync")
    with ground.config.open("a") as file:
        file.write(RULES)
    ground.run("pin", "15_000", "--series", "0", "--reason", "best for the paper")
    return ground


@contextlib.contextmanager
def at_a_terminal(ground: Ground) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    """A `prune` that can ask, and the descriptor that its keyboard writes to."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "ckpt_tier", "prune"],
            cwd=ground.root,
            env=ground.env(),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            yield process, ours
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_prune_over_ten_thousand_steps_is_a_page(ground: Ground) -> None:
    policy = Policy((KeepLast(5), KeepEvery(500_000), KeepBest("loss", "min", 3), KeepFor(3600.0)))
    found = {}
    for number in range(10_000):
        step = number * 5000
        metrics = {"loss": round(10 / (1 + number) + (0.001 * (number * 7919 % 101)), 6)} if number % 3 else {}
        one = manifest(
            step,
            (digest(f"model_gpu0/model_step_{step}.pt", size=1_200_000_000),),
            saved_at=format_time(EPOCH + number * 600),
            metrics=metrics,
        )
        found[Entry("0", step, one.generation, 0.0)] = one
    again = manifest(5000, (digest(size=1_200_000_000),), saved_at=format_time(EPOCH + 1))
    found[Entry("0", 5000, again.generation, 0.0)] = again
    rulings = rule(policy, found, {}, {("0", 740_000): "pinned: best for the paper"}, EPOCH * 2.0)
    plan = ColdPlan(policy=policy, grace=1.0, rulings=tuple(rulings), loose={}, untrusted={}, manifests={})
    ground.matches_golden("prune-10000.txt", plan_text(plan) + "\n")


def test_a_dry_run_shows_every_verdict_and_changes_nothing(pruned: Ground) -> None:
    pruned.run("list")  # fills the cache of manifests
    before = {path: path.stat().st_mtime_ns for path in pruned.root.rglob("*")}
    result = pruned.run("prune", "--dry-run")
    assert {path: path.stat().st_mtime_ns for path in pruned.root.rglob("*")} == before
    pruned.matches_golden("prune-dry-run.txt", result.out)
    pruned.matches_golden("prune-dry-run.json", _sorted_lines(pruned.run("prune", "--dry-run", "--json").document))


def test_a_prune_removes_now_and_frees_later(pruned: Ground) -> None:
    pruned.matches_golden("prune.txt", pruned.run("prune", "--yes").out)
    for path in (pruned.cold / "swelu").rglob("*"):
        os.utime(path, (EPOCH, EPOCH))
    pruned.matches_golden("prune-again.txt", pruned.run("prune", "--yes").out)
    assert pruned.objects(5000) == []
    assert len(pruned.objects(10_000)) == 2
    assert pruned.run("verify").code == 0


def test_nothing_is_deleted_where_nobody_can_be_asked(pruned: Ground) -> None:
    before = sorted((pruned.cold / "swelu").rglob("*"))
    result = pruned.run("prune", code=2)
    assert result.err == (
        "error: prune deletes, and there is no terminal to ask on\nhint: give --yes to delete, or --dry-run to look\n"
    )
    assert pruned.run("prune", "--json", code=2).error["error"] == "--json can't ask"
    assert sorted((pruned.cold / "swelu").rglob("*")) == before


@pytest.mark.parametrize(("answer", "removed"), [(b"n\n", False), (b"\n", False), (b"y\n", True)])
def test_on_a_terminal_prune_asks_and_takes_only_a_yes(pruned: Ground, answer: bytes, removed: bool) -> None:
    with at_a_terminal(pruned) as (process, keyboard):
        os.write(keyboard, answer)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"In the cold tier, remove 5 checkpoints? [y/N]" in err
    assert (b"Nothing was changed." in out) != removed
    assert (pruned.run("list").out.count("committed") == 11) == removed


def test_ctrl_c_at_the_question_ends_it_and_deletes_nothing(pruned: Ground) -> None:
    with at_a_terminal(pruned) as (process, _):
        assert process.stderr is not None
        assert process.stderr.read(len("In the cold tier, remove"))
        # Again and again, as a person would: one that comes just before the read begins does not end it.
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        process.kill()
    assert process.returncode == 130
    assert len(list((pruned.cold / "swelu/0/manifests").iterdir())) == 8


def test_the_list_shows_pins_with_their_reasons(pruned: Ground) -> None:
    pruned.matches_golden("list-pins.txt", pruned.run("list", "--series", "0").out)
    assert pruned.run("list", "--json").document["checkpoints"][3]["pin"] == "pinned: best for the paper"


def test_a_step_is_pinned_and_unpinned_in_every_series_that_has_it(pruned: Ground) -> None:
    assert pruned.run("pin", "5000").out == "✓ pinned series 0, step 5000\n✓ pinned series 1, step 5000\n"
    document = pruned.run("pin", "5000", "--series", "1", "--reason", "why", "--json").document
    [pin] = document["pinned"]
    assert (pin["series"], pin["step"], pin["reason"]) == ("1", 5000, "why")
    assert pruned.run("unpin", "5000", "--json").document["unpinned"] == [["0", 5000], ["1", 5000]]
    pruned.run("unpin", "5000", code=4)
    pruned.run("pin", "123", code=4)
    pruned.run("pin", "many", code=2)


def test_a_pinned_step_stays_on_the_hot_tier_too(ground: Ground) -> None:
    for step in range(0, 20_000, 5000):
        ground.save(step)
    ground.run("sync")
    kept = sorted(path.name for path in ground.hot.rglob("*.safetensors"))
    ground.run("pin", "10_000")
    ground.save(20_000)
    ground.run("sync")
    assert len(kept) == 2
    assert {path.stem.rpartition("_")[2] for path in ground.hot.rglob("*.safetensors")} == {"10000", "15000", "20000"}


def test_the_only_copy_of_what_was_pruned_stays_on_the_hot_tier(pruned: Ground) -> None:
    pruned.config.write_text(pruned.config.read_text().replace("keep_last = 2\nmin", "keep_last = 8\nmin", 1))
    pruned.config.write_text(pruned.config.read_text().replace("keep_last = 2\nkeep_every", "keep_every", 1))
    for step in (5000, 15_000, 25_000):
        pruned.run("restore", "--step", str(step))
    for hold in (pruned.hot / ".ckpt-tier/holds").iterdir():
        hold.unlink()
    pruned.run("sync")
    pruned.run("prune", "--yes")
    pruned.config.write_text(pruned.config.read_text().replace("keep_last = 8", "keep_last = 2", 1))
    assert pruned.run("status").code == 0
    pruned.run("sync")
    hot = sorted(pruned.hot.rglob("*.safetensors"))
    told = pruned.run("prune", "--tier", "hot", "--dry-run").out
    assert "the only copy" in told
    assert "0 checkpoints to remove, 0 B; 10 checkpoints to keep" in told
    document = pruned.run("prune", "--tier", "hot", "--yes", "--json").document
    assert (document["tier"], document["removed_count"]) == ("hot", 0)
    assert sorted(pruned.hot.rglob("*.safetensors")) == hot
    assert pruned.run("prune", "--tier", "hot", "--yes").out.endswith("Nothing was changed.\n")


def test_rejected_files_go_where_a_later_good_one_is_committed(ground: Ground) -> None:
    ground.save(1000)
    os.truncate(ground.save(2000), 1000)
    ground.run("sync", code=9)
    assert "no later good checkpoint" in ground.run("prune", "--rejected", "--yes").out
    ground.save(1_000_000_000)
    ground.run("sync", code=9)
    ground.matches_golden("prune-rejected.txt", ground.run("prune", "--rejected", "--yes").out)
    ground.run("sync")
    assert ground.run("prune", "--rejected").out.startswith("There is no rejected file.")


def test_what_makes_no_sense_or_can_not_be_done_now_is_said(pruned: Ground) -> None:
    assert "the cold tier has no rejected files" in pruned.run("prune", "--rejected", "--tier", "cold", code=2).err
    assert "no committed checkpoint" in pruned.run("prune", "--series", "7", "--yes", code=4).err
    with pruned.config.open("a") as file:
        file.write('keep_for = "1 parsec"\n')
    pruned.run("prune", "--yes", code=3)


def test_a_running_worker_keeps_the_hot_tier_to_itself(pruned: Ground) -> None:
    pruned.config.write_text(pruned.config.read_text().replace("keep_last = 2", "keep_last = 1", 1))
    lock = FileLock(pruned.hot / ".ckpt-tier/worker.lock", "the test")
    with lock.acquire("wait"):
        pruned.run("prune", "--tier", "hot", "--yes", code=8)
    pruned.run("prune", "--tier", "hot", "--yes")
    assert len(list(pruned.hot.rglob("*.safetensors"))) == 2


def test_a_manifest_that_can_not_be_trusted_is_kept_and_the_exit_code_says_so(pruned: Ground) -> None:
    [path] = (pruned.cold / "swelu/0/manifests").glob("000000005000.*")
    path.write_bytes(msgspec.json.encode({"format": 99}))
    result = pruned.run("prune", "--yes", code=5)
    assert "1 manifest can't be trusted: step 5000 of series 0" in result.err
    assert path.exists()
    pruned.run("prune", "--yes", "-q", code=5)


def test_the_cold_tier_that_is_away_is_said_and_nothing_is_changed(pruned: Ground) -> None:
    (pruned.cold / ".ckpt-tier-store").rename(pruned.root / "away")
    pruned.run("prune", "--yes", code=6)
    pruned.run("pin", "5000", code=6)
