"""Handing over a save: what it is a share of, by which id its shares find each other, and its ticket in the inbox."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_tier.core.metrics import finite
from ckpt_tier.core.nouns import DEFAULT_SERIES, Pass, check_name, check_save_id, check_step
from ckpt_tier.errors import UsageError
from ckpt_tier.inbox import Ticket
from ckpt_tier.job import SAVE_ID, Passes, job_id, world_size_here
from ckpt_tier.wiring import Wiring

if TYPE_CHECKING:
    from ckpt_tier.hot.layout import Place


class HandingOver:
    """The saves of one process. Safe to use from several threads."""

    def __init__(self, wiring: Wiring, passes: Passes, complain: Callable[[str], None]) -> None:
        """`complain` is told what is no reason to leave the checkpoint itself unprotected."""
        self._wiring = wiring
        self._config = wiring.config
        self._clock = wiring.clock
        self._passes = passes
        self._complain = complain

    def hand_over(
        self,
        path: Path,
        step: int,
        metrics: dict[str, float],
        series: str | None,
        rank: int | None,
        world_size: int | None,
        save_id: str | None,
    ) -> Ticket:
        """The arguments are those of `Tier.saved`. Raises UsageError, OSError, and what a wrong type raises."""
        relative = self._relative(path)
        matched = self._wiring.layout.match(relative) if self._config.hot.layout != "auto" else None
        if series is not None:
            check_name("series", series)
        elif self._config.hot.layout != "auto":
            series = matched.series if matched else DEFAULT_SERIES
            if not self._wiring.layout.is_folder and path.is_dir():
                raise UsageError(
                    "it is a folder",
                    f"the layout {self._config.hot.layout!r} is one of files",
                    "hand over the file, or end [hot] layout in /",
                )
        rank, world_size = self._share(rank, world_size, matched)
        for name, value in list(metrics.items()):
            if (number := finite(value)) is None:
                # A loss of NaN is no reason to leave the checkpoint itself unprotected.
                self._complain(f"{path}: the metric {name}={value!r} is left out, it is not a finite number")
                del metrics[name]
            else:
                metrics[name] = number
        during = self._passes.of(series or "", rank, check_step(step))
        identity, certain = self._save_id(save_id, during, is_share=rank is not None)
        return self._wiring.inbox.drop(
            relative,
            series=series or "",
            step=step,
            saved_at=self._clock.now(),
            rank=rank,
            world_size=world_size,
            save_id=identity,
            during=None if rank is None or certain else during,
            metrics=metrics,
        )

    def _relative(self, path: Path) -> str:
        """The path relative to the hot folder, POSIX separators; raises UsageError if it lies elsewhere."""
        hot = self._config.hot.path
        absolute = path.absolute()
        if ".." in absolute.parts or not absolute.is_relative_to(hot):
            absolute = path.resolve()
            hot = hot.resolve()
        if not absolute.is_relative_to(hot):
            raise UsageError(f"it is not in the hot folder {hot}", fix="save below it, or set [hot] path")
        return absolute.relative_to(hot).as_posix()

    def _share(self, rank: int | None, world_size: int | None, matched: Place | None) -> tuple[int | None, int | None]:
        """Which share of how many a path is; (None, None) for a whole checkpoint."""
        if rank is None and matched is not None:
            rank = matched.rank
        if rank is None:
            return None, None
        world_size = world_size or self._config.hot.ranks or world_size_here(os.environ)
        if world_size is None:
            raise UsageError(
                f"how many ranks there are beside rank {rank} is not known",
                fix="pass world_size=, or set [hot] ranks",
            )
        if not 0 <= rank < world_size:
            raise UsageError(f"rank {rank} of {world_size} is impossible", "ranks count from 0")
        return (rank, world_size) if world_size > 1 else (None, None)

    def _save_id(self, given: str | None, during: Pass, *, is_share: bool) -> tuple[str | None, bool]:
        """The id of the save, and whether somebody gave it on purpose; one that can't be used is complained about and
        left out."""
        try:
            if given is not None:
                return check_save_id(given), True
            if not is_share:
                return None, False
            if chosen := os.environ.get(SAVE_ID):
                return check_save_id(f"{chosen}-{during.number}"), True
            job = job_id(os.environ)
            return (None if job is None else check_save_id(f"{job}-{during.number}")), False
        except UsageError as error:
            self._complain(f"no save id: {error}")
            return None, False
