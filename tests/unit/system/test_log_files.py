"""Logs that begin anew at a size, and lose no line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from ckpt_tier.system import log_files
from ckpt_tier.system.log_files import append_capped, rotate


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


@pytest.fixture
def descriptor(log: Path) -> Iterator[int]:
    """Open for appending, as the worker's output is."""
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    yield opened
    os.close(opened)


def names(log: Path) -> list[str]:
    return sorted(path.name for path in log.parent.iterdir())


def test_a_full_log_gets_a_number_and_the_writer_a_new_one(log: Path, descriptor: int) -> None:
    for number in range(6):
        os.write(descriptor, b"%d" % number * 100)
        assert rotate(log, (descriptor,), limit=100, keep=3)
    os.write(descriptor, b"new")
    assert names(log) == ["worker.log", "worker.log.1", "worker.log.2", "worker.log.3"]
    assert log.read_bytes() == b"new"
    assert log.stat().st_mode & 0o777 == 0o600
    for number in (1, 2, 3):
        assert log.with_name(f"worker.log.{number}").read_bytes() == b"%d" % (6 - number) * 100


def test_a_log_with_room_stays(log: Path, descriptor: int) -> None:
    os.write(descriptor, b"x" * 99)
    assert not rotate(log, (descriptor,), limit=100, keep=3)
    assert names(log) == ["worker.log"]


def test_only_descriptors_that_write_to_the_log_are_moved(log: Path, descriptor: int, tmp_path: Path) -> None:
    os.write(descriptor, b"x" * 100)
    other = os.open(tmp_path / "terminal", os.O_WRONLY | os.O_CREAT)
    assert not rotate(log, (other,), limit=100, keep=3)
    assert rotate(log, (descriptor, other), limit=100, keep=3)
    os.write(other, b"to the terminal")
    os.close(other)
    assert (tmp_path / "terminal").read_bytes() == b"to the terminal"


def test_without_a_log_there_is_nothing_to_do(log: Path, descriptor: int) -> None:
    log.unlink()
    assert not rotate(log, (descriptor,), limit=0, keep=3)


def test_another_process_that_begins_the_log_at_that_moment_is_joined(
    log: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.write(descriptor, b"x" * 100)
    rename = log_files.rename_no_replace

    def overtaken(source: Path, target: Path) -> None:
        target.write_bytes(b"theirs ")
        rename(source, target)

    monkeypatch.setattr(log_files, "rename_no_replace", overtaken)
    assert rotate(log, (descriptor,), limit=100, keep=3)
    os.write(descriptor, b"ours")
    assert log.read_bytes() == b"theirs ours"
    assert names(log) == ["worker.log", "worker.log.1"]


def test_where_no_new_log_can_be_made_everything_goes_on_as_it_was(
    log: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.write(descriptor, b"x" * 100)
    log.with_name("worker.log.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        rotate(log, (descriptor,), limit=100, keep=3)
    os.write(descriptor, b"y")
    assert log.read_bytes() == b"x" * 100 + b"y"
    assert not log.with_name("worker.log.1").exists()


def test_what_a_child_or_a_crash_writes_to_stderr_lands_in_the_new_log(log: Path) -> None:
    script = (
        "import os, subprocess, sys; from pathlib import Path; from ckpt_tier.system.log_files import rotate;"
        "log = Path(sys.argv[1]); os.write(2, b'x' * 100); assert rotate(log, (1, 2), limit=100, keep=3);"
        "subprocess.run(['sh', '-c', 'echo a child >&2']); import faulthandler; faulthandler.enable(); os.abort()"
    )
    with log.open("ab") as output:
        ended = subprocess.run(
            [sys.executable, "-c", script, str(log)], stdout=output, stderr=output, check=False, cwd=Path.cwd()
        )
    assert ended.returncode < 0
    assert "a child\n" in log.read_text()
    assert "Fatal Python error: Aborted" in log.read_text()
    assert log.with_name("worker.log.1").read_bytes() == b"x" * 100


def _complain(log: Path, rank: int) -> None:
    for number in range(200):
        append_capped(log, f"{rank} {number} {'x' * 50}\n", 10_000_000)


def test_many_ranks_complain_at_once_and_every_line_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "hook-errors.log"
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_complain, [log] * 4, range(4)))
    lines = log.read_text().splitlines()
    assert len(lines) == 800
    assert {line.rsplit(" ", 1)[1] for line in lines} == {"x" * 50}


def test_the_complaints_are_capped_and_one_older_file_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "hook-errors.log"
    for number in range(1000):
        append_capped(log, f"{number} \udcff\n", 1000)
    assert names(log) == ["hook-errors.log", "hook-errors.log.1"]
    older, newer = log.with_name("hook-errors.log.1").read_text(), log.read_text()
    assert 1000 <= len(older) < 1030
    assert len(newer) < 1030
    assert newer.splitlines()[-1] == "999 \\udcff"
    assert int(newer.splitlines()[0].split()[0]) == int(older.splitlines()[-1].split()[0]) + 1


@pytest.mark.parametrize("renamed_to", ["hook-errors.log.1", None])
def test_a_log_that_another_rank_has_just_renamed_is_not_renamed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed_to: str | None
) -> None:
    log = tmp_path / "hook-errors.log"
    log.write_text("x" * 2000)
    look = log_files._is_still

    def overtaken(path: Path, status: os.stat_result) -> bool:
        log.rename(log.with_name("hook-errors.log.1"))
        if renamed_to:
            log.write_text("theirs\n")
        return look(path, status)

    monkeypatch.setattr(log_files, "_is_still", overtaken)
    append_capped(log, "ours\n", 1000)
    assert log.with_name("hook-errors.log.1").read_text() == "x" * 2000 + "ours\n"
    assert not renamed_to or log.read_text() == "theirs\n"
