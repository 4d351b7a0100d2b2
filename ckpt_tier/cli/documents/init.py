"""The document of `init`."""

import msgspec


class FoundSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One series that `init` found in the hot folder."""

    name: str
    checkpoints: int
    size_bytes: int
    newest_step: int
    corrupt: int


class CorruptFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that failed validation."""

    series: str
    step: int
    path: str
    reason: str


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `init` tried on the cold tier; `needed`: it can't be used without."""

    name: str
    passed: bool
    detail: str
    needed: bool


class InitDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`init`: what was found, tried and written."""

    schema: str = "ckpt-tier/init/1"
    config: str
    run: str
    run_id: str
    hot_path: str
    cold_url: str
    layout: str
    series: tuple[FoundSeries, ...]
    corrupt: tuple[CorruptFile, ...]
    trials: tuple[Trial, ...]
