"""What was tried in vain, and until when it is left alone."""

import msgspec

from ckpt_tier.flow.actions import Action, Kind
from ckpt_tier.system.clock import Clock

POSTPONED = 2.0
"""Seconds until a file that was open for writing is looked at again."""
CALLED_OFF_WAIT = 60.0
"""Seconds until what was called off, or refused by the operating system, is tried again."""
ASK_AGAIN = (5.0, 60.0)
"""Seconds until a share asks again whether the others are there: at first, and at the most."""


class _Question(msgspec.Struct, frozen=True):
    """When a share asks again, in monotonic seconds, and for how many it has waited."""

    at: float = 0.0
    wait: float = 0.0


class PutOff:
    """Paths, and rows of the journal, whose time has not come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._postponed: dict[str, float] = {}
        self._called_off: dict[tuple[Kind, str], float] = {}
        self._questions: dict[int, _Question] = {}

    def postpone(self, path: str) -> None:
        """A file was open for writing, or changed while it was read."""
        self._postponed[path] = self._clock.now() + POSTPONED

    def postponed(self) -> dict[str, float]:
        """The paths that are left alone for that now, and until which second since the epoch."""
        now = self._clock.now()
        self._postponed = {path: until for path, until in self._postponed.items() if until > now}
        return self._postponed

    def call_off(self, action: Action) -> None:
        """It could not be done."""
        self._called_off[action.kind, action.path] = self._clock.monotonic() + CALLED_OFF_WAIT

    def ask_later(self, row: int) -> None:
        """The other shares are not there yet: asks again later, and less and less often."""
        first, most = ASK_AGAIN
        before = self._questions.get(row)
        wait = min(before.wait * 2, most) if before else first
        self._questions[row] = _Question(self._clock.monotonic() + wait, wait)

    def ask_no_more(self, row: int) -> None:
        """The other shares are there."""
        self._questions.pop(row, None)

    def has_come(self, action: Action) -> bool:
        """Whether the action need not wait any longer for what was tried in vain."""
        now = self._clock.monotonic()
        if action.kind is Kind.ASSEMBLE and action.save is not None:
            return self._questions.get(action.save.id, _Question()).at <= now
        until = self._called_off.get((action.kind, action.path))
        return until is None or until <= now
