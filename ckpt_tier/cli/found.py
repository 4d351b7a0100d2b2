"""What `init` found in the hot folder: a table of series, and each file that is not a whole checkpoint."""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.bar import Bar
from ckpt_tier.cli.documents.init import CorruptFile, FoundSeries
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.words import plural
from ckpt_tier.core.units import format_size
from ckpt_tier.flow.inspect_hot import inspect_hot
from ckpt_tier.formats.check import Level
from ckpt_tier.hot.scan import HotCopy, Scan
from ckpt_tier.system.clock import Clock


class Found(msgspec.Struct, frozen=True):
    """The series and the corrupt files, sorted; `problems` are clauses about what can't be told."""

    series: list[FoundSeries]
    corrupt: list[CorruptFile]
    problems: list[str]
    level: Level

    def text(self) -> str:
        """The table, and the corrupt files below it."""
        if not self.series:
            return "No checkpoints yet: they are taken up as training saves them."
        rows = [
            (s.name, str(s.checkpoints), format_size(s.size_bytes), str(s.newest_step), str(s.corrupt or "none"))
            for s in self.series
        ]
        count = sum(s.checkpoints for s in self.series)
        size = format_size(sum(s.size_bytes for s in self.series))
        how = {"fast": "their structure", "full": "every checksum in them", "deep": "every tensor"}[self.level]
        parts = [
            paper.style(f"Found {plural(count, 'checkpoint')}, {size}", bold=True) + f" (checked {how})",
            paper.columns(
                rows,
                headings=("series", "checkpoints", "size", "newest step", "corrupt"),
                right={1, 2, 3, 4},
                indent=2,
            ),
        ]
        if self.corrupt:
            title = f"{len(self.corrupt):,} corrupt: never uploaded, never counted, left where they are"
            cells = [(f"step {c.step}", c.path, c.reason) for c in self.corrupt]
            parts += ["", f"{paper.mark(False)} {paper.style(title, 'red')}", paper.columns(cells, indent=4)]
        parts += [f"{paper.style('!', 'yellow', bold=True)} {problem}" for problem in self.problems]
        return "\n".join(parts)


def look_closely(settings: Settings, hot: Path, seen: Scan, level: Level, clock: Clock) -> Found:
    """Checks every file that the layout takes, with a bar on a terminal. Raises CancelledError, OSError."""
    show = paper.is_terminal() and not settings.json and not settings.quiet and seen.copies
    corrupt = []
    problems = list(seen.problems)
    with Bar("checking", sum(copy.stamp.size for copy in seen.copies)) if show else contextlib.nullcontext() as bar:
        for verdict in inspect_hot(hot, list(seen.copies), level, lambda: clock.sleep(0)):
            file = verdict.copy
            if verdict.in_progress:
                problems.append(f"{file.path} was not checked: {verdict.problem}")
            elif verdict.problem:
                corrupt.append(CorruptFile(series=file.series, step=file.step, path=file.path, reason=verdict.problem))
            if bar is not None:
                bar.advance(file.stamp.size)
    return Found(list(_series(seen.copies, corrupt)), corrupt, problems, level)


def _series(files: Iterable[HotCopy], corrupt: Iterable[CorruptFile]) -> Iterable[FoundSeries]:
    by_series = defaultdict(list)
    for file in files:
        by_series[file.series].append(file)
    bad = Counter(each.series for each in corrupt)
    for name, members in sorted(by_series.items()):
        yield FoundSeries(
            name=name,
            checkpoints=len(members),
            size_bytes=sum(file.stamp.size for file in members),
            newest_step=max(file.step for file in members),
            corrupt=bad[name],
        )
