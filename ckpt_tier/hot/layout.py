"""Layouts: patterns such as ``model_gpu{series}/model_step_{step}.pt`` that say which file is which checkpoint.

A pattern that ends in ``/`` means folders: ``checkpoint-{step}/``. With ``{rank}`` each match is one process's share of
a checkpoint, which is whole when every rank's share is there.
"""

import re
from typing import Self

import msgspec

from ckpt_tier.core.nouns import DEFAULT_SERIES, NAME_PATTERN, STEP_DIGITS, check_name, check_step
from ckpt_tier.errors import ConfigError, UsageError

OUR_FOLDER = ".ckpt-tier"
"""The folder at the top of a hot folder that holds our own files: never part of a layout."""

_TOKEN = re.compile(r"\{([^{}]*)\}")
_STEP = re.compile(r"step(?::0(\d{1,2})d)?")
_MOST_ZEROS = 30
_EXAMPLE = 'write [hot] layout like "model_gpu{series}/model_step_{step}.pt"'

# A step without its leading zeros is at most MAX_STEP. The series is as short as it can be: nothing that follows it
# could be cut off wrongly, because `_refuse_ambiguous` wants a separator before the digits of a step.
_FIRST_STEP = rf"0{{0,{_MOST_ZEROS}}}(?P<step>[1-9][0-9]{{0,{STEP_DIGITS - 1}}}|0)"
_NEXT_STEP = rf"0{{0,{_MOST_ZEROS}}}(?P=step)"
_FIRST_SERIES = rf"(?P<series>{NAME_PATTERN}?)"
_NEXT_SERIES = r"(?P=series)"
_FIRST_RANK = r"0{0,5}(?P<rank>[1-9][0-9]{0,5}|0)"
_NEXT_RANK = r"0{0,5}(?P=rank)"
_VALUES = {"series": (_FIRST_SERIES, _NEXT_SERIES), "rank": (_FIRST_RANK, _NEXT_RANK)}


class Place(msgspec.Struct, frozen=True):
    """What a path says of itself. `rank` is None in a layout without ranks."""

    series: str
    step: int
    rank: int | None = None


class Layout(msgspec.Struct, frozen=True):
    """A parsed pattern. Immutable; safe to share between threads.

    Attributes:
        pattern: the text it was parsed from.
        segments: one expression for each name on the path of a checkpoint; the last is the file's or folder's own.
        whole: the expression for the path.
        has_series: whether `{series}` is in the pattern; without it there is one series, DEFAULT_SERIES.
        has_rank: whether `{rank}` is: then a checkpoint has one match for each rank.
        is_folder: whether a match is a folder, with everything below it, and not a file.
    """

    pattern: str
    segments: tuple[re.Pattern[str], ...]
    whole: re.Pattern[str]
    has_series: bool
    has_rank: bool = False
    is_folder: bool = False

    @classmethod
    def parse(cls, pattern: str) -> Self:
        """From the text of `[hot] layout`; raises ConfigError.

        `{step}` stands for the decimal digits of the step; `{step:09d}` writes it with leading zeros, which are
        accepted anyway when reading. `{series}` stands for a series name, `{rank}` for the number of a process. Each
        may repeat, and must then agree.
        """
        path = pattern.removesuffix("/")
        _refuse_bad_names(pattern, path)
        parts = path.split("/")
        for part in parts:
            _refuse_ambiguous(pattern, part)
        seen: set[str] = set()
        whole = "/".join(_expression(pattern, part, seen) for part in parts)
        if "step" not in seen:
            raise _wrong(pattern, "it has no {step}")
        return cls(
            pattern=pattern,
            segments=tuple(re.compile(_expression(pattern, part, set())) for part in parts),
            whole=re.compile(whole),
            has_series="series" in seen,
            has_rank="rank" in seen,
            is_folder=path != pattern,
        )

    def match(self, relative: str) -> Place | None:
        """What a path relative to the hot folder stands for (POSIX separators, no ``/`` at the end); None if it doesn't
        fit."""
        found = self.whole.fullmatch(relative)
        if found is None or relative.startswith(f"{OUR_FOLDER}/"):
            return None
        return Place(
            series=found["series"] if self.has_series else DEFAULT_SERIES,
            step=int(found["step"]),
            rank=int(found["rank"]) if self.has_rank else None,
        )

    def place_of(self, file: str) -> tuple[str, Place] | None:
        """The path of the checkpoint, or share of one, that a file belongs to, and what it stands for; None if none."""
        path = "/".join(file.split("/")[: len(self.segments)]) if self.is_folder else file
        place = self.match(path)
        return None if place is None else (path, place)

    def format(self, series: str, step: int, rank: int | None = None) -> str:
        """The path of a checkpoint, or a rank's share, relative to the hot folder; `match` reads it back.

        Raises UsageError for a series, step or rank that this layout has no place for.
        """
        check_step(step)
        check_name("series", series)
        if self.has_rank and rank is None:
            raise UsageError(f"the layout {self.pattern!r} has a {{rank}}", "no rank was given", "pass rank=")
        if not self.has_series and series != DEFAULT_SERIES:
            raise UsageError(
                f"there is no place for the series {series!r} in the layout {self.pattern!r}",
                fix="add {series} to [hot] layout",
            )
        known = {"series": series, "rank": str(rank)}
        written = self.pattern.removesuffix("/")
        path = _TOKEN.sub(lambda token: known.get(token[1]) or _padded(step, token[1]), written)
        if self.match(path) != Place(series, step, rank if self.has_rank else None):
            raise UsageError(f"the layout {self.pattern!r} can't hold the series {series!r}", f"see {path!r}")
        return path


