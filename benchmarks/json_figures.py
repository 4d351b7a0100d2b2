"""What the scripts here print with `--json`: one line that `python -m benchmarks.compare` takes over."""

import json
import statistics
from collections.abc import Mapping, Sequence


def figure(name: str, values: Sequence[float], unit: str) -> dict[str, object]:
    """The median of some measurements, and how far they spread."""
    return {
        "name": name,
        "value": statistics.median(values),
        "unit": unit,
        "lowest": min(values),
        "highest": max(values),
    }


def print_figures(figures: Sequence[Mapping[str, object]]) -> None:
    print(json.dumps(figures))
