"""What fsspec's filesystems say of their files, and the keys below a folder in the order of their UTF-8 bytes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ckpt_tier.errors import UnavailableError, UsageError
from ckpt_tier.store.protocol import Stat, check_key

Info = Mapping[str, Any]
"""One entry of `ls`, or what `info` answers:
https://filesystem-spec.readthedocs.io/en/latest/api.html#fsspec.spec.AbstractFileSystem.info"""
Children = Callable[[str], Sequence[Info]]
"""The entries directly below a folder, whose key ends in a slash or is empty; none if there is no such folder."""

_TIMES = ("mtime", "updated", "last_modified", "LastModified", "modified", "modify", "modificationTime", "created")
"""Where filesystems put the time of the last change. Objects never change, so that of creation is as good."""
_COMPACT = "%Y%m%d%H%M%S"
"""FTP's, in UTC: https://datatracker.ietf.org/doc/html/rfc3659#section-2.3"""
_MILLISECONDS = 10**11
"""A number beyond this counts milliseconds (HDFS does): as seconds it would be the year 5138."""


def walk(children: Children, hidden: str, prefix: str, after: str) -> Iterator[tuple[str, Info]]:
    """(key, entry) of the files whose keys start with `prefix` and sort after `after`, one folder in memory at a time.

    The folder `hidden` at the root, links, and names that can't be keys are left out.
    """
    start = prefix[: prefix.rfind("/") + 1]  # nothing outside this folder begins with the prefix
    return _walk(children, f"{hidden}/", start, prefix, after)


def _walk(children: Children, hidden: str, folder: str, prefix: str, after: str) -> Iterator[tuple[str, Info]]:
    for key, entry in sorted(_keyed(folder, children(folder)), key=lambda child: child[0].encode()):
        if not key.startswith(prefix) or key == hidden:
            continue
        if key.endswith("/"):
            if key.encode() >= after.encode() or after.startswith(key):
                yield from _walk(children, hidden, key, prefix, after)
        elif key.encode() > after.encode():
            yield key, entry


def _keyed(folder: str, entries: Sequence[Info]) -> Iterator[tuple[str, Info]]:
    """(key, entry) of files, (key with a slash, entry) of folders. A name counts from its last slash on only: it comes
    from the server, and must not lead elsewhere."""
    for entry in entries:
        key = folder + str(entry["name"]).rstrip("/").rpartition("/")[2]
        if not is_key(key):
            continue
        if entry["type"] == "directory":
            yield f"{key}/", entry
        elif entry["type"] == "file":
            yield key, entry


def is_key(name: str) -> bool:
    """Whether `name` can be a key."""
    try:
        return bool(check_key(name))
    except (UsageError, UnicodeEncodeError):
        return False


def described(key: str, entry: Info, now: float) -> Stat:
    """An entry as the store describes it.

    Where the filesystem gives no time, the object counts as written `now`: what waits for an object to grow old before
    it deletes it then never does.
    """
    size = entry["size"]
    if not isinstance(size, int) or size < 0:
        raise UnavailableError(f"the store does not say how large {key} is", f"it says {size!r}")
    times = (seconds(entry.get(name)) for name in _TIMES)
    return Stat(key, size, None, next((time for time in times if time is not None), now))


def seconds(time: object) -> float | None:
    """Seconds since the epoch, from one of the forms in which libraries give a time; None if it is none of them."""
    match time:
        case datetime():
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        case bool():
            return None
        case int() | float():
            return time / 1000 if time > _MILLISECONDS else float(time)
        case str():
            return _parsed(time)
    return None


def _parsed(text: str) -> float | None:
    for parse in (datetime.fromisoformat, lambda t: datetime.strptime(t.partition(".")[0], _COMPACT)):  # noqa: DTZ007
        try:
            return seconds(parse(text))
        except ValueError:
            continue
    return None
