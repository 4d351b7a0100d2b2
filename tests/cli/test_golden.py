"""What commands print, held against golden files."""

import json
import os

import pytest

from tests.cli.ground import EPOCH, Ground


@pytest.fixture
def trained(ground: Ground) -> Ground:
    """Two series of four checkpoints, none of them synced; the newest of series 1 is truncated."""
    for series in "01":
        for step in (0, 5000, 10_000, 15_000):
            ground.save(step, series)
    broken = ground.hot / "model_gpu1/model_step_15000.safetensors"
    os.truncate(broken, 2000)
    os.utime(broken, (EPOCH + 15_000, EPOCH + 15_000))
    return ground


def test_the_plan_before_the_first_sync(trained: Ground) -> None:
    trained.matches_golden("plan-first.txt", trained.run("sync", "--dry-run").out)


def test_the_plan_after_a_sync_keeps_and_reports(trained: Ground) -> None:
    trained.run("sync", code=9)
    trained.matches_golden("plan-later.txt", trained.run("sync", "--dry-run").out)


def test_the_plan_on_a_narrow_terminal_wraps_reasons(trained: Ground) -> None:
    out = trained.run("sync", "--dry-run", COLUMNS="60").out
    trained.matches_golden("plan-narrow.txt", out)
    assert max(len(line) for line in out.splitlines()) <= 66


def test_the_plan_as_json(trained: Ground) -> None:
    trained.matches_golden("plan.json", _sorted_lines(trained.run("sync", "--dry-run", "--json").document))


def test_the_plan_changes_nothing(trained: Ground) -> None:
    before = sorted(trained.root.rglob("*"))
    trained.run("sync", "--dry-run")
    assert [path for path in sorted(trained.root.rglob("*")) if path not in before] == []


def test_an_empty_folder_has_an_empty_plan(ground: Ground) -> None:
    ground.matches_golden("plan-empty.txt", ground.run("sync", "--dry-run").out)


def test_the_list_shows_both_tiers(trained: Ground) -> None:
    trained.run("sync", code=9)
    trained.matches_golden("list.txt", trained.run("list").out)
    trained.matches_golden("list-long.txt", trained.run("list", "--long", "--series", "1").out)


def test_the_list_as_json(trained: Ground) -> None:
    trained.run("sync", code=9)
    trained.matches_golden("list.json", _sorted_lines(trained.run("list", "--json").document))


def test_the_list_before_the_first_sync_shows_the_hot_tier(trained: Ground) -> None:
    trained.matches_golden("list-hot.txt", trained.run("list").out)


def test_two_generations_of_a_step_are_both_listed(ground: Ground) -> None:
    ground.save(5000)
    ground.run("sync")
    ground.save(5000, fill=1)
    ground.run("sync")
    out = ground.run("list").out
    assert out.count("committed") == 2
    ground.matches_golden("list-generations.txt", out)


def test_the_status_before_and_after_a_sync(trained: Ground) -> None:
    trained.matches_golden("status-before.txt", trained.run("status").out)
    trained.run("sync", code=9)
    trained.matches_golden("status-after.txt", trained.run("status", code=9).out)


def test_the_status_as_json(trained: Ground) -> None:
    trained.run("sync", code=9)
    trained.matches_golden("status.json", _sorted_lines(trained.run("status", "--json", code=9).document))


def test_the_account_of_a_sync_as_json(trained: Ground) -> None:
    result = trained.run("sync", "--json", code=9)
    trained.matches_golden("sync.json", _sorted_lines(result.document))
    trained.matches_golden("sync-error.json", result.err)


def test_the_account_of_a_sync_in_words(trained: Ground) -> None:
    out = trained.run("sync", code=9).out
    lines = [line for line in out.splitlines() if not line.startswith("20")]
    trained.matches_golden("sync.txt", "\n".join(lines) + "\n")


def test_a_restore_in_words(trained: Ground) -> None:
    trained.run("sync", code=9)
    first = trained.run("restore", "--step", "5_000", "--series", "0").out
    again = trained.run("restore", "--step", "5000", "--series", "0").out
    latest = trained.run("restore", "--latest", "--to", "elsewhere").out
    trained.matches_golden("restore.txt", f"{first}\n{again}\n{latest}")


def test_a_verification_in_words(trained: Ground) -> None:
    trained.run("sync", code=9)
    presence = trained.run("verify").out
    content = trained.run("verify", "--read").out
    trained.matches_golden("verify.txt", f"{presence}\n{content}")


def test_init_in_words(trained: Ground) -> None:
    trained.config.unlink()
    out = trained.run("init", "hot", str(trained.cold), "--same-device", "--run", "swelu").out
    trained.matches_golden("init.txt", out)


def _sorted_lines(document: object) -> str:
    """One value a line, so that a difference shows where it is; separators as msgspec writes them."""
    return json.dumps(document, indent=1, separators=(",", ":")) + "\n"
