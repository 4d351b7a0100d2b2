"""Copies of the run's configuration, for the day on which the machine that had it is gone.

A copy stands under a name that follows from its bytes, is put once, and is never overwritten: an older one stays.
"""

import contextlib
import hashlib
from collections.abc import Iterator

from ckpt_tier.cold import keys
from ckpt_tier.core.nouns import ID_HEX_DIGITS
from ckpt_tier.errors import IntegrityError, KeyExistsError, MissingKeyError, UsageError
from ckpt_tier.store.protocol import Store

MAX_CONFIG_BYTES = 64 * 1024


def config_id(text: bytes) -> str:
    """The name of a copy: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(text).hexdigest()[:ID_HEX_DIGITS]


def put_config(store: Store, run: str, text: bytes) -> None:
    """Puts a copy, unless it is there. Raises UsageError above `MAX_CONFIG_BYTES`, UnavailableError."""
    if len(text) > MAX_CONFIG_BYTES:
        raise UsageError(
            "the configuration is too large to be copied", f"{len(text)} bytes, at most {MAX_CONFIG_BYTES}"
        )
    key = keys.config_key(run, config_id(text))
    try:
        store.stat(key)  # a journal that was lost is no reason to send anything
    except MissingKeyError:
        with contextlib.suppress(KeyExistsError):  # another worker of the run was faster
            store.put(key, text, if_absent=True)


def newest_configs(store: Store, run: str) -> Iterator[tuple[str, bytes | IntegrityError]]:
    """(key, text) of each copy, the one put last first; an error in place of a text that can't be taken.

    One listing, then one request for each copy that is asked for. Raises UnavailableError.
    """
    prefix = keys.configs_prefix(run)
    found = [stat for stat in store.list(prefix) if keys.parse_config_name(stat.key.removeprefix(prefix))]
    for stat in sorted(found, key=lambda stat: (stat.modified, stat.key), reverse=True):
        try:
            text = store.get(stat.key, MAX_CONFIG_BYTES)
        except IntegrityError as error:
            yield stat.key, error
            continue
        if keys.config_key(run, config_id(text)) == stat.key:
            yield stat.key, text
        else:
            yield stat.key, IntegrityError(f"{stat.key} is damaged", "its name does not follow from its bytes")
