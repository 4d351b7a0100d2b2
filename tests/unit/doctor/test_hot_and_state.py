"""What doctor finds on this machine, each thing provoked for real where a file system can do it."""

import errno
import os
import socket
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from ckpt_tier.config import Config
from ckpt_tier.doctor import hot as hot_checks
from ckpt_tier.doctor import state as state_checks
from ckpt_tier.doctor.finding import Finding, guarded
from ckpt_tier.doctor.hot import hot_tier
from ckpt_tier.doctor.state import hook_errors, state_folder, worker
from ckpt_tier.errors import NoSpaceError
from ckpt_tier.hot.space import Space
from ckpt_tier.journal.journal import FILE_NAME, Journal, damage
from ckpt_tier.system.mounts import Mount, mount_of
from ckpt_tier.tier import Tier
from ckpt_tier.wiring import Wiring

Configured = Callable[..., Config]
SHARED = Mount(1, 2, Path("/mnt/nas"), "nfs4", "nas:/export")


def faults(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.what) for finding in findings if finding.level != "good"]


def looked_at(wiring: Wiring) -> list[Finding]:
    return list(guarded("hot tier", lambda: hot_tier(wiring)))


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_good_hot_folder_has_no_fault_and_is_left_as_it_was(configured: Configured, hot: Path) -> None:
    (hot / "step_1.bin").write_bytes(b"x" * 1000)
    before = everything(hot)
    findings = looked_at(Wiring(configured()))
    assert faults(findings) == []
    assert everything(hot) == before
    told = " / ".join(finding.what for finding in findings)
    assert "hard links, no-replace renames, leases work" in told
    assert "1 checkpoint /" in told
    assert "more saves of 1.00 kB" in told


def test_our_own_folder_in_the_hot_one_stays_if_it_was_there(configured: Configured, hot: Path) -> None:
    (hot / ".ckpt-tier").mkdir()
    looked_at(Wiring(configured()))
    assert everything(hot) == [".ckpt-tier"]


def test_a_missing_hot_folder_is_a_configuration_fault_and_the_only_one(configured: Configured, hot: Path) -> None:
    hot.rmdir()
    [finding] = looked_at(Wiring(configured()))
    assert (finding.level, finding.exit_code) == ("bad", 3)
    assert "create it" in finding.fix
    assert not hot.exists()


def test_something_in_the_way_of_our_own_folder_is_a_finding(configured: Configured, hot: Path) -> None:
    (hot / ".ckpt-tier").write_text("in the way")
    [(level, what)] = faults(looked_at(Wiring(configured())))
    assert level == "bad"
    assert ".ckpt-tier can't be used: File exists" in what
    assert (hot / ".ckpt-tier").read_text() == "in the way"


def test_a_folder_that_everybody_can_write_is_a_warning(configured: Configured, hot: Path) -> None:
    hot.chmod(0o777)
    [(level, what)] = faults(looked_at(Wiring(configured())))
    assert level == "warning"
    assert "everybody on this machine can delete and replace" in what
    hot.chmod(0o1777)
    assert faults(looked_at(Wiring(configured()))) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
def test_a_folder_of_somebody_else_is_a_warning(configured: Configured, hot: Path) -> None:
    os.chown(hot, 54321, -1)
    [finding] = [each for each in looked_at(Wiring(configured())) if each.level != "good"]
    assert finding.what.startswith(f"{hot} belongs to user 54321, this is root")
    assert finding.fix == "run ckpt-tier as user 54321"


def test_a_folder_that_this_user_may_not_write_is_bad(configured: Configured, hot: Path) -> None:
    # In a child that is nobody, since root may write everywhere.
    wiring = Wiring(configured())
    found = as_nobody(lambda: looked_at(wiring), open_to_all=hot.parent) if os.geteuid() == 0 else None
    if found is None:
        hot.chmod(0o555)
        found = [(finding.level, finding.exit_code, finding.what) for finding in looked_at(wiring)]
        hot.chmod(0o755)
    level, code, what = found[0]
    assert (level, code) == ("bad", 3)
    assert "can't read and write it" in what


