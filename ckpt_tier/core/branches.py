"""Branches that training has left: it went back to a step and goes on from there. Pure."""

from collections.abc import Iterable

import msgspec


class Branch(msgspec.Struct, frozen=True, order=True):
    """What was saved for the steps after `after`, before the second `before` since the epoch, is abandoned."""

    series: str
    after: int
    before: float

    def holds(self, series: str, step: int, saved_at: float) -> bool:
        """Whether a checkpoint lies on the branch."""
        return series == self.series and step > self.after and saved_at < self.before

    @property
    def reason(self) -> str:
        """Why its checkpoints are passed over, as a clause."""
        return f"abandoned: training went back to step {self.after}"


def branch_of(branches: Iterable[Branch], series: str, step: int, saved_at: float) -> Branch | None:
    """The abandoned branch that a checkpoint lies on; None if training still goes its way."""
    return next((branch for branch in branches if branch.holds(series, step, saved_at)), None)
