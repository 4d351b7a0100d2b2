"""`status --disk` and a prune without a cold tier, as a person, cron and a script meet them."""

import os
import re
from pathlib import Path

import pytest

from tests.cli.ground import EPOCH, Ground
from tests.cli.test_documents_fit_their_schemas import fits
from tests.cli.test_golden import _sorted_lines


@pytest.fixture
def full(ground: Ground) -> Ground:
    """Two series of five checkpoints, the newest of series 1 cut short, and what else lies about."""
    for series in "01":
        for step in range(0, 25_000, 5000):
            ground.save(step, series)
    cut(ground, 20_000, "1")
    (ground.hot / "notes.txt").write_bytes(b"x" * 500)
    (ground.hot / "model_gpu0/model_step_25000.safetensors.tmp").write_bytes(b"x" * 700)
    aside = ground.hot / ".ckpt-tier/replaced/model_step_1.safetensors"
    aside.parent.mkdir(parents=True)
    aside.write_bytes(b"x" * 900)
    return ground


@pytest.fixture
def alone(full: Ground) -> Ground:
    """The same without a cold tier."""
    full.config.write_text(full.config.read_text().partition("[cold]")[0])
    return full


@pytest.fixture
def shared(alone: Ground) -> Ground:
    """The same files, but the two folders are the shares of two ranks; step 5000 lacks one of them."""
    configure(alone, "model_gpu{series}", "model_gpu{rank}")
    (alone.hot / "model_gpu1/model_step_5000.safetensors").unlink()
    return alone


def configure(ground: Ground, old: str, new: str) -> None:
    ground.config.write_text(ground.config.read_text().replace(old, new))


def cut(ground: Ground, step: int, series: str) -> Path:
    path = ground.hot / f"model_gpu{series}/model_step_{step}.safetensors"
    os.truncate(path, 2000)
    os.utime(path, (EPOCH + step, EPOCH + step))
    return path


def steps(ground: Ground, series: str) -> list[int]:
    names = [path.stem for path in (ground.hot / f"model_gpu{series}").glob("*.safetensors")]
    return sorted(int(name.rpartition("_")[2]) for name in names)


def test_the_disk_before_and_after_a_sync(full: Ground) -> None:
    full.matches_golden("disk-before.txt", full.run("status", "--disk").out)
    full.run("sync", code=9)
    full.save(25_000)
    full.matches_golden("disk.txt", full.run("status", "--disk").out)
    result = full.run("status", "--disk", "--json")
    assert fits(result.document, "disk")
    full.matches_golden("disk.json", _sorted_lines(result.document))


def test_the_disk_fits_80_columns(full: Ground) -> None:
    out = full.run("status", "--disk", COLUMNS="80").out
    long = [line for line in out.splitlines() if len(line) > 80 and str(full.root) not in line]
    assert long == []


def test_a_check_is_silent_while_all_is_well(full: Ground) -> None:
    assert full.run("status", "--disk", "--check").out == ""


def test_a_check_below_the_threshold_prints_one_line_and_exits_with_9(full: Ground) -> None:
    out = full.run("status", "--disk", "--check", "--min-free", "100%", code=9).out
    assert re.fullmatch(r"swelu: /.*/hot: .* of .* free, less than .*, 0 B can be deleted at once\n", out)
    full.config.write_text(full.config.read_text().replace('min_free = "1B"', 'min_free = "100%"'))
    assert full.run("status", "--disk", "--check", code=9).out == out
    assert full.run("status", "--disk", "--check", "--json", code=9).document["alert"] == out[:-1]


def test_a_wrong_threshold_says_how_to_write_it(full: Ground) -> None:
    assert 'hint: write it like "10%" or "50GiB"' in full.run("status", "--disk", "--min-free", "much", code=2).err
    assert 'hint: write it like "10s"' in full.run("status", "--disk", "--within", "soon", code=2).err
    assert "hint: add --disk" in full.run("status", "--check", code=2).err


def test_a_cold_tier_that_is_away_is_said_and_the_disk_is_shown_all_the_same(full: Ground) -> None:
    full.cold.rename(full.root / "away")
    out = full.run("status", "--disk").out
    assert "! the cold tier is away" in out
    assert "What stays, and why" in out


def test_without_a_cold_tier_a_prune_keeps_the_newest_whole_ones_of_each_series(alone: Ground) -> None:
    alone.matches_golden("prune-alone-dry-run.txt", alone.run("prune", "--tier", "hot", "--dry-run").out)
    assert len(steps(alone, "0")) == 5
    before = alone.run("status", "--disk").out
    assert "6 checkpoints" not in before
    alone.matches_golden("disk-alone.txt", before)
    alone.matches_golden("prune-alone.txt", alone.run("prune", "--tier", "hot", "--yes").out)
    assert steps(alone, "0") == [15_000, 20_000]
    assert steps(alone, "1") == [10_000, 15_000, 20_000]  # the last of them is the corrupt one
    result = alone.run("prune", "--tier", "hot", "--yes", "--json")
    assert fits(result.document, "prune")
    assert result.document["removed_count"] == 0


def test_without_a_cold_tier_the_shares_of_several_ranks_go_as_one_or_stay_and_say_what_is_missing(
    shared: Ground,
) -> None:
    prune = ("prune", "--tier", "hot")
    assert "0 checkpoints to remove" in shared.run(*prune, "--dry-run").out
    assert "how many ranks make a checkpoint is not known: set [hot] ranks" in shared.run(*prune, "--yes").out
    configure(shared, "keep_last", "ranks = 2\nkeep_last")
    shared.matches_golden("prune-shares.txt", shared.run(*prune, "--yes").out)
    assert steps(shared, "0") == [5000, 10_000, 15_000, 20_000]
    assert steps(shared, "1") == [10_000, 15_000, 20_000]  # the last of them is the corrupt one
    shared.matches_golden("disk-shares.txt", shared.run("status", "--disk").out)
    result = shared.run(*prune, "--yes", "--json")
    assert fits(result.document, "prune")
    assert {each["rank"] for each in result.document["checkpoints"]} == {0, 1}


def test_without_a_cold_tier_nothing_goes_where_nobody_can_be_asked(alone: Ground) -> None:
    assert "--yes to delete" in alone.run("prune", "--tier", "hot", code=2).err
    assert len(steps(alone, "0")) == 5


def test_without_a_cold_tier_what_needs_one_exits_with_3_and_says_what_to_do(alone: Ground) -> None:
    said = "error: there is no cold tier: the configuration has no [cold] url\nhint: add url"
    for command in ("sync", "sync --dry-run", "restore --step 1", "exec -- true", "verify", "prune --yes", "pin 0"):
        assert alone.run(*command.split(), code=3).err.startswith(said), command


def test_without_a_cold_tier_the_newest_good_one_of_the_hot_tier_is_resumed_from(alone: Ground) -> None:
    assert "is on the hot tier alone, and there is no cold tier" in alone.run("restore", "--latest").out


def test_without_a_cold_tier_the_hot_one_is_listed_and_examined(alone: Ground) -> None:
    assert alone.run("list").out.count(" hot ") == 10
    alone.matches_golden("status-alone.txt", alone.run("status").out)
    assert "there is none: nothing is uploaded" in alone.run("doctor", code=None).out
