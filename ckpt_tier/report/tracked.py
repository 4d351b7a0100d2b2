"""Tracked parameters for the report: what `track` reads, as curves."""

import math
from collections.abc import Iterable, Sequence

from ckpt_tier.errors import CkptTierError
from ckpt_tier.report.data import Curve
from ckpt_tier.report.figures import curve
from ckpt_tier.tracking import Tracking
from ckpt_tier.wiring import Wiring


def tracked_curves(wiring: Wiring, keys: Sequence[str], series: Iterable[str]) -> tuple[list[Curve], list[str]]:
    """A curve for each name that a glob of `keys` matches, of tensors their mean; and what could not be read, as notes:
    a page about everything else is made all the same."""
    curves: list[Curve] = []
    notes: list[str] = []
    for name in series if keys else ():
        tracking = Tracking(wiring)
        try:
            found = tracking.run(keys, tracking.steps(name))
        except CkptTierError as error:
            notes.append(f"nothing was tracked in series {name}: {error}")
            continue
        if found.problems:
            step, why, _ = found.problems[0]
            notes.append(
                f"tracking series {name}: {len(found.problems):,} could not be read, such as step {step.step}: {why}"
            )
        for each in found.names:
            seen = {
                point.step.step: track.found.figures
                for point in found.points
                for track in point.tracks
                if track.name == each and track.found.figures is not None
            }
            means = {step: f.mean for step, f in seen.items() if f.mean is not None and math.isfinite(f.mean)}
            is_mean = any(figures.numel > 1 for figures in seen.values())
            if means:
                curves.append(curve(f"{each} (mean)" if is_mean else each, name, means))
    return curves, notes
