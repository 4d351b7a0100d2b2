"""Notes: what is said of checkpoints after they were committed, as small objects under ``notes/``.

Everything that counts stands in the key, so one listing tells it all, and nothing can be damaged that would have to be
read. There are two kinds: branches that training has left (`cold.branches`), and metrics. A metric that is noted again
is another object: nothing is overwritten, and of one generation and name the note with the latest time counts.
"""

from collections.abc import Iterable, Mapping

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.documents import encode
from ckpt_tier.cold.listings import Span, listed
from ckpt_tier.cold.manifest import Manifest
from ckpt_tier.cold.manifests import Manifests
from ckpt_tier.cold.tombstones import Generation
from ckpt_tier.core.branches import Branch
from ckpt_tier.core.units import format_time

NOTE_FORMAT = 1


class MetricNote(msgspec.Struct, frozen=True, kw_only=True):
    """What the key says, for whoever reads it by hand. `noted_at` is RFC 3339."""

    format: int = NOTE_FORMAT
    series: str
    step: int
    generation: str
    noted_at: str
    metric: str
    value: float


class Notes(msgspec.Struct, frozen=True):
    """What is noted in some series.

    Attributes:
        branches: those that training has left.
        metrics: of each generation that any were noted for, by name.
        latest: when the latest metric of each generation was noted, in microseconds since the epoch.
    """

    branches: tuple[Branch, ...] = ()
    metrics: Mapping[Generation, Mapping[str, float]] = {}
    latest: Mapping[Generation, int] = {}


NO_NOTES = Notes()


def list_notes(manifests: Manifests, series: Iterable[str]) -> Notes:
    """The notes of these series. Names that are none of ours are left out."""
    branches: list[Branch] = []
    noted: list[tuple[int, Generation, str, float]] = []
    spans = [Span(name, keys.notes_prefix(manifests.run, name)) for name in series]
    for found in listed(manifests.store, spans):
        if (branch := keys.parse_branch_name(found.name)) is not None:
            branches.append(Branch(found.series, *branch))
        elif (note := keys.parse_metric_name(found.name)) is not None:
            step, generation, at, metric, value = note
            noted.append((at, (found.series, step, generation), metric, value))
    metrics: dict[Generation, dict[str, float]] = {}
    latest: dict[Generation, int] = {}
    for at, key, metric, value in sorted(noted):
        metrics.setdefault(key, {})[metric] = value
        latest[key] = at
    return Notes(tuple(branches), metrics, latest)


def metrics_of(manifest: Manifest, notes: Notes) -> dict[str, float]:
    """What was said of a checkpoint when it was saved, and later; what came later counts."""
    return manifest.metrics | dict(notes.metrics.get((manifest.series, manifest.step, manifest.generation), {}))


def write_metric(manifests: Manifests, key: Generation, at: int, metric: str, value: float) -> None:
    """Notes a metric of a generation; `at` in microseconds since the epoch, later than every note that it replaces."""
    series, step, generation = key
    note = MetricNote(
        series=series,
        step=step,
        generation=generation,
        noted_at=format_time(at / 1e6),
        metric=metric,
        value=value,
    )
    manifests.store.put(keys.metric_key(manifests.run, series, step, generation, at, metric, value), encode(note))
