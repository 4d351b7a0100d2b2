"""Verdicts, and a journal that stays small."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckpt_tier.core.nouns import FileDigest, Stamp
from ckpt_tier.core.pieces import PieceChecksums
from ckpt_tier.core.states import State
from ckpt_tier.journal import journal as journal_module
from ckpt_tier.journal.journal import FILE_NAME, Journal, peek, peek_verdicts
from ckpt_tier.journal.saves import Save, SavedFile
from ckpt_tier.journal.verdicts import Verdict


def save(step: int) -> Save:
    """A row as a checkpoint of 1.2 GB has it."""
    return Save(
        series="0",
        step=step,
        path=f"model_gpu0/model_step_{step}.pt",
        stamp=Stamp(step, 1_200_000_000, 3),
        saved_at=float(step),
        state=State.COMMITTED,
        files=(
            SavedFile(
                path=f"model_gpu0/model_step_{step}.pt",
                stamp=Stamp(step, 1_200_000_000, 3),
                digest=FileDigest(f"{step}.pt", 1_200_000_000, 0o644, 3, "ab" * 32, "0" * 16),
                pieces=PieceChecksums(64 * 2**20, tuple(range(18))),
            ),
        ),
        generation=f"{step:016x}",
    )


def verdict(step: int, problem: str = "", verified_at: float = 1.0) -> Verdict:
    return Verdict(series="0", step=step, generation="a" * 16, verified_at=verified_at, problem=problem)


def size(folder: Path) -> int:
    """Bytes of the journal's files, the log included."""
    return sum(path.stat().st_size for path in folder.glob(f"{FILE_NAME}*"))


def test_verdicts_survive_a_restart_and_the_damaged_ones_are_at_hand(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.judge(verdict(2, "rot"))
    journal.judge(verdict(1, "gone"))
    journal.judge(verdict(3))
    journal.judge(verdict(1, verified_at=2.0))
    journal.close()
    again = Journal.open(tmp_path)
    assert list(again.verdicts().values()) == [verdict(1, verified_at=2.0), verdict(2, "rot"), verdict(3)]
    assert again.damaged() == [verdict(2, "rot")]
    assert again.verdict(verdict(3).key) == verdict(3)
    assert again.verdict(("0", 9, "b" * 16)) is None
    again.keep_verdicts([verdict(3).key])
    assert again.damaged() == []
    again.close()
    assert peek_verdicts(tmp_path) == [verdict(3)]


def test_a_journal_from_before_there_were_verdicts_keeps_its_rows_and_takes_them(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.put(save(1))
    journal.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("DROP TABLE verdicts")
    db.close()
    assert peek_verdicts(tmp_path) == []
    assert peek(tmp_path) is not None
    journal = Journal.open(tmp_path)
    assert [each.step for each in journal.saves()] == [1]
    journal.judge(verdict(1, "rot"))
    journal.close()
    assert peek_verdicts(tmp_path) == [verdict(1, "rot")]


def test_after_5000_saves_have_come_and_gone_the_journal_is_small(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    for step in range(5000):
        row = journal.put(save(step))
        if step >= 2500:  # the first half stays for a while, as behind a slow line
            journal.forget(row.id)
    largest = size(tmp_path)
    for row in journal.saves()[3:]:
        journal.forget(row.id)
    assert size(tmp_path) > 2**20
    given_back = journal.compact()
    assert given_back > 2**20
    assert size(tmp_path) < 64 * 2**10 < largest
    assert [each.step for each in journal.saves()] == [0, 1, 2]
    journal.put(save(7))
    journal.close()
    assert [each.step for each in (peek(tmp_path) or ([], None))[0]] == [0, 1, 2, 7]


def of_200_saves(folder: Path, kept: int) -> Journal:
    """A journal from which all but the first few rows are gone again."""
    journal = Journal.open(folder)
    for step in range(200):
        journal.put(save(step))
    for row in journal.saves()[kept:]:
        journal.forget(row.id)
    return journal


def test_a_journal_that_is_mostly_in_use_or_small_is_not_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = of_200_saves(tmp_path, kept=150)
    assert journal.compact() == 0
    for row in journal.saves()[10:]:
        journal.forget(row.id)
    assert journal.compact() == 0
    monkeypatch.setattr(journal_module, "FREE_PAGES", 10)
    assert journal.compact() > 0
    journal.close()


def test_a_reader_in_the_middle_of_it_keeps_nothing_from_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "FREE_PAGES", 10)
    journal = of_200_saves(tmp_path, kept=2)
    reader = sqlite3.connect(f"file:{tmp_path / FILE_NAME}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM saves").fetchone() == (2,)
    begun = time.monotonic()
    journal.compact()
    journal.put(save(500))
    assert time.monotonic() - begun < 5
    assert journal.problem == ""
    assert reader.execute("SELECT count(*) FROM saves").fetchone() == (2,)
    reader.close()
    journal.close()
    assert [each.step for each in (peek(tmp_path) or ([], None))[0]] == [0, 1, 500]


COMPACTING = """
import sys
from pathlib import Path
from ckpt_tier.journal import journal
from ckpt_tier.core.nouns import Stamp
from ckpt_tier.journal.saves import Save, SavedFile
journal.FREE_PAGES = 10
opened = journal.Journal.open(Path(sys.argv[1]))
print("open", flush=True)
while True:
    rows = [opened.put(Save(series="0", step=step, path="x" * 2000, stamp=Stamp(1, 2, 3), files=(), saved_at=0.0))
            for step in range(100, 600)]
    for row in rows:
        opened.forget(row.id)
    print("compacting", flush=True)
    opened.compact()
"""


def test_a_kill_in_the_middle_of_it_loses_nothing(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    for step in range(20):
        journal.put(save(step))
    journal.close()
    for delay in (0.0, 0.002, 0.004, 0.01):
        process = subprocess.Popen(
            [sys.executable, "-c", COMPACTING, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
        )
        assert process.stdout is not None
        assert any("compacting" in line for line in process.stdout)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        journal = Journal.open(tmp_path)
        steps = [each.step for each in journal.saves()]
        assert steps[:20] == list(range(20))
        for row in journal.saves()[20:]:
            journal.forget(row.id)
        journal.close()
        with sqlite3.connect(tmp_path / FILE_NAME) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
    assert not list(tmp_path.glob("*.broken"))


def test_without_room_for_it_everything_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock: the disk would have to be full for SQLite's copy and not for its log."""
    monkeypatch.setattr(journal_module, "FREE_PAGES", 10)
    journal = of_200_saves(tmp_path, kept=2)

    class Full:
        def execute(self, statement: str, *values: object) -> object:
            if statement == "VACUUM":
                raise sqlite3.OperationalError("database or disk is full")
            return there.execute(statement, *values)

        def close(self) -> None:
            there.close()

    there = journal._db
    journal._db = Full()  # type: ignore[assignment]
    assert journal.compact() == 0
    assert journal.problem == ""
    assert [each.step for each in journal.saves()] == [0, 1]
    journal.close()
    assert [each.step for each in (peek(tmp_path) or ([], None))[0]] == [0, 1]
