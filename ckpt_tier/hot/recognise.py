"""Finding the layout of a folder that training has already saved into. Guesses nothing: unclear is a result."""

import re
from collections import defaultdict
from pathlib import Path

import msgspec

from ckpt_tier.errors import ConfigError
from ckpt_tier.hot.candidates import Candidate, candidates, step_word
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.scan import Scan, scan
from ckpt_tier.hot.survey import Survey, Unfit, survey

_MOST_OTHERS = 5
_SET_IT = 'set [hot] layout, for example layout = "model_step_{step}.pt"'


class SeriesFound(msgspec.Struct, frozen=True):
    """The checkpoints of one series: how many, their bytes, and the highest step."""

    name: str
    checkpoints: int
    size: int
    newest_step: int


class Recognised(msgspec.Struct, frozen=True):
    """What a folder was recognised as.

    Attributes:
        layout: None if there is none, and then `why_not` says why.
        why_not: a clause; empty when there is a layout.
        fix: what a person can do about it; empty when there is a layout.
        series: sorted by name.
        scan: the folder as seen through the layout; None without one.
        unfit: files that are not part of it, with their reasons.
        others: other layouts that cover some of the files, best first, each with how many.
        complete: False if the folder was too large or deep to be looked at whole.
    """

    layout: Layout | None
    why_not: str
    fix: str
    series: tuple[SeriesFound, ...] = ()
    scan: Scan | None = None
    unfit: tuple[Unfit, ...] = ()
    others: tuple[tuple[str, int], ...] = ()
    complete: bool = True


def recognise(root: Path) -> Recognised:
    """Looks at the folder `root` and finds its layout. Changes nothing; raises ConfigError if `root` is no folder."""
    try:
        seen = survey(root)
    except OSError as error:
        raise ConfigError(f"can't look into the hot folder {root}", error.strerror or "", "check [hot] path") from error
    if not seen.sample:
        why = "no file in it is named like a checkpoint" if seen.files_in else "it holds no files yet"
        return _unknown(seen, [], why, _SET_IT)
    folders = _checkpoint_folders(seen)
    found = [_of_folders(each) for each in candidates(folders)] if folders else candidates(seen.sample)
    possible = [candidate for candidate in found if not candidate.varies_together]
    if not possible or (found[0].varies_together and len(possible[0].paths) * 2 < len(found[0].paths)):
        return _unknown(seen, [], *_why_none(found, seen))
    best = possible[0]
    rival = next((each for each in possible[1:] if _equally_good(best, each)), None)
    if rival:
        return _unknown(
            seen,
            possible,
            f"{best.layout.pattern!r} and {rival.layout.pattern!r} fit it equally well{_about_case(seen)}",
            "set [hot] layout to the one that is meant",
        )
    return _known(root, seen, best, possible[1:])


def find_layout(root: Path, configured: str) -> Layout:
    """The layout that `[hot] layout` means, looking at the hot folder for "auto".

    Raises ConfigError when the pattern is wrong or the folder doesn't tell.
    """
    if configured != "auto":
        return Layout.parse(configured)
    seen = recognise(root)
    if seen.layout is None:
        raise ConfigError(f"the layout of {root} can't be recognised", seen.why_not, seen.fix)
    return seen.layout


def _known(root: Path, seen: Survey, best: Candidate, rest: list[Candidate]) -> Recognised:
    through = scan(root, best.layout)
    by_series = defaultdict(list)
    for copy in through.copies:
        by_series[copy.series].append(copy)
    taken = {file.path for copy in through.copies for file in copy.files} | {
        path for each in through.ambiguous for path in each.paths
    }
    unfit = [Unfit(path, _why_unfit(path, best.layout)) for path in seen.paths if path not in taken]
    return Recognised(
        layout=best.layout,
        why_not="",
        fix="",
        series=tuple(
            SeriesFound(name, len(files), sum(file.stamp.size for file in files), max(file.step for file in files))
            for name, files in sorted(by_series.items())
        ),
        scan=through,
        unfit=(*unfit, *(other for other in seen.others if other.path not in taken)),
        others=_told([each for each in rest if not each.paths <= best.paths]),
        complete=seen.complete,
    )


def _unknown(seen: Survey, found: list[Candidate], why_not: str, fix: str) -> Recognised:
    return Recognised(
        layout=None, why_not=why_not, fix=fix, unfit=seen.others, others=_told(found), complete=seen.complete
    )


def _told(found: list[Candidate]) -> tuple[tuple[str, int], ...]:
    return tuple((each.layout.pattern, len(each.paths)) for each in found[:_MOST_OTHERS])


def _equally_good(best: Candidate, other: Candidate) -> bool:
    """Whether two layouts of different files differ in nothing that matters."""
    return (
        best.paths.isdisjoint(other.paths)
        and best.hint == other.hint
        and min(len(best.paths), len(other.paths)) * 2 >= max(len(best.paths), len(other.paths))
    )


def _why_none(found: list[Candidate], seen: Survey) -> tuple[str, str]:
    if found:
        return (
            f"in {min(found[0].paths)!r} and its like another number changes with the step",
            "let training name its files by the step alone, or set [hot] layout",
        )
    return f"no number in names such as {seen.sample[0]!r} is surely the step{_about_case(seen)}", _SET_IT


def _about_case(seen: Survey) -> str:
    upper = next((folder for path in seen.sample if (folder := path.rpartition("/")[0]) != folder.lower()), "")
    return f" (a series name holds no upper-case letters: rename {upper!r} if it is one)" if upper else ""


def _why_unfit(path: str, layout: Layout) -> str:
    file_pattern = layout.pattern.rpartition("/")[2]
    if not re.search(r"\d", path.rpartition("/")[2] if "{step" in file_pattern else path):
        return "there is no step in its name"
    if layout.match(path) is None and layout.match(path.lower()) is not None:
        return "a series name holds no upper-case letters"
    return "it does not fit the layout"


def _of_folders(candidate: Candidate) -> Candidate:
    """The candidate that folders gave, as a layout of folders."""
    return msgspec.structs.replace(candidate, layout=Layout.parse(f"{candidate.layout.pattern}/"))


def _checkpoint_folders(seen: Survey) -> list[str]:
    """The folders that look like one checkpoint of several files each, if most of the files lie in such folders."""
    inside: defaultdict[str, list[str]] = defaultdict(list)
    for path in seen.sample:
        names = path.split("/")
        for depth, name in enumerate(names[:-1], 1):
            if _names_a_step(name, bare=not re.search(r"\d", names[-1])):
                inside["/".join(names[:depth]) + "/"].append(path)
                break
    several = {
        folder: paths
        for folder, paths in inside.items()
        if sum(count for below, count in seen.files_in.items() if below.startswith(folder)) > 1
        and not any(_file_names_a_step(path) for path in paths)
    }
    held = sum(len(paths) for paths in several.values())
    return sorted(folder.rstrip("/") for folder in several) if held * 2 >= len(seen.sample) else []


def _names_a_step(name: str, *, bare: bool) -> bool:
    """Whether a folder's name is that of a step; a `bare` number counts too."""
    if name.isdigit():
        return bare
    return any(step_word(name[: run.start()], name[run.end() :]) > 0 for run in re.finditer(r"\d+", name))


def _file_names_a_step(path: str) -> bool:
    return _names_a_step(path.rpartition("/")[2], bare=False)
