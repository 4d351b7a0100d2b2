"""What doctor finds about a cold folder, the configuration, clocks and hanging mounts; buckets are in
tests/integration/test_doctor_s3.py."""

import shutil
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path

import pytest

from ckpt_tier.cold.runs import join_run
from ckpt_tier.config import Config
from ckpt_tier.doctor import cold as cold_checks
from ckpt_tier.doctor.bucket import dangers
from ckpt_tier.doctor.cold import clock_finding, cold_tier
from ckpt_tier.doctor.configuration import configuration
from ckpt_tier.doctor.examine import examine, examine_parts, patiently
from ckpt_tier.doctor.finding import Finding, bad, exit_code, good, guarded, warning
from ckpt_tier.errors import CancelledError, ConfigError
from ckpt_tier.hot.space import Space
from ckpt_tier.store.s3_bucket import Rule, _rule
from ckpt_tier.system.clock import SystemClock
from ckpt_tier.system.mounts import Mount
from ckpt_tier.wiring import Wiring
from tests.builders import SteppedClock

Configured = Callable[..., Config]


def looked_at(wiring: Wiring) -> list[Finding]:
    return list(guarded("cold tier", lambda: cold_tier(wiring)))


def faults(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level != "good"]


def test_a_good_cold_folder_is_tried_and_left_as_it_was(configured: Configured, cold: Path) -> None:
    before = sorted(cold.rglob("*"))
    findings = looked_at(Wiring(configured()))
    [same_device] = faults(findings)
    assert same_device.level == "warning"
    assert "both tiers are gone" in same_device.what
    assert any("no-replace" in finding.what and "delete" in finding.what for finding in findings)
    assert any(finding.subject == "clock" for finding in findings)
    assert [path for path in sorted(cold.rglob("*")) if path not in before and ".ckpt-tier-tmp" not in path.parts] == []


def test_one_device_without_leave_is_a_configuration_fault(configured: Configured) -> None:
    [finding] = looked_at(Wiring(configured(cold={"same_device": False})))
    assert (finding.level, finding.exit_code) == ("bad", 3)
    assert "same_device" in finding.fix


def test_a_missing_mount_is_bad_and_nothing_is_written_where_it_was(configured: Configured, cold: Path) -> None:
    shutil.rmtree(cold)
    cold.mkdir()
    [finding] = faults(looked_at(Wiring(configured())))
    assert (finding.level, finding.subject, finding.exit_code) == ("bad", "cold tier", 6)
    assert "is the mount missing?" in finding.fix
    assert list(cold.iterdir()) == []


def test_a_cold_folder_without_room_for_the_next_save_is_bad(
    configured: Configured, hot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hot / "step_1.bin").write_bytes(b"x" * 1000)
    monkeypatch.setattr(cold_checks, "space", lambda _: Space(10**6, 999))
    [_, finding] = faults(looked_at(Wiring(configured())))
    assert (finding.level, finding.exit_code) == ("bad", 7)
    assert "the next save takes 1.00 kB" in finding.what


def test_the_mount_of_a_cold_folder_is_told(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_checks, "mount_of", lambda _: Mount(1, 2, Path("/mnt/nas"), "nfs4", "nas:/export"))
    assert any("on nfs4 (nas:/export)" in finding.what for finding in looked_at(Wiring(configured())))


def test_another_training_of_the_same_name_is_a_configuration_fault(configured: Configured) -> None:
    wiring = Wiring(configured(run_id="0123456789abcdef"))
    join_run(wiring.store, "swelu", None, new_id="fedcba9876543210", now=0.0)
    [_, finding] = faults(looked_at(wiring))
    assert (finding.level, finding.exit_code) == ("bad", 3)
    assert "is another training" in finding.what


def test_a_configuration_without_an_id_is_told_the_id_that_is_there(configured: Configured) -> None:
    wiring = Wiring(configured())
    join_run(wiring.store, "swelu", None, new_id="fedcba9876543210", now=0.0)
    [_, finding] = faults(looked_at(wiring))
    assert (finding.level, finding.subject) == ("warning", "configuration")
    assert 'run_id = "fedcba9876543210"' in finding.fix
    assert len(faults(looked_at(Wiring(configured(run_id="fedcba9876543210"))))) == 1


