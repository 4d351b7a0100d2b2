"""The configuration as the program sees it: typed, absolute, checked. `keys` says what each value means."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Literal, Self

import msgspec

from ckpt_tier.core.retention import KeepBest, KeepEvery, KeepFor, KeepLast, Policy
from ckpt_tier.core.saving import SaveRules
from ckpt_tier.core.units import parse_size
from ckpt_tier.errors import NoColdTierError, UsageError

LevelName = Literal["fast", "full", "deep"]

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_SPACE_FIX = 'write it like "10%" or "50GiB"'


class FreeSpace(msgspec.Struct, frozen=True):
    """An amount of free space: a share of the file system, or a number of bytes; one of the two is set.

    Attributes:
        percent: of the file system's size, 0 to 100.
        size: bytes.
    """

    percent: float | None = None
    size: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "10%" or "50GiB"; raises UsageError."""
        match = _PERCENT.fullmatch(text)
        if match is None:
            try:
                return cls(size=parse_size(text))
            except UsageError as error:
                raise UsageError(f"{text!r} is not an amount of space", fix=_SPACE_FIX) from error
        if float(match[1]) > 100:
            raise UsageError(f"{text!r} is more than the whole disk", fix=_SPACE_FIX)
        return cls(percent=float(match[1]))

    def bytes_of(self, total: int) -> int:
        """Bytes, on a file system of `total` bytes."""
        if self.size is not None:
            return self.size
        return round(total * (self.percent or 0.0) / 100)

    def __str__(self) -> str:
        """The form that `parse` reads."""
        if self.percent is None:
            return str(self.size)
        return f"{Decimal(repr(self.percent)).normalize():f}%"


def _policy(
    keep_last: int | None, keep_every: int | None, keep_best: KeepBest | None, keep_for: float | None
) -> Policy:
    rules = (
        None if keep_last is None else KeepLast(keep_last),
        None if keep_every is None else KeepEvery(keep_every),
        keep_best,
        None if keep_for is None else KeepFor(keep_for),
    )
    return Policy(tuple(rule for rule in rules if rule is not None))


class HotConfig(msgspec.Struct, frozen=True):
    """`[hot]`: the folder that training saves into. `settle`, `hold`, `set_window`, `keep_for` are seconds, `path` is
    absolute.

    `ranks`: how many shares make a checkpoint; None ("auto"): as the hook says.
    """

    path: Path
    layout: str = "auto"
    keep_last: int = 3
    keep_every: int | None = None
    keep_best: KeepBest | None = None
    keep_for: float | None = None
    min_free: FreeSpace = FreeSpace(percent=10.0)
    settle: float = 10.0
    hold: float = 86_400.0
    ranks: int | None = None
    set_window: float = 120.0
    complete_when: str | None = None

    @property
    def retention(self) -> Policy:
        """What stays on the hot tier."""
        return _policy(self.keep_last, self.keep_every, self.keep_best, self.keep_for)


class ValidateConfig(msgspec.Struct, frozen=True):
    """`[validate]`: what a file must pass before it is uploaded."""

    level: LevelName = "full"
    on_rejected: Literal["keep", "aside"] = "keep"
    non_finite: Literal["record", "reject"] = "record"
    custom: str | None = None


class ColdConfig(msgspec.Struct, frozen=True):
    """`[cold]`: where checkpoints are kept, and for how long. `url` has a scheme, or is the absolute path of a folder;
    empty: there is no cold tier.

    `keep_for` and `grace` are seconds.
    """

    url: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing: Literal["auto", "path", "virtual"] = "auto"
    ca_bundle: str | None = None
    sse: Literal["AES256", "aws:kms"] | None = None
    sse_kms_key_id: str | None = None
    same_device: bool = False
    keep_last: int | None = None
    keep_every: int | None = None
    keep_best: KeepBest | None = None
    keep_for: float | None = None
    grace: float = 604_800.0

    @property
    def retention(self) -> Policy:
        """What stays in the cold tier: everything, unless a rule is set."""
        return _policy(self.keep_last, self.keep_every, self.keep_best, self.keep_for)


class UploadConfig(msgspec.Struct, frozen=True):
    """`[upload]`: `bandwidth` is bytes per second, None for no limit."""

    order: Literal["newest", "oldest"] = "newest"
    bandwidth: int | None = None
    attempts: int = 8


class WatchConfig(msgspec.Struct, frozen=True):
    """`[watch]`: what the worker does while nothing else is due. `verify_every` is seconds."""

    verify: Literal["presence", "content", "off"] = "presence"
    verify_every: float = 7 * 86_400.0


class Config(msgspec.Struct, frozen=True):
    """One run's configuration.

    Attributes:
        file: the absolute path it was read from; None when there was none, only environment and arguments.
        run: the name under which the checkpoints live in the cold tier.
        run_id: the id that the cold tier's run.json must have; None joins whatever run is there.
        state_dir: absolute; where the journal lives, on a disk of this machine.
    """

    file: Path | None
    run: str
    run_id: str | None
    state_dir: Path
    hot: HotConfig
    cold: ColdConfig
    validate: ValidateConfig = ValidateConfig()
    upload: UploadConfig = UploadConfig()
    save: SaveRules = SaveRules()
    watch: WatchConfig = WatchConfig()

    @property
    def has_cold(self) -> bool:
        """Whether there is a cold tier; without one only the hot folder is looked after."""
        return bool(self.cold.url)

    def require_cold(self) -> None:
        """Raises NoColdTierError where there is none."""
        if not self.has_cold:
            raise NoColdTierError(
                "there is no cold tier",
                "the configuration has no [cold] url",
                'add url = "s3://bucket/prefix" under [cold]; without one `ckpt-tier prune --tier hot` clears the disk',
            )
