"""Runs: one training each, told apart by a random id that is made once."""

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.documents import MAX_DOCUMENT_BYTES, decode, encode
from ckpt_tier.core.nouns import is_name
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import ConfigError, KeyExistsError, MissingKeyError
from ckpt_tier.store.protocol import Store

RUN_FORMAT = 1


class RunDocument(msgspec.Struct, frozen=True, kw_only=True):
    """``run.json``: proof that two configurations mean the same training."""

    format: int
    id: str
    created_at: str


def read_run(store: Store, run: str) -> RunDocument | None:
    """The run's document, or None if there is no such run."""
    key = keys.run_key(run)
    try:
        return decode(store.get(key, MAX_DOCUMENT_BYTES), RunDocument, key)
    except MissingKeyError:
        return None


def list_runs(store: Store) -> list[str]:
    """The names of all runs in the store, sorted. One request for each folder at its top."""
    return [name for name in store.folders("") if is_name(name) and _has_run(store, name)]


def _has_run(store: Store, run: str) -> bool:
    try:
        store.stat(keys.run_key(run))
    except MissingKeyError:
        return False
    return True


def join_run(store: Store, run: str, run_id: str | None, *, new_id: str, now: float) -> RunDocument:
    """The run's document, made if there is none.

    Raises ConfigError when the run that is there has another id than `run_id`. With two processes at once one
    makes the document, and both read it.
    """
    document = read_run(store, run)
    if document is None:
        fresh = RunDocument(format=RUN_FORMAT, id=run_id or new_id, created_at=format_time(now))
        try:
            store.put(keys.run_key(run), encode(fresh), if_absent=True)
        except KeyExistsError:
            return join_run(store, run, run_id, new_id=new_id, now=now)
        return fresh
    check_same_run(document, run, run_id, store.url)
    return document


def check_same_run(document: RunDocument, run: str, run_id: str | None, url: str) -> None:
    """Raises ConfigError when the run that is there has another id than the configuration expects."""
    if run_id is not None and document.id != run_id:
        raise ConfigError(
            f"the run {run!r} at {url} is another training",
            f"its id is {document.id}, the configuration says {run_id}",
            "choose another `run` name, or set `run_id` to that id if it really is the same training",
        )
