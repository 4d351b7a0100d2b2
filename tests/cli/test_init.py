"""`init`: nothing is written when something fails, and what is written works."""

import tomllib
from pathlib import Path

import pytest

from ckpt_tier.cli.setting_up import run_name
from tests.cli.ground import Ground


@pytest.fixture
def fresh(ground: Ground) -> Ground:
    """A folder of checkpoints, a cold folder that is not a store yet, no configuration."""
    ground.config.unlink()
    (ground.cold / ".ckpt-tier-store").unlink()
    for step in (0, 5000, 10_000):
        ground.save(step)
    return ground


def test_what_init_writes_is_a_configuration_that_syncs(fresh: Ground) -> None:
    fresh.run("init", "hot", str(fresh.cold), "--same-device", "--keep-last", "1", "--run", "swelu")
    written = tomllib.loads(fresh.config.read_text())
    assert written["run"] == "swelu"
    assert written["hot"]["path"] == "hot"
    assert written["hot"]["layout"] == "model_gpu0/model_step_{step}.safetensors"
    run_json = next(fresh.cold.glob("swelu/run.json")).read_text()
    assert written["run_id"] in run_json
    fresh.config.write_text(fresh.config.read_text().replace("[hot]", '[hot]\nsettle = "0s"'))
    fresh.run("sync")
    assert len(list(fresh.hot.rglob("*.safetensors"))) == 1


def test_one_device_for_both_tiers_is_refused_and_nothing_is_written(fresh: Ground) -> None:
    before = sorted(fresh.root.rglob("*"))
    assert "--same-device" in fresh.run("init", "hot", str(fresh.cold), code=3).err
    assert sorted(fresh.root.rglob("*")) == before


def test_a_cold_tier_that_can_not_be_used_leaves_nothing_behind(fresh: Ground) -> None:
    (fresh.cold / ".ckpt-tier-probe").write_text("in the way")
    result = fresh.run("init", "hot", str(fresh.cold), "--same-device", code=6)
    assert "nothing was written" in result.err
    assert not fresh.config.exists()
    assert not (fresh.cold / ".ckpt-tier-store").exists()


def test_a_configuration_is_replaced_only_by_force_and_kept(fresh: Ground) -> None:
    fresh.config.write_text('run = "old"\n')
    fresh.run("init", "hot", str(fresh.cold), "--same-device", code=8)
    assert fresh.config.read_text() == 'run = "old"\n'
    fresh.run("init", "hot", str(fresh.cold), "--same-device", "--force")
    assert fresh.config.with_name("ckpt-tier.toml.bak").read_text() == 'run = "old"\n'


def test_a_run_that_is_there_is_joined_and_said(fresh: Ground) -> None:
    arguments = ["init", "hot", str(fresh.cold), "--same-device", "--run", "swelu"]
    assert "is begun" in fresh.run(*arguments).out
    assert "as before" in fresh.run(*arguments, "--force").out
    fresh.config.unlink()
    assert "joined the run 'swelu'" in fresh.run(*arguments).out


def test_a_layout_that_is_not_recognised_is_asked_for(fresh: Ground) -> None:
    (fresh.root / "empty").mkdir()
    result = fresh.run("init", "empty", str(fresh.cold), "--same-device", code=3)
    assert "--layout" in result.err
    fresh.run("init", "empty", str(fresh.cold), "--same-device", "--layout", "step_{step}.pt")


def test_corrupt_checkpoints_are_counted_and_named(fresh: Ground) -> None:
    path = fresh.save(15_000)
    path.write_bytes(path.read_bytes()[:50])
    document = fresh.run("init", "hot", str(fresh.cold), "--same-device", "--json").document
    assert [(each["step"], bool(each["reason"])) for each in document["corrupt"]] == [(15_000, True)]
    assert [each["corrupt"] for each in document["series"]] == [1]
    assert all(trial["passed"] for trial in document["trials"])


def test_the_environment_does_not_leak_into_the_file(fresh: Ground) -> None:
    fresh.run("init", "hot", str(fresh.cold), "--same-device", CKPT_TIER_HOT__KEEP_LAST="7")
    assert tomllib.loads(fresh.config.read_text())["hot"]["keep_last"] == 3


@pytest.mark.parametrize(
    ("hot", "name"),
    [
        ("/data/swelu/checkpoints", "swelu"),
        ("/data/My Run (2)/ckpt", "my-run-2"),
        ("/checkpoints", "training"),
        ("/x/__/c", "training"),
        (f"/{'a' * 99}/c", "a" * 64),
    ],
)
def test_a_run_name_is_made_from_the_parent(hot: str, name: str) -> None:
    assert run_name(Path(hot)) == name


def test_without_a_url_there_is_no_cold_tier_and_the_newest_are_kept(fresh: Ground) -> None:
    out = fresh.run("init", "hot", "--keep-last", "1", COLUMNS="100").out
    fresh.matches_golden("init-alone.txt", out)
    written = tomllib.loads(fresh.config.read_text())
    assert "cold" not in written
    assert "run_id" not in written
    fresh.config.write_text(fresh.config.read_text().replace("[hot]", '[hot]\nsettle = "0s"'))
    fresh.run("prune", "--tier", "hot", "--yes")
    assert [path.stem for path in fresh.hot.rglob("*.safetensors")] == ["model_step_10000"]


def test_the_cold_tier_can_come_later(fresh: Ground) -> None:
    assert fresh.run("init", "hot", "--json").document["cold_url"] == ""
    fresh.run("init", "hot", str(fresh.cold), "--same-device", "--force")
    fresh.run("sync")
    assert len(list(fresh.cold.rglob("*/manifests/*.json"))) == 3


def test_options_of_a_cold_tier_that_is_not_named_are_refused(fresh: Ground) -> None:
    assert "there is no URL" in fresh.run("init", "hot", "--region", "eu-1", code=2).err
    assert "init needs HOT" in fresh.run("init", code=2).err
    assert not fresh.config.exists()
