"""What verifying a committed checkpoint again has shown: when last, and what was wrong."""

import msgspec


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The last word on one generation in the cold tier.

    Attributes:
        verified_at: seconds since the epoch.
        problem: what is missing or damaged; empty if it is good.
        path: the file it is about, relative to the hot folder; empty if it is the manifest.
        since: when it was found first, seconds since the epoch; 0 if it is good.
    """

    series: str
    step: int
    generation: str
    verified_at: float
    problem: str = ""
    path: str = ""
    since: float = 0.0

    @property
    def key(self) -> tuple[str, int, str]:
        """(series, step, generation)."""
        return self.series, self.step, self.generation