def test_a_run_document_that_is_damaged_is_a_finding(configured: Configured, cold: Path) -> None:
    (cold / "swelu").mkdir()
    (cold / "swelu/run.json").write_bytes(b"{")
    [_, finding] = faults(looked_at(Wiring(configured())))
    assert (finding.level, finding.exit_code) == ("bad", 9)
    assert "run.json" in finding.what


def test_a_clock_that_differs_from_the_cold_folder_s_is_a_warning(configured: Configured) -> None:
    wiring = Wiring(configured(), SteppedClock(SystemClock().now() + 1300))
    [finding] = [each for each in faults(looked_at(wiring)) if each.subject == "clock"]
    assert finding.level == "warning"
    assert "ahead of the cold folder's" in finding.what


@pytest.mark.parametrize(
    ("ahead", "refused", "level"),
    [
        (0.4, 900.0, "good"), (-59.0, 900.0, "good"), (60.0, 900.0, "warning"), (-899.0, 900.0, "warning"),
        (900.0, 900.0, "bad"), (-5000.0, 900.0, "bad"), (5000.0, None, "warning"),
    ],
)  # fmt: skip
def test_how_far_a_clock_may_be_off(ahead: float, refused: float | None, level: str) -> None:
    finding = clock_finding(ahead, "the store's", refused)
    assert finding.level == level
    assert finding.exit_code == (6 if level == "bad" else 0)


def test_a_cold_tier_that_hangs_is_given_up_and_the_rest_is_told() -> None:
    # A mount that hangs can't be provoked here: a check that waits stands for it.
    forever = threading.Event()

    def hanging() -> Generator[Finding, None, None]:
        yield good("cold tier", "it is there")
        forever.wait(60)

    first, second = patiently(hanging, patience=0.2)
    forever.set()
    assert first.what == "it is there"
    assert (second.level, second.exit_code) == ("bad", 6)
    assert "its mount or its network hangs" in second.what


def test_a_check_that_is_left_early_cleans_up() -> None:
    cleaned = threading.Event()

    def writing() -> Generator[Finding, None, None]:
        try:
            for _ in range(1000):
                yield good("cold tier", "wrote something")
                cleaned.wait(0.01)
        finally:
            cleaned.set()

    findings = patiently(writing, patience=5)
    next(iter(findings))
    findings.close()  # type: ignore[attr-defined]  (a generator)
    assert cleaned.is_set()


def test_what_is_cancelled_in_the_thread_is_raised_in_ours() -> None:
    def cancelled() -> Generator[Finding, None, None]:
        raise CancelledError("stopped")
        yield

    with pytest.raises(CancelledError):
        list(patiently(lambda: guarded("cold tier", cancelled), patience=5))


def told(config: Config, env: Mapping[str, str]) -> list[str]:
    return [finding.what for finding in configuration(config, env) if finding.level == "warning"]


def test_a_relative_path_in_the_environment_is_a_warning(configured: Configured) -> None:
    [what] = told(configured(), {"CKPT_TIER_HOT__PATH": "here", "CKPT_TIER_COLD__URL": "s3://b/p"})
    assert what.startswith("CKPT_TIER_HOT__PATH is a relative path")
    assert told(configured(), {"CKPT_TIER_HOT__PATH": "/here", "CKPT_TIER_STATE_DIR": "~/x"}) == []
    assert told(configured(), {"CKPT_TIER_COLD__URL": "cold"})[0].startswith("CKPT_TIER_COLD__URL")


@pytest.fixture
def file(tmp_path: Path, hot: Path, cold: Path) -> Path:
    """A configuration's file."""
    file = tmp_path / "ckpt-tier.toml"
    text = 'run = "swelu"\n[hot]\nlayout = "step_{step}.bin"\n[cold]\nurl = "cold"\nsame_device = true\n'
    file.write_text(text.replace("[hot]", '[hot]\npath = "hot"\nmin_free = "1B"'))
    file.chmod(0o644)
    return file


def test_a_configuration_that_everybody_can_write_is_a_warning(file: Path, tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "CKPT_TIER_HOT__KEEP_LAST": "4"}
    first, *_ = findings = [*examine(file, env, tmp_path, SystemClock())]
    assert first.what == f"{file}; before it counts CKPT_TIER_HOT__KEEP_LAST"
    assert [finding.subject for finding in faults(findings)] == ["cold tier"]
    file.chmod(0o666)
    findings = [*examine(file, env, tmp_path, SystemClock())]
    assert next(finding.fix for finding in faults(findings)) == f"chmod o-w {file}"


