"""Every exit code, provoked for real, and the words that come with it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckpt_tier.system.locks import FileLock
from tests.cli.ground import Ground, interrupt, wait_for


def test_0_a_queue_that_is_merely_not_empty(ground: Ground) -> None:
    ground.save(0)
    assert ground.run("status", code=0).err == ""


def test_1_something_in_the_way_of_our_own_folder(ground: Ground) -> None:
    ground.save(0)
    (ground.hot / ".ckpt-tier").write_text("in the way")
    result = ground.run("sync", code=1)
    assert result.err.startswith("error: can't use ")
    assert "Traceback" not in result.err
    assert "Traceback" in ground.run("sync", "-v", code=1).err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["sync", "--nonsense"],
        ["restore"],
        ["restore", "--step", "5", "--latest"],
        ["restore", "--step", "many"],
        ["sync", "--watch", "--dry-run"],
        ["list", "--series", "../x"],
        ["init"],
    ],
)
def test_2_usage(ground: Ground, arguments: list[str]) -> None:
    result = ground.run(*arguments, code=2)
    assert result.err.startswith("error: ")
    assert ground.run(*arguments, "--json", code=2).error["exit_code"] == 2


@pytest.mark.parametrize("slip", [["--series", "typo"], ["--rank", "7"]])
def test_2_a_slip_of_who_resumes_is_no_first_start(ground: Ground, slip: list[str]) -> None:
    assert ground.run("restore", "--latest", code=4).err.startswith("error: ")
    ground.save(5000)
    ground.run("sync")
    assert slip[1] in ground.run("restore", "--latest", *slip, code=2).err


def test_3_no_configuration(ground: Ground) -> None:
    ground.config.unlink()
    ground.matches_golden("error-no-configuration.txt", ground.run("status", code=3).err)


def test_3_a_wrong_key(ground: Ground) -> None:
    ground.config.write_text(ground.config.read_text().replace("keep_last", "keep_lots"))
    ground.matches_golden("error-wrong-key.txt", ground.run("sync", code=3).err)


def test_4_no_such_step(ground: Ground) -> None:
    ground.save(5000)
    ground.run("sync")
    ground.matches_golden("error-no-such-step.txt", ground.run("restore", "--step", "6000", code=4).err)
    ground.matches_golden("error-no-such-step.json", ground.run("restore", "--step", "6000", "--json", code=4).err)


def test_5_a_flipped_byte_is_found_by_reading(ground: Ground) -> None:
    ground.save(5000)
    ground.run("sync")
    [object_] = ground.objects(5000)
    data = bytearray(object_.read_bytes())
    data[-1] ^= 1
    object_.write_bytes(data)
    assert "1 of 1 checkpoint good" in ground.run("verify").out
    result = ground.run("verify", "--read", code=5)
    assert "damaged" in result.out
    assert result.err.startswith("error: 1 checkpoint of 1 can't be restored")
    before = sorted((ground.root / "elsewhere").rglob("*.safetensors"))
    ground.run("restore", "--step", "5000", "--to", "elsewhere", code=5)
    assert sorted((ground.root / "elsewhere").rglob("*.safetensors")) == before == []


def test_5_a_missing_object_is_found_by_presence(ground: Ground) -> None:
    ground.save(5000)
    ground.run("sync")
    ground.objects(5000)[0].unlink()
    document = ground.run("verify", "--json", code=5).document
    assert (document["proved"], document["bad_count"], document["good_count"]) == ("presence", 1, 0)


def test_6_the_mount_is_missing(ground: Ground) -> None:
    ground.save(0)
    ground.run("sync")
    shutil.move(ground.cold, ground.root / "away")
    ground.cold.mkdir()
    result = ground.run("status", code=6)
    assert "The cold tier is away" in result.out
    assert list(ground.cold.iterdir()) == []


@pytest.mark.slow
def test_6_the_endpoint_is_down(ground: Ground) -> None:
    text = ground.config.read_text().replace(str(ground.cold), "s3://bucket/prefix")
    ground.config.write_text(text + 'endpoint_url = "http://127.0.0.1:1"\n')
    keys = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "secret-of-nobody"}
    result = ground.run("list", code=6, **keys)
    assert "secret-of-nobody" not in result.out + result.err


def test_7_no_space_is_found_before_the_first_byte(ground: Ground) -> None:
    ground.save(5000, size=300_000)
    ground.run("sync")
    tiny = ground.root / "tiny"
    tiny.mkdir()
    script = 'mount -t tmpfs -o size=128k none "$1" && shift && exec "$@"'
    isolated = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    command = [*isolated, "sh", "-c", script, "sh", str(tiny)]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespace for this user")
    restore = [sys.executable, "-m", "ckpt_tier", "restore", "--step", "5000", "--to", str(tiny)]
    done = subprocess.run(
        [*command, *restore], cwd=ground.root, env=ground.env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stderr
    assert "nothing was fetched" in done.stderr


def test_8_somebody_else_syncs(ground: Ground) -> None:
    ground.save(0)
    with FileLock(ground.hot / ".ckpt-tier/worker.lock", "a test").acquire(""):
        result = ground.run("sync", code=8)
        assert f"a test, process {os.getpid()}" in result.err
        assert ground.run("sync", "--watch", "--for-training", code=0).err == ""
        assert "a test, process" in ground.run("status").out


def test_8_a_different_file_is_there(ground: Ground) -> None:
    ground.save(5000)
    ground.run("sync")
    ground.save(5000, fill=1)
    result = ground.run("restore", "--step", "5000", code=8)
    assert "--force" in result.err
    ground.run("restore", "--step", "5000", "--force")


def test_9_a_truncated_file(ground: Ground) -> None:
    path = ground.save(0)
    path.write_bytes(path.read_bytes()[:100])
    result = ground.run("sync", code=9)
    assert "model_step_0.safetensors" in result.out
    assert path.exists()
    ground.run("status", code=9)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_130_a_sync_that_is_asked_to_stop(ground: Ground, number: signal.Signals) -> None:
    ground.save(0, size=3_000_000)
    ground.config.write_text(ground.config.read_text() + '[upload]\nbandwidth = "1KB/s"\n')
    with ground.start("sync", "-v") as process:  # -v says when the file was validated: the upload comes next
        wait_for(process, "valid series=0")
        result = interrupt(process, number)
    assert result.code == 130


def test_a_watch_takes_up_new_files_and_ends_with_0_on_sigterm(ground: Ground) -> None:
    with ground.start("sync", "--watch", "--json") as process:
        time.sleep(0.5)
        ground.save(0)
        wait_for(process, '"type":"committed"')
        result = interrupt(process, signal.SIGTERM)
    assert result.code == 0
    assert result.err == ""


def test_a_watch_ends_with_130_on_ctrl_c(ground: Ground) -> None:
    ground.save(0)
    with ground.start("sync", "--watch") as process:
        wait_for(process, "committed")
        assert interrupt(process, signal.SIGINT).code == 130


def test_a_traceback_comes_only_with_v(ground: Ground, tmp_path: Path) -> None:
    ground.config.unlink()
    assert "Traceback" not in ground.run("list", code=3).err
    assert "Traceback" in ground.run("list", "-v", code=3).err
