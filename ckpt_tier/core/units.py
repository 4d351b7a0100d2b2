"""Sizes, durations and rates as people write them, and back."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from ckpt_tier.errors import UsageError

_SIZES = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "PIB": 2**50,
}  # fmt: skip
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_COUNTS = {"": 1, "k": 10**3, "m": 10**6}
_DECIMAL = ("kB", "MB", "GB", "TB", "PB", "EB")
_QUANTITY = re.compile(r"\s*(\d{1,60}(?:\.\d{1,60})?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Bytes from "1.2GB" (powers of 1000), "50GiB" (powers of 1024) or "123"; raises UsageError."""
    match = _QUANTITY.fullmatch(text)
    unit = _SIZES.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise UsageError(f"{text!r} is not a size", fix='write it like "1.2GB", "50GiB" or "123"')
    return round(Decimal(match[1]) * unit)


def parse_duration(text: str) -> float:
    """Seconds from "10s", "2m", "1.5h", "7d"; raises UsageError."""
    match = _QUANTITY.fullmatch(text)
    unit = _DURATIONS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f"{text!r} is not a duration", fix='write it like "10s", "2m", "12h" or "7d"')
    return float(match[1]) * unit


def parse_rate(text: str) -> int:
    """Bytes per second from "200MB/s"; raises UsageError."""
    amount, slash, per = text.partition("/")
    if not slash or per.strip() != "s":
        raise UsageError(f"{text!r} is not a bandwidth", fix='write it like "200MB/s"')
    return parse_size(amount)


def parse_count(text: str) -> int:
    """A whole number from "757500", "757_500", "757,500", "757.5k" or "1M"; raises UsageError."""
    match = _QUANTITY.fullmatch(re.sub(r"(?<=\d)[_,](?=\d{3}(?!\d))", "", text))
    factor = _COUNTS.get(match[2].lower()) if match else None
    if match is None or factor is None or (count := Decimal(match[1]) * factor) % 1:
        raise UsageError(f"{text!r} is not a whole number", fix='write it like "757500", "757.5k" or "1M"')
    return int(count)


def format_size(count: int) -> str:
    """Bytes in powers of 1000 with three significant digits, as disks are sold: "1.20 GB"."""
    if abs(count) < 1000:
        return f"{count} B"
    value = float(count)
    for unit in _DECIMAL:
        value /= 1000
        if abs(value) < 999.5 or unit == "EB":
            return f"{value:.{_digits(value)}f} {unit}"
    raise AssertionError("unreachable")


def common_unit(counts: Iterable[int]) -> tuple[str, int]:
    """A unit for a whole column of sizes, and its bytes: the largest in which none of them, but 0, is less than 1."""
    least = min((count for count in counts if count), default=0)
    power = max(0, min((len(str(least)) - 1) // 3, len(_DECIMAL)))
    return ("B", *_DECIMAL)[power], 1000**power


def format_in(count: int, unit: int) -> str:
    """Bytes in a unit of so many bytes, with at least three significant digits: "3.60", "28.8", "1,087"."""
    return f"{count / unit:,.{_digits(count / unit) if unit > 1 else 0}f}"


def _digits(value: float) -> int:
    """How many decimals make three significant digits."""
    return 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0


def format_duration(seconds: float) -> str:
    """The two largest units: "45 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    for large, small, large_name, small_name in (
        (60, 1, "min", "s"),
        (3600, 60, "h", "min"),
        (86400, 3600, "d", "h"),
    ):
        if whole < large * (60 if large == 60 else 24) or large == 86400:
            head, rest = divmod(whole, large)
            tail = rest // small
            return f"{head} {large_name} {tail} {small_name}" if tail else f"{head} {large_name}"
    raise AssertionError("unreachable")


def format_time(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds: "2026-11-24T01:50:22.123456Z". `seconds` since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> float:
    """Seconds since the epoch from RFC 3339 with an offset; raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()
