"""The journal's file: SQLite on node-local disk, written only by the process that holds the worker's lock.

Losing it, or any of its rows, costs time and never a checkpoint: hot folder and cold manifests say the same. A file
that is broken or of another version is set aside and begun anew.
"""

import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Self
from urllib.parse import quote

import msgspec

from ckpt_tier.errors import ConfigError
from ckpt_tier.journal.saves import Save

VERSION = 1
FILE_NAME = "journal.sqlite"
_SCHEMA = """
CREATE TABLE saves (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE facts (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
"""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker learned in passing, for `status`.

    Attributes:
        upload_bytes_per_second: a running mean over the latest uploads; 0 before the first.
        last_pass_at: seconds since the epoch; 0 before the first pass that saw both tiers.
        cold_error: why the cold tier could not be reached at last; empty when it could.
        cold_error_since: seconds since the epoch.
        config_copy: which configuration was last copied to which run; empty before the first.
    """

    upload_bytes_per_second: float = 0.0
    last_pass_at: float = 0.0
    cold_error: str = ""
    cold_error_since: float = 0.0
    config_copy: str = ""


class Journal:
    """Saves and facts. Safe to use from several threads of one process."""

    def __init__(self, connection: sqlite3.Connection, saves: dict[int, Save], facts: Facts) -> None:
        self._db = connection
        self._lock = threading.Lock()
        self._saves = saves
        self._facts = facts
        self.problem = ""
        """Why the last change did not reach the file; empty if it did."""

    @classmethod
    def open(cls, state_dir: Path) -> Self:
        """The journal below `state_dir`, begun anew if it is missing, broken or of another version."""
        path = state_dir / FILE_NAME
        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                return cls._load(path)
            except sqlite3.OperationalError:
                raise  # locked, or not allowed: not broken
            except (sqlite3.DatabaseError, msgspec.DecodeError, msgspec.ValidationError):
                _set_aside(path)
                return cls._load(path)
        except (OSError, sqlite3.OperationalError) as error:
            raise ConfigError(
                f"the journal {path} can't be opened",
                str(error),
                "set `state_dir` to a folder on a local disk that this user can write",
            ) from error

    @classmethod
    def _load(cls, path: Path) -> Self:
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            # The journal is a cache: after a power loss the last rows may be missing, and are found out again.
            db.execute("PRAGMA synchronous=NORMAL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
            saves, facts = _read(db, version or VERSION)
        except BaseException:
            db.close()
            raise
        return cls(db, saves, facts)

    def saves(self) -> list[Save]:
        """All rows, in the order they were added."""
        with self._lock:
            return list(self._saves.values())

    def get(self, identity: int) -> Save | None:
        with self._lock:
            return self._saves.get(identity)

    def put(self, save: Save) -> Save:
        """Adds the row (its `id` is 0) or replaces it; returns it with its id."""
        with self._lock:
            if save.id == 0:
                save = msgspec.structs.replace(save, id=max(self._saves, default=0) + 1)
            self._write("INSERT OR REPLACE INTO saves VALUES (?, ?)", (save.id, msgspec.json.encode(save)))
            self._saves[save.id] = save
            return save

    def forget(self, identity: int) -> None:
        """Removes a row."""
        with self._lock:
            self._write("DELETE FROM saves WHERE id = ?", (identity,))
            self._saves.pop(identity, None)

    @property
    def facts(self) -> Facts:
        with self._lock:
            return self._facts

    def learn(self, facts: Facts) -> None:
        """Replaces the facts."""
        with self._lock:
            if facts != self._facts:
                self._write("INSERT OR REPLACE INTO facts VALUES ('facts', ?)", (msgspec.json.encode(facts),))
                self._facts = facts

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        """Writes to the file, or notes why it can't be: a full disk must not stop what makes room on it."""
        try:
            self._db.execute(statement, values)
            self.problem = ""
        except sqlite3.OperationalError as error:
            self.problem = str(error)

    def close(self) -> None:
        with self._lock:
            self._db.close()


def peek(state_dir: Path) -> tuple[list[Save], Facts] | None:
    """What the journal holds now, without locking or changing it; None if there is none that can be read."""
    if not (state_dir / FILE_NAME).exists():
        return None
    try:
        with contextlib.closing(_connect_reading(state_dir)) as db:
            saves, facts = _read(db, db.execute("PRAGMA user_version").fetchone()[0])
    except (sqlite3.DatabaseError, msgspec.DecodeError, msgspec.ValidationError):
        return None
    return list(saves.values()), facts


def damage(state_dir: Path) -> str:
    """What is wrong with the journal's file, as a clause; empty if nothing is, or there is none. Reads all of it, and
    changes nothing."""
    if not (state_dir / FILE_NAME).exists():
        return ""
    try:
        with contextlib.closing(_connect_reading(state_dir)) as db:
            _read(db, db.execute("PRAGMA user_version").fetchone()[0])
            [verdict] = db.execute("PRAGMA quick_check(1)").fetchone()
    except (sqlite3.DatabaseError, msgspec.DecodeError, msgspec.ValidationError) as error:
        return str(error)
    return "" if verdict == "ok" else str(verdict)


def _connect_reading(state_dir: Path) -> sqlite3.Connection:
    path = state_dir / FILE_NAME
    # Without a write-ahead log nobody has it open, and a plain reader would leave an empty log behind.
    how = "mode=ro" if path.with_name(f"{FILE_NAME}-wal").exists() else "immutable=1"
    return sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=5)


def _read(db: sqlite3.Connection, version: int) -> tuple[dict[int, Save], Facts]:
    if version != VERSION:
        raise sqlite3.DatabaseError(f"the journal's version is {version}")
    saves = {
        identity: msgspec.json.decode(body, type=Save)
        for identity, body in db.execute("SELECT id, body FROM saves ORDER BY id")
    }
    row = db.execute("SELECT body FROM facts WHERE name = 'facts'").fetchone()
    return saves, msgspec.json.decode(row[0], type=Facts) if row else Facts()


def _set_aside(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.replace(file.with_name(f"{file.name}.broken"))
