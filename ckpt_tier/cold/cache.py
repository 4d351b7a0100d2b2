"""Manifest bodies by key, kept on the node: a manifest never changes, so a body once read need not be read again.

The worker drops what is not listed any more, and beyond `MOST_BYTES` what was committed first: `status` asks for the
newest. Beside them lies where the pages of long listings ended (see `cold.listings`). Only a cache: deleting the file
costs requests, nothing else. Several processes may use one file at once.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS manifests (key TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS page_ends (prefix TEXT, key TEXT, PRIMARY KEY (prefix, key)) WITHOUT ROWID",
)
MOST_BYTES = 128 * 2**20
"""Of bodies: some 50,000 checkpoints of one file."""
_FEW_PAGES = 256
"""1 MiB: not worth writing anew."""


class ManifestCache:
    """Bodies of manifests that have passed their checks. Each call opens the file anew: safe from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, prefix: str) -> dict[str, bytes]:
        """All bodies whose keys start with `prefix`; nothing if the file is missing or broken."""
        query = "SELECT key, body FROM manifests WHERE key >= ? AND key < ?"
        return dict(self._rows(query, prefix, prefix + "\U0010ffff"))

    def store(self, bodies: Iterable[tuple[str, bytes]]) -> None:
        """Keeps bodies; a cache that can't be written (read-only, full disk, broken) is left as it is."""
        self._write(lambda db: db.executemany("INSERT OR REPLACE INTO manifests VALUES (?, ?)", bodies))

    def _write(self, change: Callable[[sqlite3.Connection], object]) -> None:
        with contextlib.suppress(sqlite3.DatabaseError, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as db, db:
                for table in _SCHEMA:
                    db.execute(table)
                change(db)

    def page_ends(self, prefix: str) -> list[str]:
        """What `note_page_ends` was told last of the listing of `prefix`; nothing if the file is missing or broken."""
        return [end for (end,) in self._rows("SELECT key FROM page_ends WHERE prefix = ? ORDER BY key", prefix)]

    def note_page_ends(self, prefix: str, ends: Iterable[str]) -> None:
        """Keeps the last key of each whole page of a listing, as `store` keeps bodies."""

        def change(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM page_ends WHERE prefix = ?", (prefix,))
            db.executemany("INSERT INTO page_ends VALUES (?, ?)", [(prefix, end) for end in ends])

        self._write(change)

    def _rows(self, query: str, *values: str) -> list[Any]:
        if not self._path.exists():
            return []
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as db:
                return db.execute(query, values).fetchall()
        except sqlite3.DatabaseError:
            return []

    def keep_only(self, prefix: str, keys: Collection[str]) -> None:
        """Drops the bodies whose keys start with `prefix` and are not in `keys`."""

        def change(db: sqlite3.Connection) -> None:
            there = db.execute("SELECT key FROM manifests WHERE key >= ? AND key < ?", (prefix, prefix + "\U0010ffff"))
            _drop(db, [key for (key,) in there if key not in keys])

        self._change(change)

    def shrink(self, most_bytes: int = MOST_BYTES) -> None:
        """Drops bodies, those that were committed first before others, until `most_bytes` are left; then gives back
        the space that is unused, if it is worth it."""

        def change(db: sqlite3.Connection) -> None:
            sizes = dict(db.execute("SELECT key, length(body) FROM manifests").fetchall())
            left, dropped = sum(sizes.values()), []
            for key in sorted(sizes, key=_committed_at):
                if left <= most_bytes:
                    break
                left -= sizes[key]
                dropped.append(key)
            _drop(db, dropped)
            [pages], [free] = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count"))
            if 2 * free > pages > _FEW_PAGES:
                db.execute("VACUUM")

        self._change(change)

    def _change(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """What can't be done (the file is missing, broken or busy) is left undone."""
        where = f"file:{quote(str(self._path))}?mode=rw"
        with (
            contextlib.suppress(sqlite3.DatabaseError, OSError),
            contextlib.closing(sqlite3.connect(where, uri=True, timeout=5)) as db,
        ):
            change(db)


def _drop(db: sqlite3.Connection, keys: Iterable[str]) -> None:
    with db:
        db.executemany("DELETE FROM manifests WHERE key = ?", [(key,) for key in keys])


def _committed_at(key: str) -> float:
    """From the end of a key, where `Manifests` puts it; 0 where there is none."""
    try:
        return float(key.rpartition("@")[2])
    except ValueError:
        return 0.0
