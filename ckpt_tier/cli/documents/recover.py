"""The document of `recover`."""

import msgspec

from ckpt_tier.cli.documents.restore import NotRestored, PassedOverDocument, RestoredDocument


class RunInColdTier(msgspec.Struct, frozen=True, kw_only=True):
    """A run that `recover` found. `newest_step` was saved last, at `saved_at`; null without a readable checkpoint."""

    name: str
    series: int
    checkpoints: int
    size_bytes: int
    newest_step: int | None
    saved_at: str | None


class RecoverDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`recover`: what came back and where to go on.

    `runs` is filled, and nothing else done, where there are several and none was named. `config_written` is false if
    an identical configuration was there already.
    """

    schema: str = "ckpt-tier/recover/1"
    cold_url: str
    runs: tuple[RunInColdTier, ...]
    run: str | None
    run_id: str | None
    config: str | None
    config_written: bool
    hot_path: str
    restored: tuple[RestoredDocument, ...]
    passed_over: tuple[PassedOverDocument, ...]
    failed: tuple[NotRestored, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    exit_code: int
