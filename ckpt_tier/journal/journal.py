"""The journal's file: SQLite on node-local disk, written only by the process that holds the worker's lock.

Losing it, or any of its rows, costs time and never a checkpoint: hot folder and cold manifests say the same. A file
that is broken or of another version is set aside and begun anew.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Self
from urllib.parse import quote

import msgspec

from ckpt_tier.errors import ConfigError
from ckpt_tier.journal.saves import Save
from ckpt_tier.journal.verdicts import Verdict

VERSION = 1
FILE_NAME = "journal.sqlite"
_SCHEMA = """
CREATE TABLE saves (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE facts (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
"""
_VERDICTS = """
CREATE TABLE IF NOT EXISTS verdicts (
    series TEXT, step INTEGER, generation TEXT, body BLOB NOT NULL, PRIMARY KEY (series, step, generation)
) WITHOUT ROWID;
"""
"""Apart from the rest, because journals of this version began without it."""
BUSY_SECONDS = 10
LOG_BYTES = 2**20
"""What the write-ahead log is cut back to when it has been emptied."""
FREE_PAGES = 256
"""So many unused pages (1 MiB), if they are also half of the file, are worth writing the rest anew."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker learned in passing, for `status`.

    Attributes:
        upload_bytes_per_second: a running mean over the latest uploads; 0 before the first.
        last_pass_at: seconds since the epoch; 0 before the first pass that saw both tiers.
        cold_error: why the cold tier could not be reached at last; empty when it could.
        cold_error_since: seconds since the epoch.
        config_copy: which configuration was last copied to which run; empty before the first.
        swept_at: seconds since the epoch; when leftovers were last cleaned up, 0 before the first time.
    """

    upload_bytes_per_second: float = 0.0
    last_pass_at: float = 0.0
    cold_error: str = ""
    cold_error_since: float = 0.0
    config_copy: str = ""
    swept_at: float = 0.0


class Journal:
    """Saves, facts and verdicts. Safe to use from several threads of one process."""

    def __init__(
        self, connection: sqlite3.Connection, saves: dict[int, Save], facts: Facts, verdicts: Iterable[Verdict] = ()
    ) -> None:
        self._db = connection
        self._lock = threading.Lock()
        self._saves = saves
        self._facts = facts
        self._verdicts = {verdict.key: verdict for verdict in verdicts}
        self._damaged = {verdict.key: verdict for verdict in self._verdicts.values() if verdict.problem}
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
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            # The journal is a cache: after a power loss the last rows may be missing, and are found out again.
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.executescript(f"BEGIN; {_SCHEMA} {_VERDICTS} PRAGMA user_version={VERSION}; COMMIT;")
            saves, facts = _read(db, version or VERSION)
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk: they are known until the end, then
                db.executescript(_VERDICTS)
            verdicts = _read_verdicts(db)
        except BaseException:
            db.close()
            raise
        return cls(db, saves, facts, verdicts)

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
            return self._put(save)

    def amend(self, row: Save, **changes: object) -> Save:
        """Changes the row if it is still as the caller knows it; returns it as it is then, whoever has changed it."""
        with self._lock:
            now = self._saves.get(row.id)
            if now != row:
                return now or row
            return self._put(msgspec.structs.replace(row, **changes))

    def _put(self, save: Save) -> Save:
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

    def verdicts(self) -> dict[tuple[str, int, str], Verdict]:
        """The last word on each generation that was verified again, by (series, step, generation)."""
        with self._lock:
            return dict(self._verdicts)

    def damaged(self) -> list[Verdict]:
        """The verdicts on what is missing or damaged, by series and step."""
        with self._lock:
            return sorted(self._damaged.values(), key=lambda verdict: verdict.key)

    def verdict(self, key: tuple[str, int, str]) -> Verdict | None:
        with self._lock:
            return self._verdicts.get(key)

    def judge(self, verdict: Verdict) -> None:
        """Replaces the word on a generation."""
        with self._lock:
            row = (*verdict.key, msgspec.json.encode(verdict))
            self._write("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?)", row)
            self._verdicts[verdict.key] = verdict
            self._damaged.pop(verdict.key, None)
            if verdict.problem:
                self._damaged[verdict.key] = verdict

    def keep_verdicts(self, keys: Collection[tuple[str, int, str]]) -> None:
        """Forgets the word on every generation but these."""
        with self._lock:
            for key in [key for key in self._verdicts if key not in keys]:
                self._write("DELETE FROM verdicts WHERE (series, step, generation) = (?, ?, ?)", key)
                del self._verdicts[key]
                self._damaged.pop(key, None)

    def compact(self) -> int:
        """Gives unused space back to the disk, if there is much of it; the bytes given back.

        SQLite writes the file anew in one transaction of the write-ahead log: a kill leaves the old pages or the new
        ones. Where that can't be done now (no room for it), everything stays as it is.
        """
        with self._lock, contextlib.suppress(sqlite3.OperationalError):
            pages, free = self._pragma("page_count"), self._pragma("freelist_count")
            if free < FREE_PAGES or 2 * free < pages:
                return 0
            self._db.execute("PRAGMA busy_timeout=0")  # nobody waits for this: whoever reads now may go on
            try:
                self._db.execute("VACUUM")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._db.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
            return (pages - self._pragma("page_count")) * self._pragma("page_size")
        return 0

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

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
    found = _peek(state_dir)
    return found[:2] if found else None


def peek_verdicts(state_dir: Path) -> list[Verdict]:
    """As `peek`: the last word on each generation that was verified again, by series and step."""
    found = _peek(state_dir)
    return found[2] if found else []


def _peek(state_dir: Path) -> tuple[list[Save], Facts, list[Verdict]] | None:
    if not (state_dir / FILE_NAME).exists():
        return None
    try:
        with contextlib.closing(_connect_reading(state_dir)) as db:
            saves, facts = _read(db, db.execute("PRAGMA user_version").fetchone()[0])
            return list(saves.values()), facts, _read_verdicts(db)
    except (sqlite3.DatabaseError, msgspec.DecodeError, msgspec.ValidationError):
        return None


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


def _read_verdicts(db: sqlite3.Connection) -> list[Verdict]:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'verdicts'").fetchone():
        return []  # begun before there were any
    rows = db.execute("SELECT body FROM verdicts ORDER BY series, step, generation")
    return [msgspec.json.decode(body, type=Verdict) for (body,) in rows]


def _set_aside(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.replace(file.with_name(f"{file.name}.broken"))
