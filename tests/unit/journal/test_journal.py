import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ckpt_tier.core.nouns import Stamp
from ckpt_tier.core.states import State
from ckpt_tier.errors import ConfigError
from ckpt_tier.journal.journal import FILE_NAME, Facts, Journal, peek
from ckpt_tier.journal.saves import Save


def save(step: int = 5, **fields: object) -> Save:
    plain = Save(series="0", step=step, path=f"{step}.pt", stamp=Stamp(1, 2, 3), files=(), saved_at=100.0)
    return msgspec.structs.replace(plain, **fields)


def test_rows_and_facts_survive_a_restart(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    first = journal.put(save(5))
    second = journal.put(save(10, metrics={"loss": 1.0}))
    journal.put(msgspec.structs.replace(first, state=State.REJECTED, reason="truncated"))
    journal.forget(second.id)
    journal.learn(Facts(upload_bytes_per_second=7.0))
    journal.close()
    again = Journal.open(tmp_path)
    assert again.saves() == [save(5, id=1, state=State.REJECTED, reason="truncated")]
    assert again.get(1) == again.saves()[0]
    assert again.get(second.id) is None
    assert again.facts == Facts(upload_bytes_per_second=7.0)
    again.close()


def test_a_row_that_somebody_else_has_changed_meanwhile_is_not_amended(tmp_path: Path) -> None:
    with contextlib.closing(Journal.open(tmp_path)) as journal:
        before = journal.put(save(5))
        amended = journal.amend(before, reason="waits")
        assert amended == msgspec.structs.replace(before, reason="waits")
        assert journal.amend(before, reason="too late") == amended
    with contextlib.closing(Journal.open(tmp_path)) as journal:
        assert journal.saves() == [amended]
        journal.forget(before.id)
        journal.amend(amended, reason="gone")
        assert journal.saves() == []


def test_the_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    Journal.open(tmp_path / "a").close()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", [b"not a database" * 500, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_broken_file_is_set_aside_and_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    journal = Journal.open(tmp_path)
    assert journal.saves() == []
    journal.put(save())
    journal.close()
    assert (tmp_path / f"{FILE_NAME}.broken").read_bytes() == content


def test_a_file_of_another_version_is_set_aside(tmp_path: Path) -> None:
    Journal.open(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    journal = Journal.open(tmp_path)
    assert journal.put(save()).id == 1
    journal.close()
    assert (tmp_path / f"{FILE_NAME}.broken").exists()


@pytest.mark.parametrize("body", [b"{", b'{"series": 5}'])
def test_a_row_that_cannot_be_read_sets_the_file_aside(tmp_path: Path, body: bytes) -> None:
    Journal.open(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("INSERT INTO saves VALUES (1, ?)", (body,))
    db.close()
    assert peek(tmp_path) is None
    journal = Journal.open(tmp_path)
    assert journal.saves() == []
    journal.close()


def test_a_place_that_cannot_hold_a_journal_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        Journal.open(tmp_path / "file")
    assert "state_dir" in caught.value.fix


def test_a_journal_that_somebody_else_writes_is_locked_and_not_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal.open(tmp_path).close()
    db = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **(k | {"timeout": 0.05})))
    with pytest.raises(ConfigError, match="locked"):
        Journal.open(tmp_path)
    db.close()
    assert not (tmp_path / f"{FILE_NAME}.broken").exists()


@pytest.mark.parametrize("name", ["plain", "with space", "100%", "what?", "a#b", "ü"])
def test_peeking_sees_an_open_journal_and_changes_nothing(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    assert peek(folder) is None
    journal = Journal.open(folder)
    journal.put(save())
    journal.learn(Facts(cold_error="away"))
    assert peek(folder) == ([save(id=1)], Facts(cold_error="away"))
    journal.close()
    before = sorted(path.name for path in folder.iterdir())
    assert peek(folder) == ([save(id=1)], Facts(cold_error="away"))
    assert sorted(path.name for path in folder.iterdir()) == before


def test_peeking_at_what_is_no_journal_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 500)
    assert peek(tmp_path) is None


def test_what_was_put_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    script = (
        "import sys, os, signal; from pathlib import Path; sys.path.insert(0, '.');"
        "from tests.unit.journal.test_journal import save; from ckpt_tier.journal.journal import Journal;"
        "journal = Journal.open(Path(sys.argv[1])); [journal.put(save(step)) for step in range(50)];"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    peeked = peek(tmp_path)
    assert peeked is not None
    assert [row.step for row in peeked[0]] == list(range(50))
    journal = Journal.open(tmp_path)
    assert len(journal.saves()) == 50
    journal.close()


def test_a_full_disk_is_said_and_the_journal_goes_on_in_memory(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count={pages}")
    for step in range(200):
        journal.put(save(step))
    assert "full" in journal.problem
    assert len(journal.saves()) == 200
    journal._db.execute("PRAGMA max_page_count=1000000")
    journal.put(save(500))
    assert journal.problem == ""
    journal.close()


def test_the_reason_of_an_unreadable_file_needs_a_person_and_a_plain_one_does_not() -> None:
    assert save().trouble == ""
    assert save(reason="permission denied").trouble == "unreadable"
    assert save(state=State.LOST).trouble == "lost"
    assert save(state=State.COMMITTED).trouble == ""
    assert os.sep not in save().path
