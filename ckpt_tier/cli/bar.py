"""One bar over a known amount of work, for a terminal."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """Shown between `__enter__` and `__exit__`, and gone afterwards. `total` counts bytes, or `of_things`."""

    def __init__(self, verb: str, total: int, *, of_things: bool = False) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None, style="bright_black", complete_style="cyan", finished_style="green"),
            MofNCompleteColumn() if of_things else DownloadColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(highlight=False),
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task(verb, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, amount: int = 1) -> None:
        self._progress.advance(self._task, amount)

    def print(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(text, markup=False)
