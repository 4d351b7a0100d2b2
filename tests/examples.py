"""How many examples Hypothesis draws, where it is not as many as by default."""

from typing import Any

from hypothesis import settings


def examples(count: int, **more: Any) -> settings:
    """So many in the whole suite; in a fast run as much of them as it draws of the default."""
    whole = settings.get_profile("whole").max_examples
    return settings(max_examples=max(1, count * settings().max_examples // whole), **more)
