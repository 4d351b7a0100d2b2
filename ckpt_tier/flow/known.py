"""What `sync` knows of the cold tier: what the last listing found, what was committed since, and whether it answers."""

from collections.abc import Callable

import msgspec

from ckpt_tier.errors import UnavailableError
from ckpt_tier.flow.observe import Marks, list_committed, list_marks, oldest_steps, waiting
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.retry import persistently
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.scan import scan
from ckpt_tier.journal.saves import Save


class Known:
    """Listed by the thread that looks; deliveries, in threads of their own, read it and add what they find out.

    Attributes:
        marks: of the series on the hot tier.
        error: why the cold tier did not answer at last; None if it did.
    """

    def __init__(self, parts: Parts, layout: Layout, join: Callable[[], object]) -> None:
        """`join` makes sure that the run in the cold tier is the one that `parts` expect; it raises otherwise."""
        self._parts = parts
        self._layout = layout
        self._join = join
        self._is_listed = False
        self._committed: set[tuple[str, int, str]] = set()
        self.marks = Marks()
        self.error: UnavailableError | None = None

    @property
    def committed(self) -> frozenset[tuple[str, int, str]]:
        """(series, step, generation), at least from the oldest hot step on, as of now."""
        return frozenset(self._committed)

    @property
    def answers(self) -> bool:
        """Whether the cold tier was listed, and has not been found away since."""
        return self._is_listed and self.error is None

    def list_anew(self) -> None:
        """Lists the cold tier from the oldest hot step on. Raises UnavailableError after some tries."""
        self._join()
        oldest = oldest_steps(
            scan(self._parts.hot, self._layout).copies,
            self._parts.journal.saves(),
            waiting(self._parts.inbox, self._layout),
        )
        self._parts.cold.receipts.forget(oldest)
        manifests, clock = self._parts.cold.manifests, self._parts.clock
        self._committed = persistently(lambda: list_committed(manifests, oldest), clock)
        self.marks = persistently(lambda: list_marks(manifests, oldest), clock)
        facts = self._parts.journal.facts
        self._parts.journal.learn(
            msgspec.structs.replace(facts, last_pass_at=clock.now(), cold_error="", cold_error_since=0.0)
        )
        self.error = None
        self._is_listed = True

    def went_away(self, error: UnavailableError) -> None:
        """Nothing more is asked of the cold tier until it was listed anew."""
        facts = self._parts.journal.facts
        since = facts.cold_error_since or self._parts.clock.now()
        self._parts.journal.learn(msgspec.structs.replace(facts, cold_error=str(error), cold_error_since=since))
        self.error = error

    def add(self, save: Save) -> None:
        """The save's generation is committed."""
        self._committed.add(_generation_of(save))

    def drop(self, save: Save) -> None:
        """The cold tier does not hold the save's generation, or not all of it, whatever the listing said."""
        self._committed.discard(_generation_of(save))

    def bury(self, save: Save, at: float) -> None:
        """The save's generation was pruned, at a second of the store's clock."""
        tombstones = {**self.marks.tombstones, _generation_of(save): at}
        self.marks = msgspec.structs.replace(self.marks, tombstones=tombstones)

    def is_buried(self, save: Save) -> bool:
        """Whether the save's generation was pruned once."""
        return _generation_of(save) in self.marks.tombstones


def _generation_of(save: Save) -> tuple[str, int, str]:
    return save.series, save.step, save.generation or ""
