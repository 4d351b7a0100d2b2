"""Readers of single values: from what TOML gives to what the program uses.

Each takes the value, already of the right TOML type, and the place where it was written, and raises
UsageError, whose `what` is the reason, as a clause.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ckpt_tier.config.model import FreeSpace
from ckpt_tier.core.metrics import Best
from ckpt_tier.core.nouns import check_name, is_id
from ckpt_tier.core.retention import KeepBest
from ckpt_tier.core.saving import Gap
from ckpt_tier.core.units import parse_duration, parse_rate
from ckpt_tier.errors import UsageError


class Place(msgspec.Struct, frozen=True):
    """Where a value was written: relative paths start at `base`, and `~` is `home`. Both absolute."""

    base: Path
    home: Path

    def absolute(self, text: str) -> Path:
        """The absolute path that `text` means here."""
        at_home = text == "~" or text.startswith("~/")
        path = self.home / text[1:].lstrip("/") if at_home else self.base / text
        # Dropping ".." by text alone is wrong behind a symlink; what follows the last one keeps the name the user gave,
        # and is not looked at: it may be a mount that hangs.
        end = max((number for number, part in enumerate(path.parts, 1) if part == ".."), default=0)
        return Path(*path.parts[:end]).resolve().joinpath(*path.parts[end:]) if end else path


def text(value: str, place: Place) -> str:
    if not value.strip():
        raise UsageError("it is empty")
    if any(character < " " for character in value):
        raise UsageError("it holds a control character")
    return value


def run_name(value: str, place: Place) -> str:
    return check_name("run", value)


def run_id(value: str, place: Place) -> str:
    if not is_id(value):
        raise UsageError("it is not an id of a run")
    return value


def path(value: str, place: Place) -> Path:
    return place.absolute(text(value, place))


def path_text(value: str, place: Place) -> str:
    return str(path(value, place))


def at_least(least: int) -> Callable[[int, Place], int]:
    def read(value: int, place: Place) -> int:
        if value < least:
            raise UsageError(f"it is less than {least}")
        return value

    return read


def ranks(value: int | str, place: Place) -> int | None:
    """None for "auto"."""
    if value == "auto":
        return None
    if isinstance(value, str):
        raise UsageError('it is text, and not "auto"')
    return at_least(1)(value, place)


_CENTURY = 36_525 * 86_400.0


def _short(value: str) -> str:
    """`value`, if no number in it can overflow a float."""
    if len(value) > 100:
        raise UsageError("it is too long")
    return value


def file_pattern(value: str, place: Place) -> str:
    if "/" in text(value, place):
        raise UsageError("it is a path, and the name of a file is wanted")
    return value


def free_space(value: str, place: Place) -> FreeSpace:
    return FreeSpace.parse(_short(value))


def duration(value: str, place: Place) -> float:
    seconds = parse_duration(_short(value))
    if seconds > _CENTURY:
        raise UsageError("it is longer than 100 years")
    return seconds


SHORTEST_GRACE = 3600.0
"""Seconds. Half of it is what a commit may take between its last look at the data and its manifest."""


def grace(value: str, place: Place) -> float:
    seconds = duration(value, place)
    if seconds < SHORTEST_GRACE:
        raise UsageError("it is so short that data could go while its checkpoint is being committed")
    return seconds


def keep_best(value: dict[str, Any], place: Place) -> KeepBest:
    unknown = sorted(set(value) - {"metric", "mode", "count"})
    if unknown:
        raise UsageError(f"it has no {unknown[0]}")
    metric, mode, count = value.get("metric"), value.get("mode"), value.get("count", 1)
    if not isinstance(metric, str) or not metric.strip() or not metric.isprintable():
        raise UsageError("it names no metric")
    if mode not in ("min", "max"):
        raise UsageError('its mode is neither "min" nor "max"')
    if type(count) is not int or count < 1:
        raise UsageError("its count is not 1 or more")
    return KeepBest(metric, mode, count)


def period(value: str, place: Place) -> float:
    seconds = duration(value, place)
    if seconds < 1:
        raise UsageError("it is less than a second")
    return seconds


def gap(value: str, place: Place) -> Gap:
    found = Gap.parse(_short(value))
    if (found.seconds or 0.0) > _CENTURY:
        raise UsageError("it is longer than 100 years")
    return found


def best(value: str, place: Place) -> Best:
    return Best.parse(_short(value))


def rate(value: str, place: Place) -> int:
    per_second = parse_rate(_short(value))
    if per_second < 1:
        raise UsageError("nothing could ever be uploaded")
    return per_second


def one_of(*choices: str) -> Callable[[str, Place], str]:
    def read(value: str, place: Place) -> str:
        if value not in choices:
            raise UsageError("there is no such choice")
        return value

    return read


_CALLABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def function_name(value: str, place: Place) -> str:
    if not _CALLABLE.fullmatch(value):
        raise UsageError("it does not name a function")
    return value


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_LOST_SLASH = re.compile(r"(s3|gs|gcs|https?|file|az|abfs|sftp|ssh|ftp)(:|//)", re.IGNORECASE)
_CHAIN = re.compile(r"[a-z0-9+.-]+::.*://", re.IGNORECASE | re.DOTALL)


def cold_url(value: str, place: Place) -> str:
    """A URL as it is, without a slash at its end; a folder as its absolute path."""
    value = text(value, place)
    match = _SCHEME.match(value)
    if _CHAIN.match(value):
        raise UsageError("a cold tier is one store, not a chain of them")
    if match is None:
        if _LOST_SLASH.match(value):
            raise UsageError("a URL has :// after its first word")
        return os.path.normpath(place.absolute(value))
    scheme, rest = match[1], match[2]
    if scheme != scheme.lower():
        raise UsageError("a URL starts with a lower-case word")
    if scheme in ("http", "https"):
        raise UsageError("a server goes into endpoint_url, its bucket into url")
    if scheme == "file" and not rest.startswith("/"):
        raise UsageError("a file URL has three slashes, and then an absolute path")
    if scheme != "file" and ("?" in rest or "#" in rest):
        raise UsageError("the URL of a cold tier has no ? and no #")
    if scheme == "s3" and rest[:1] in ("", "/"):
        raise UsageError("it names no bucket")
    return f"{scheme}://{rest.rstrip('/') or rest[:1]}"


def endpoint_url(value: str, place: Place) -> str:
    match = _SCHEME.match(text(value, place))
    if match is None or match[1] not in ("http", "https") or not match[2].strip("/"):
        raise UsageError("it is not the URL of a server")
    if "?" in value or "#" in value:
        raise UsageError("the URL of a server has no ? and no #")
    return value.rstrip("/")


def flag(value: bool, place: Place) -> bool:
    return value
