"""A hot folder with checkpoints of several ranks, and what is pruned from it without a cold tier."""

import os
from pathlib import Path

from ckpt_tier.flow.interrupted import recover_evictions
from ckpt_tier.flow.prune import Ruling
from ckpt_tier.hot.layout import Layout
from ckpt_tier.pruning import HotPlan, Pruning
from tests.builders import TwoTiers, checkpoint, flip_a_bit

LAYOUTS = [
    "gpu{series}/step_{step}_rank_{rank}.pt",
    "gpu{series}/step_{step}/rank{rank}/",
    "rank{rank}/gpu{series}-{step}.pt",
]
"""Files, folders, and a folder for each rank."""
RANKS = 3
EVERY = list(range(RANKS))
LATER = 10_000.0
"""Seconds: every set has settled by then."""


class Ranks:
    """A training of several ranks that saves into one hot folder, and nothing else has its checkpoints."""

    def __init__(self, root: Path, layout: str = LAYOUTS[0], *, ranks: int | None = RANKS, keep_last: int = 2) -> None:
        self.tiers = TwoTiers(root, layout=layout, ranks=ranks, keep_last=keep_last)
        self.tiers.set(cold={"url": ""})
        self.layout = Layout.parse(layout)

    def place(self, step: int, rank: int, series: str = "0") -> Path:
        return self.tiers.hot / self.layout.format(series, step, rank)

    def share(self, step: int, rank: int, series: str = "0", *, saved_at: float) -> Path:
        place = self.place(step, rank, series)
        names = ["a.pt", "deep/b.pt"] if self.layout.is_folder else [""]
        for number, name in enumerate(names):
            path = place / name if name else place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(checkpoint(step % 5, 10 * rank + number))
            os.utime(path, (saved_at, saved_at))
        return place

    def save(self, step: int, series: str = "0", *, after: float = 1000.0) -> None:
        """All ranks, a second one after the other; `after` seconds since what was saved before."""
        self.tiers.clock.time += after
        for rank in range(RANKS):
            self.share(step, rank, series, saved_at=self.tiers.clock.time + rank)

    def plan(self, series: str | None = None, *, rejected: bool = False) -> HotPlan:
        self.tiers.clock.time += LATER
        try:
            return Pruning(self.tiers.wiring()).hot_plan(series, rejected=rejected)
        finally:
            self.tiers.clock.time -= LATER

    def rulings(self, step: int, series: str = "0") -> list[Ruling]:
        return [each for each in self.plan().rulings if (each.series, each.step) == (series, step)]

    def why(self, step: int) -> str:
        """What is said of every share of a step that was validated."""
        [told] = {each.reasons for each in self.rulings(step) if "not counted: rejected: " not in each.reasons[0]}
        assert all(each.kept for each in self.rulings(step))
        return ", ".join(told)

    def going(self, *, rejected: bool = False) -> set[tuple[str, int]]:
        return {(each.series, each.step) for each in self.plan(rejected=rejected).removals}

    def delete(self, *, rejected: bool = False) -> list[str]:
        """The paths that went."""
        what = self.plan(rejected=rejected)
        self.tiers.clock.time += LATER
        try:
            done = list(Pruning(self.tiers.wiring()).delete(what, self.tiers.events.append, rejected=rejected))
        finally:
            self.tiers.clock.time -= LATER
        return [path for path, went in done if went]

    def there(self, series: str = "0") -> dict[int, list[int]]:
        """Step → ranks with all of their bytes under their own name."""
        found: dict[int, list[int]] = {}
        for step in range(10):
            ranks = [rank for rank in range(RANKS) if self._is_there(step, rank, series)]
            if ranks:
                found[step] = ranks
        return found

    def _is_there(self, step: int, rank: int, series: str) -> bool:
        place = self.place(step, rank, series)
        paths = [place / "a.pt", place / "deep/b.pt"] if self.layout.is_folder else [place]
        return all(
            path.is_file() and path.read_bytes() == checkpoint(step % 5, 10 * rank + number)
            for number, path in enumerate(paths)
        )

    def hidden(self) -> list[str]:
        return sorted(path.name for path in self.tiers.hot.rglob(".*.evict*"))

    def said(self, text: str) -> bool:
        return any(text in str(event) for event in self.tiers.events)

    def spoil(self, step: int, rank: int, series: str = "0") -> Path:
        """A tensor of a rank is damaged: its structure is whole, a checksum is not."""
        place = self.place(step, rank, series)
        flip_a_bit(place / "a.pt" if self.layout.is_folder else place)
        return place

    def recover(self) -> None:
        """What the next start does first."""
        with self.tiers.wiring().working_on_hot(self.tiers.events.append, "test") as parts:
            recover_evictions(parts, self.layout)


def four_sets(root: Path, layout: str = LAYOUTS[0]) -> Ranks:
    """Four whole sets, of which two are kept."""
    made = Ranks(root, layout)
    for step in range(4):
        made.save(step)
    return made