def _refuse_bad_names(pattern: str, path: str) -> None:
    if "*" in pattern or "?" in pattern:
        raise _wrong(pattern, "it is not a shell pattern: * and ? have no meaning in it", "use {step} and {series}")
    if pattern.startswith("/"):
        raise _wrong(pattern, "it is absolute", "[hot] path says where the folder is, layout what is below it")
    if "\\" in pattern or any(character < " " for character in pattern):
        raise _wrong(pattern, "it holds a backslash or a control character", "separate folders by /")
    names = path.split("/")
    if not set(names).isdisjoint({"", ".", ".."}):
        raise _wrong(pattern, "it has an empty name, . or .. on its path")
    if names[0] == OUR_FOLDER:
        raise _wrong(pattern, f"{OUR_FOLDER}/ holds files of ckpt-tier itself")


def _refuse_ambiguous(pattern: str, part: str) -> None:
    between = _TOKEN.split(part)[2:-1:2]
    if any(text.isdigit() or not text for text in between):
        raise _wrong(
            pattern,
            f"in {part!r} nobody can tell where one value ends and the next begins",
            "put something other than digits between them, such as _",
        )


def _expression(pattern: str, part: str, seen: set[str]) -> str:
    """The regular expression for one name; `seen` are the placeholders to the left of it, and is added to."""
    pieces = _TOKEN.split(part)
    expression = ""
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            if "{" in piece or "}" in piece:
                raise _wrong(pattern, "a { without its }, or the other way round")
            expression += re.escape(piece)
        elif piece in _VALUES:
            expression += _VALUES[piece][piece in seen]
            seen.add(piece)
        elif _STEP.fullmatch(piece) and len(_padded(0, piece)) <= _MOST_ZEROS:
            expression += _NEXT_STEP if "step" in seen else _FIRST_STEP
            seen.add("step")
        else:
            raise _unknown(pattern, piece)
    return expression


def _padded(step: int, token: str) -> str:
    """The digits of `step` as `{step}` or `{step:09d}` writes them; `token` is what stands between the braces."""
    form = _STEP.fullmatch(token)
    return str(step).zfill(int(form[1])) if form and form[1] else str(step)


def _unknown(pattern: str, placeholder: str) -> ConfigError:
    if placeholder.startswith("step:"):
        return _wrong(pattern, f"{{{placeholder}}} is unknown", "leading zeros are written like {step:09d}")
    return _wrong(pattern, f"{{{placeholder}}} is unknown", "there are {step}, {series} and {rank}")


def _wrong(pattern: str, why: str, fix: str = _EXAMPLE) -> ConfigError:
    return ConfigError(f"the layout {pattern!r} can't be used", why, fix)