def test_a_configuration_with_a_wrong_key_is_the_only_finding(file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text().replace("[hot]", "[hot]\nkeep_lots = 4"))
    [finding] = examine(None, {}, tmp_path, SystemClock())
    assert (finding.level, finding.subject, finding.exit_code) == ("bad", "configuration", 3)
    assert "keep_lots" in finding.what
    assert finding.fix == "did you mean keep_last?"


def test_no_configuration_at_all_is_an_error_that_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        list(examine(None, {}, tmp_path, SystemClock()))
    assert "ckpt-tier init" in caught.value.fix


def test_every_other_check_runs_when_one_tier_is_away(configured: Configured, hot: Path, cold: Path) -> None:
    hot.rmdir()
    shutil.rmtree(cold)
    findings = list(examine_parts(configured(), {}, SystemClock()))
    assert {finding.subject for finding in faults(findings)} == {"hot tier", "cold tier"}
    assert {"configuration", "state folder", "worker"} <= {f.subject for f in findings if f.level == "good"}


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([], 0), ([9], 9), ([9, 6], 6), ([6, 7], 7), ([7, 3, 6, 9], 3), ([5], 9), ([4, 6], 6)],
)
def test_the_worst_finding_gives_the_exit_code(codes: list[int], expected: int) -> None:
    findings = [bad("hot tier", "x", "y", code) for code in codes]
    assert exit_code([warning("clock", "x", "y"), good("clock", "x"), *findings]) == expected


OURS = "prefix/swelu/"


@pytest.mark.parametrize("prefix", ["", "p", "prefix/", "prefix/swelu/", "prefix/swelu/0/data/"])
def test_a_rule_that_expires_our_objects_is_bad(prefix: str) -> None:
    [finding] = dangers([Rule("old", prefix, expires="after 30 days")], "prefix/", "swelu")
    assert finding.level == "bad"
    assert "deletes objects after 30 days" in finding.what


@pytest.mark.parametrize("prefix", ["logs/", "prefix/other/", "prefix/swelu2/", "prefix/.ckpt-tier-probe/"])
def test_a_rule_for_another_prefix_is_none_of_ours(prefix: str) -> None:
    [finding] = dangers([Rule("old", prefix, expires="after 30 days")], "prefix/", "swelu")
    assert finding.level == "good"


def test_a_rule_that_archives_is_a_warning() -> None:
    [finding] = dangers([Rule("cheap", "", archives=(("DEEP_ARCHIVE", "after 1 day"),))], "", "swelu")
    assert finding.level == "warning"
    assert "DEEP_ARCHIVE after 1 day" in finding.what


# What AWS answers; MinIO refuses most of these. https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleRule.html
@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"Status": "Disabled", "Filter": {}, "Expiration": {"Days": 1}}, None),
        ({"Status": "Enabled", "Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 1}}, None),
        ({"Status": "Enabled", "Filter": {"And": {"Prefix": "p", "Tags": [{"Key": "a"}]}}}, None),
        (
            {"ID": "x", "Status": "Enabled", "Filter": {"And": {"Prefix": "p", "ObjectSizeGreaterThan": 9}},
             "Expiration": {"Days": 2}},
            Rule("x", "p", expires="after 2 days"),
        ),
        ({"ID": "x", "Status": "Enabled", "Prefix": "old", "Expiration": {"ExpiredObjectDeleteMarker": True}},
         Rule("x", "old")),
        (
            {"ID": "x", "Status": "Enabled", "Filter": {}, "Transitions": [
                {"Days": 30, "StorageClass": "GLACIER_IR"}, {"Days": 90, "StorageClass": "GLACIER"}],
             "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
             "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
            Rule("x", "", archives=(("GLACIER", "after 90 days"),), frees_versions=True, ends_uploads=True),
        ),
    ],
)  # fmt: skip
def test_a_rule_is_read_as_the_store_applies_it(told: dict[str, object], expected: Rule | None) -> None:
    assert _rule(told) == expected
