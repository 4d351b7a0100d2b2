"""Figures by the content they were taken from, kept on the node: a file of one SHA-256 never has others.

Only a cache: deleting the file costs reading, nothing else. Several processes may use one file at once.
"""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from ckpt_tier.tensors.chosen import Chosen

FILE_NAME = "tracked.sqlite"
MOST_BYTES = 32 * 2**20
"""Of what is kept: some 200,000 tensors; what was put in first goes first."""
_FORMAT = "1"
"""Part of each key: another meaning of the figures gets another."""
_SCHEMA = "CREATE TABLE IF NOT EXISTS tracked (number INTEGER PRIMARY KEY, key BLOB UNIQUE, body BLOB NOT NULL)"


class FiguresCache:
    """What globs have chosen from files. Each call opens the file anew: safe from any thread."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME

    def load(self, contents: Iterable[str], patterns: Sequence[str]) -> dict[str, tuple[Chosen, ...]]:
        """What is known of these contents, by SHA-256; nothing if the file is missing or broken."""
        if not self._path.exists():
            return {}
        found = {}
        with (
            contextlib.suppress(sqlite3.DatabaseError),
            contextlib.closing(sqlite3.connect(self._path, timeout=5)) as db,
        ):
            for content in contents:
                row = db.execute("SELECT body FROM tracked WHERE key = ?", (_key(content, patterns),)).fetchone()
                with contextlib.suppress(msgspec.DecodeError):  # a broken row is as good as none
                    if row is not None:
                        found[content] = msgspec.json.decode(row[0], type=tuple[Chosen, ...])
        return found

    def store(self, chosen: Iterable[tuple[str, tuple[Chosen, ...]]], patterns: Sequence[str]) -> None:
        """Keeps them by content; a file that is broken is begun anew, one that can't be written is left as it is."""
        rows = [(_key(content, patterns), msgspec.json.encode(each)) for content, each in chosen]
        with contextlib.suppress(sqlite3.OperationalError, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._put(rows)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self._path.unlink(missing_ok=True)
                self._put(rows)

    def _put(self, rows: list[tuple[bytes, bytes]]) -> None:
        with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as db, db:
            db.execute(_SCHEMA)
            db.executemany("INSERT OR REPLACE INTO tracked (key, body) VALUES (?, ?)", rows)
            db.execute(
                "DELETE FROM tracked WHERE number IN (SELECT number FROM (SELECT number, sum(length(body)) OVER "
                "(ORDER BY number DESC) AS behind FROM tracked) WHERE behind > ?)",
                (MOST_BYTES,),
            )


def _key(content: str, patterns: Sequence[str]) -> bytes:
    text = msgspec.json.encode([_FORMAT, content, sorted(set(patterns))])
    return hashlib.sha256(text).digest()[:16]
