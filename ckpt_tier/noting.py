"""What `annotate` asks: to note metrics of a checkpoint that is committed already.

Each metric is an object of its own (`cold.notes`). A kill between two of them leaves the first noted; the same call
again notes the rest, and only that.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping

import msgspec

from ckpt_tier.errors import ConfigError, ConflictError, NotFoundError, UsageError
from ckpt_tier.operations import Operations
from ckpt_tier.wiring import Wiring


class Annotated(msgspec.Struct, frozen=True, kw_only=True):
    """One generation: what was noted just now, and every metric that it has now."""

    series: str
    step: int
    generation: str
    noted: dict[str, float]
    metrics: dict[str, float]


def annotate(
    wiring: Wiring, step: int, values: Mapping[str, float], *, series: str | None = None, generation: str | None = None
) -> Annotated:
    """Notes metrics, finite numbers by name, of a step's generation that was saved last, unless one is named. What it
    says already is not noted again.

    Raises NotFoundError (no such checkpoint, or not committed yet), UsageError (several series have the step),
    IntegrityError (its manifest is damaged), ConflictError (it was pruned at the same moment), UnavailableError.
    """
    from ckpt_tier.cold.notes import list_notes, metrics_of, write_metric
    from ckpt_tier.flow.listing import by_step
    from ckpt_tier.flow.retry import persistently

    name = _series_with(wiring, step, series)
    manifests, clock = wiring.cold.manifests, wiring.clock
    manifest = persistently(lambda: by_step(manifests, name, step, generation), clock)
    notes = persistently(lambda: list_notes(manifests, [name]), clock)
    key = (name, step, manifest.generation)
    before = metrics_of(manifest, notes)
    noted = {metric: value for metric, value in values.items() if before.get(metric) != value}
    # Later than all that is there, even if another machine's clock is ahead.
    at = max(round(clock.now() * 1e6), notes.latest.get(key, 0) + 1)
    for metric, value in noted.items():
        persistently(functools.partial(write_metric, manifests, key, at, metric, value), clock)
    if noted and manifest.generation not in _generations(wiring, name, step):
        raise ConflictError(
            f"step {step} of series {name!r} was pruned at the same moment",
            "its metrics came too late to keep it",
            "its data is still there for the grace: see docs/retention.md on how to bring it back",
        )
    return Annotated(series=name, step=step, generation=manifest.generation, noted=noted, metrics=before | dict(noted))


def _generations(wiring: Wiring, series: str, step: int) -> set[str]:
    with contextlib.suppress(NotFoundError):
        return {entry.generation for entry in Operations(wiring).entries(series, step)}
    return set()


def _series_with(wiring: Wiring, step: int, series: str | None) -> str:
    """The one series that has the step."""
    try:
        names = sorted({entry.series for entry in Operations(wiring).entries(series, step)})
    except NotFoundError as error:
        if _is_hot(wiring, step, series):
            raise NotFoundError(
                f"step {step} is not committed yet",
                "it lies on the hot tier, and metrics are noted of what the cold tier holds",
                "run `ckpt-tier sync`, then annotate it",
            ) from error
        raise
    if len(names) > 1:
        raise UsageError(
            f"step {step} is there in the series {', '.join(names)}", "a metric is that of one", "name it: --series S"
        )
    return names[0]


def _is_hot(wiring: Wiring, step: int, series: str | None) -> bool:
    from ckpt_tier.hot.scan import scan

    with contextlib.suppress(ConfigError):  # without a hot folder, or one that can't be told, the cold tier counts
        copies = scan(wiring.config.hot.path, wiring.layout).copies
        return any(copy.step == step and series in (None, copy.series) for copy in copies)
    return False
