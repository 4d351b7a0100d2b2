"""`doctor` as it is called: its page, its exit codes, and real file systems that are full."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt_tier.cli import examining
from ckpt_tier.doctor.finding import Finding, bad, good, warning
from tests.cli.ground import Ground
from tests.cli.test_documents_fit_their_schemas import fits
from tests.minio import Bucket

RUN_ID = "0123456789abcdef"


@pytest.fixture
def sound(ground: Ground) -> Ground:
    """Two synced series, and a configuration that names the run's id."""
    ground.config.write_text(f'run_id = "{RUN_ID}"\n' + ground.config.read_text())
    ground.config.chmod(0o644)
    ground.hot.chmod(0o755)
    for series in "01":
        ground.save(5000, series)
    ground.run("sync")
    return ground


def steady(text: str) -> str:
    """`text` without what differs between machines."""
    text = re.sub(r"[\d.]+ [kMGTP]?B of [\d.]+ [kMGTP]?B free", "<free>", text)
    text = re.sub(r"room for [\d,]+", "room for <n>", text)
    text = re.sub(r"/ckpt-tier/[0-9a-f]{16}", "/ckpt-tier/<hash>", text)
    return re.sub(
        r" on (ext[234]|xfs|btrfs|f2fs|overlay|fuse\S*|virtiofs|tmpfs|zfs)\b( \([^)]*\))?", " on <kind>", text
    )


def test_the_page_of_a_sound_set_up(sound: Ground) -> None:
    sound.matches_golden("doctor.txt", steady(sound.run("doctor").out))
    sound.matches_golden("doctor-verbose.txt", steady(sound.run("doctor", "-v").out))


def test_the_page_as_json(sound: Ground) -> None:
    document = sound.run("doctor", "--json").document
    assert fits(document, "doctor")
    assert (document["warning_count"], document["bad_count"], document["exit_code"]) == (1, 0, 0)
    assert {finding["subject"] for finding in document["findings"]} >= {"hot tier", "state folder", "clock", "worker"}


def test_nothing_is_changed(sound: Ground) -> None:
    def everything() -> list[tuple[str, int]]:
        return [(str(path), path.lstat().st_ino) for path in sorted(sound.root.rglob("*"))]

    before = everything()
    sound.run("doctor")
    assert everything() == before


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_page_fits_the_terminal(sound: Ground, columns: int) -> None:
    sound.cold.rename(sound.root / "away")
    out = sound.run("doctor", code=6, COLUMNS=str(columns)).out
    # A path longer than the line is not broken, so that it can be copied.
    assert [line for line in out.splitlines() if len(line) > columns and str(sound.root) not in line] == []
    assert "\x1b" not in out


def test_quiet_says_only_what_is_not_good(sound: Ground) -> None:
    sound.config.write_text(sound.config.read_text().replace("same_device = true", ""))
    out = sound.run("doctor", "-q", code=3).out
    assert out.startswith("1 problem\n")
    assert "Good" not in out


def test_3_without_a_configuration_it_says_how_to_get_one(ground: Ground) -> None:
    ground.config.unlink()
    result = ground.run("doctor", code=3)
    assert result.out == ""
    assert "hint: run: ckpt-tier init" in result.err


def test_3_a_wrong_key_is_a_finding(ground: Ground) -> None:
    ground.config.write_text(ground.config.read_text().replace("keep_last", "keep_lots"))
    result = ground.run("doctor", code=3)
    assert "did you mean keep_last?" in result.out
    assert result.err == ""


def test_6_a_missing_mount_is_one_problem_and_the_rest_is_told(sound: Ground) -> None:
    sound.cold.rename(sound.root / "away")
    sound.cold.mkdir()
    out = sound.run("doctor", code=6).out
    assert "1 problem\n" in out
    assert "is the mount missing?" in out
    assert "the journal is whole" in out
    assert list(sound.cold.iterdir()) == []


def test_9_a_bucket_that_deletes_checkpoints(ground: Ground, s3: Bucket) -> None:
    text = ground.config.read_text().replace(str(ground.cold), f"{s3.url}/pre")
    ground.config.write_text(f'run_id = "{RUN_ID}"\n{text}endpoint_url = "{s3.endpoint_url}"\n')
    ground.config.chmod(0o644)
    keys = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    assert ground.run("doctor", **keys).out.startswith("Good\n")
    rule = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}
    s3.client.put_bucket_lifecycle_configuration(Bucket=s3.bucket, LifecycleConfiguration={"Rules": [rule]})
    out = ground.run("doctor", code=9, **keys).out
    assert "the lifecycle rule 'tidy' (prefix '') deletes objects after 30 days" in out
    assert keys["AWS_SECRET_ACCESS_KEY"] not in out


DOCTOR = [sys.executable, "-m", "ckpt_tier", "doctor"]
FILL = """
set -e
hot="$1"; options="$2"; filling="$3"; shift 3
mount -t tmpfs -o "$options" none "$hot"
mkdir "$hot/.ckpt-tier" "$hot/model_gpu0"
chmod 755 "$hot"
head -c 4096 /dev/zero > "$hot/model_gpu0/model_step_0.safetensors"
sh -c "$filling" "$hot" 2>/dev/null || true
exec "$@"
"""


@pytest.mark.parametrize(
    ("options", "filling", "words"),
    [
        ("size=1m", 'cat /dev/zero > "$0/filler"', "the next save of 4.10 kB will be cut short"),
        ("size=1m,nr_inodes=8", 'for n in 1 2 3 4 5 6 7 8; do : > "$0/$n"; done', "can hold 0 more files (inodes)"),
    ],
)
def test_7_a_file_system_that_is_really_full(ground: Ground, options: str, filling: str, words: str) -> None:
    isolated = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    if subprocess.run([*isolated, "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode != 0:
        pytest.skip("no mount namespace for this user")
    done = subprocess.run(
        [*isolated, "sh", "-c", FILL, "sh", str(ground.hot), options, filling, *DOCTOR],
        cwd=ground.root,
        env=ground.env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stdout + done.stderr
    assert words in done.stdout
    assert done.stderr == ""


FINDINGS = (
    good("configuration", "a file"),
    warning("bucket", "can hurt", "mend it"),
    bad("hot tier", "does not work", "do this"),
    good("hot tier", "is there"),
    good("clock", "is right"),
    good("clock", "is set by NTP"),
)


def test_problems_come_first_and_good_subjects_are_a_line_each() -> None:
    lines = examining.report(FINDINGS, brief=False, whole=False).splitlines()
    words = [line.split() for line in lines]
    assert words == [
        ["1", "problem"],
        ["✗", "hot", "tier", "does", "not", "work"],
        ["→", "do", "this"],
        [],
        ["1", "warning"],
        ["!", "bucket", "can", "hurt"],
        ["→", "mend", "it"],
        [],
        ["Good"],
        ["✓", "configuration", "a", "file"],
        ["✓", "clock", "is", "right;", "is", "set", "by", "NTP"],
        [],
        examining._FOOTNOTE.split(),
    ]


def test_what_comes_from_a_bucket_can_not_move_the_cursor() -> None:
    hostile = Finding("bad", "bucket", "rule \x1b[2J\nGood", "\x1b]0;x\x07")
    text = examining.report([hostile], brief=False, whole=False)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\nGood" not in text


def test_a_locale_without_the_signs_has_words(sound: Ground, tmp_path: Path) -> None:
    out = sound.run("doctor", PYTHONIOENCODING="ascii").out
    assert "  ok  hot tier" in out
    assert "->  move the cold tier" in out
