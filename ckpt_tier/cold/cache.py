"""Manifest bodies by key, kept on the node: a manifest never changes, so a body once read need not be read again.

Only a cache: deleting the file costs requests, nothing else. Several processes may use one file at once.
"""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

_SCHEMA = "CREATE TABLE IF NOT EXISTS manifests (key TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID"


class ManifestCache:
    """Bodies of manifests that have passed their checks. Each call opens the file anew: safe from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, prefix: str) -> dict[str, bytes]:
        """All bodies whose keys start with `prefix`; nothing if the file is missing or broken."""
        if not self._path.exists():
            return {}
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as db:
                rows = db.execute(
                    "SELECT key, body FROM manifests WHERE key >= ? AND key < ?", (prefix, prefix + "\U0010ffff")
                )
                return dict(rows.fetchall())
        except sqlite3.DatabaseError:
            return {}

    def store(self, bodies: Iterable[tuple[str, bytes]]) -> None:
        """Keeps bodies; a cache that can't be written (read-only, full disk, broken) is left as it is."""
        with contextlib.suppress(sqlite3.DatabaseError, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as db, db:
                db.execute(_SCHEMA)
                db.executemany("INSERT OR REPLACE INTO manifests VALUES (?, ?)", bodies)