def as_nobody(look: Callable[[], list[Finding]], open_to_all: Path) -> list[tuple[str, int, str]]:
    """What another user finds who may enter every folder down to `open_to_all`."""
    for folder in (open_to_all, *open_to_all.parents):
        if folder.stat().st_mode & 0o5 != 0o5:
            folder.chmod(folder.stat().st_mode | 0o5)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            lines = [f"{f.level}\t{f.exit_code}\t{f.what}" for f in look()]
            os.write(writer, "\n".join(lines).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        rows = [line.split("\t") for line in pipe.read().splitlines()]
    return [(level, int(code), what) for level, code, what in rows]


def test_less_room_than_the_next_save_takes_is_bad(
    configured: Configured, hot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The disk's answer is made up here; tests/cli/test_doctor.py fills a real one.
    (hot / "step_1.bin").write_bytes(b"x" * 1000)
    monkeypatch.setattr(hot_checks, "space", lambda _: Space(total=10_000, free=900))
    [finding] = [each for each in looked_at(Wiring(configured())) if each.level != "good"]
    assert (finding.level, finding.exit_code) == ("bad", NoSpaceError.exit_code)
    assert "the next save of 1.00 kB will be cut short" in finding.what


def test_the_next_save_is_that_of_all_series_together(configured: Configured, hot: Path) -> None:
    for series in "ab":
        (hot / series).mkdir()
        (hot / series / "step_1.bin").write_bytes(b"x" * 1000)
        (hot / series / "step_2.bin").write_bytes(b"x" * 2000)
    wiring = Wiring(configured({"layout": "{series}/step_{step}.bin"}))
    os.utime(hot / "a/step_2.bin", (1, 1))  # saved before step 1: a rollback
    assert hot_checks.save_size(wiring) == (3000, 2)


def test_less_than_min_free_is_a_warning(configured: Configured, hot: Path) -> None:
    [(level, what)] = faults(looked_at(Wiring(configured({"min_free": "100%"}))))
    assert level == "warning"
    assert "less than min_free" in what


def test_a_layout_that_is_not_recognised_is_one_finding(configured: Configured, hot: Path) -> None:
    (hot / "what.is").write_bytes(b"this")
    findings = looked_at(Wiring(configured({"layout": "auto"})))
    assert len(faults(findings)) == 1
    assert any("free" in finding.what for finding in findings if finding.level == "good")


def test_ambiguous_and_skipped_checkpoints_are_warnings(configured: Configured, hot: Path) -> None:
    (hot / "step_7.bin").mkdir()
    assert "it is a folder" in faults(looked_at(Wiring(configured())))[0][1]
    (hot / "step_1.bin").write_bytes(b"x")
    (hot / "step_01.bin").write_bytes(b"x")
    assert "both claim to be step 1" in faults(looked_at(Wiring(configured())))[0][1]


def test_what_a_lesser_file_system_can_not_do_is_told_with_its_cost(
    configured: Configured, hot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No such file system can be mounted everywhere (FAT has no hard links, NFS no leases), so its errors are made up.
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(hot_checks, "is_open_for_writing", lambda _: False)
    monkeypatch.setattr(hot_checks, "rename_no_replace", refused)
    told = faults(looked_at(Wiring(configured())))
    assert [level for level, _ in told] == ["warning", "bad", "warning"]
    assert "hard links don't work here (Operation not permitted)" in told[0][1]
    assert "nothing can be evicted or restored" in told[1][1]
    assert "only `settle` keeps a save in progress" in told[2][1]
    assert everything(hot) == []


def test_a_file_system_that_replaces_what_it_must_not_is_bad(
    configured: Configured, hot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot_checks, "rename_no_replace", lambda source, target: source.replace(target))
    [(level, what)] = faults(looked_at(Wiring(configured())))
    assert (level, what) == ("bad", "renaming replaces files although it was told not to")
    assert everything(hot) == []


def test_few_inodes_are_a_warning_and_none_is_bad(
    configured: Configured, hot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Made up; tests/cli/test_doctor.py has a real file system without inodes.
    real = os.statvfs(hot)

    class Few:
        f_files, f_favail = 1000, 3

    monkeypatch.setattr(hot_checks.os, "statvfs", lambda _: Few)
    monkeypatch.setattr(hot_checks, "space", lambda _: Space(real.f_blocks, real.f_bavail))
    [(level, what)] = faults(looked_at(Wiring(configured())))
    assert level == "warning"
    assert "can hold 3 more files (inodes)" in what
    Few.f_favail = 0
    [finding] = [each for each in looked_at(Wiring(configured())) if each.level != "good"]
    assert (finding.level, finding.exit_code) == ("bad", 7)


def test_a_hot_folder_and_a_state_folder_on_nfs_are_told(
    configured: Configured, hot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No NFS here: what the kernel says of one is made up. `test_the_kernel_s_table_is_read` reads such a table.
    monkeypatch.setattr(hot_checks, "mount_of", lambda _: SHARED)
    monkeypatch.setattr(state_checks, "mount_of", lambda _: SHARED)
    [(level, what)] = faults(looked_at(Wiring(configured())))
    assert level == "warning"
    assert f"{hot} is on nfs4 (nas:/export)" in what
    [finding] = [each for each in state_folder(Wiring(configured())) if each.level != "good"]
    assert (finding.level, finding.exit_code) == ("bad", 3)
    assert "its locks don't keep a journal whole there" in finding.what


def test_the_real_table_has_what_holds_a_folder(tmp_path: Path) -> None:
    mount = mount_of(tmp_path)
    assert mount is not None
    assert tmp_path.is_relative_to(mount.point)


def test_a_state_folder_that_is_not_there_is_not_made(configured: Configured, tmp_path: Path) -> None:
    [finding] = state_folder(Wiring(configured()))
    assert finding.level == "good"
    assert not (tmp_path / "state").exists()


def test_a_file_in_the_way_of_the_state_folder_is_bad(configured: Configured, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("x")
    [finding] = state_folder(Wiring(configured()))
    assert (finding.level, finding.exit_code) == ("bad", 3)


def test_a_state_folder_without_room_is_bad(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_checks, "space", lambda _: Space(10**9, 4096))
    [finding, _] = state_folder(Wiring(configured()))
    assert (finding.level, finding.exit_code) == ("bad", 7)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The file of a journal that was begun and closed."""
    Journal.open(tmp_path / "state").close()
    return tmp_path / "state" / FILE_NAME


def test_a_whole_journal_is_good_also_while_a_worker_has_it_open(configured: Configured, journal: Path) -> None:
    [finding] = state_folder(Wiring(configured()))
    assert finding.what.endswith("the journal is whole")
    with_worker = Journal.open(journal.parent)
    assert damage(journal.parent) == ""
    with_worker.close()


def test_a_broken_journal_is_a_warning_and_is_left_as_it_is(configured: Configured, journal: Path) -> None:
    data = bytearray(journal.read_bytes())
    data[100:4096] = os.urandom(3996)
    journal.write_bytes(data)
    [(level, what)] = faults(state_folder(Wiring(configured())))
    assert level == "warning"
    assert "can't be used" in what
    assert journal.read_bytes() == bytes(data)
    assert everything(journal.parent) == [FILE_NAME]


def test_damage_that_no_row_shows_is_found_too(configured: Configured, journal: Path) -> None:
    with sqlite3.connect(journal) as db:
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("CREATE TABLE more (x)")
        db.execute("CREATE INDEX them ON more (x)")
        db.executemany("INSERT INTO more VALUES (?)", [(n,) for n in range(100)])
        db.commit()
        db.execute("PRAGMA writable_schema=ON")
        db.execute("UPDATE sqlite_master SET rootpage = 2 WHERE name = 'them'")
    db.close()
    assert damage(journal.parent) != ""


def test_a_journal_of_another_version_is_a_warning(configured: Configured, journal: Path) -> None:
    with sqlite3.connect(journal) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    [(_, what)] = faults(state_folder(Wiring(configured())))
    assert "version is 99" in what


def test_who_works_on_the_folder_is_told(configured: Configured) -> None:
    wiring = Wiring(configured())
    assert [finding.what for finding in worker(wiring)] == ["none is running"]
    with wiring.worker_lock("a test").acquire(""):
        [finding] = worker(wiring)
        assert finding.what == f"a test, process {os.getpid()} on {socket.gethostname()}"
        wiring.worker_lock("").path.write_bytes(b"nonsense")
        [finding] = worker(wiring)
        assert finding.what.startswith("some process holds ")


def test_what_the_hook_complained_about_is_a_warning(configured: Configured, hot: Path) -> None:
    wiring = Wiring(configured())
    assert list(hook_errors(wiring)) == []
    Tier(configured()).saved(hot / "not there.bin", step=5)
    [finding] = hook_errors(wiring)
    assert (finding.level, finding.subject) == ("warning", "worker")
    assert finding.what.startswith("the hook's complaints, 1 in ")
    assert "not there.bin" in finding.what
    assert "hook-errors.log" in finding.fix


def test_a_check_that_fails_unexpectedly_is_a_finding() -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("good", "clock", "so far")
        raise ZeroDivisionError("no such thing")

    first, second = guarded("clock", broken)
    assert first.level == "good"
    assert second.what == "a check ended by an unexpected ZeroDivisionError: no such thing"


def test_a_full_disk_under_a_check_is_told_as_one() -> None:
    def full() -> Iterator[Finding]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x/y")

    [finding] = guarded("hot tier", full)
    assert (finding.exit_code, finding.what) == (7, "/x/y can't be written: No space left on device")
