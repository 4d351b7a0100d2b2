"""Which layouts a set of paths could have. Pure: paths in, candidates out, best first.

Every number in a path may be the step: with it blotted out, paths that become equal are one series. Series whose
blotted paths differ in one word or number only, wherever it repeats, are the series of one layout.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from ckpt_tier.core.nouns import NAME_PATTERN
from ckpt_tier.errors import ConfigError
from ckpt_tier.hot.layout import Layout

_STEP_WORDS = {
    **dict.fromkeys(["step", "steps", "globalstep", "iter", "iters", "iteration", "it", "update", "updates"], 3),
    **dict.fromkeys(["epoch", "epochs", "ep"], 2),
    **dict.fromkeys(["checkpoint", "ckpt", "chkpt", "save", "snapshot"], 1),
    **dict.fromkeys(["gpu", "cuda", "rank", "node", "worker", "seed", "fold", "run", "trial", "exp", "job"], -1),
    **dict.fromkeys(["v", "version", "layer", "layers", "shard", "part", "of", "lr", "bs", "dim", "loss", "acc"], -1),
}
"""How much the word beside a number says that the number is a step; below 0: that it is not."""
_SURE = 2

_MOST_CANDIDATES = 200
_FEW = 3
_STEP = "\1"
_HOLE = "\0"
_RUN = re.compile(r"[0-9]+")
_TOKEN = re.compile(r"\d+|[A-Za-z]+|[^A-Za-z\d]+")
_NAME = re.compile(NAME_PATTERN)

Families = dict[str, set[str]]
"""Paths by what is left of them when something is blotted out."""


class Candidate(msgspec.Struct, frozen=True):
    """A layout that some of the paths have.

    Attributes:
        paths: those it covers.
        steps, series: how many different ones these have.
        hint: how much the word beside `{step}` speaks for it: 3 for "step" down to -1 for "gpu".
        varies_together: what looks like a series goes with the step ("epoch=3-step=500"): no layout for us.
    """

    layout: Layout
    paths: frozenset[str]
    steps: int
    series: int
    hint: int
    varies_together: bool

    def score(self, most: int) -> tuple[int, int, int, int, int]:
        """Higher is better; `most` is how many paths the widest candidate covers.

        A tenth of the paths, or half of the steps, more or less, are leftovers: the better word decides, then the
        number that comes last, then the pattern that says more.
        """
        pattern = self.layout.pattern
        return (
            len(self.paths) * 10 // most if len(self.paths) * 10 < most * 9 else 10,
            self.hint,
            self.steps.bit_length(),
            -pattern[::-1].find("pets{"),
            len(pattern),
        )


def candidates(paths: Iterable[str]) -> list[Candidate]:
    """The layouts that `paths` could have, best first. Numbers without a telling word count from three steps on."""
    alone = _by_step(path for path in paths if not set(path) & set("{}*?\\"))
    families: Families = {key.replace(_STEP, "{step}"): members for key, members in alone.items()}
    for pattern, members in _merged(alone):
        families.setdefault(pattern, set()).update(members)
    widest = sorted(families.items(), key=lambda item: (-len(item[1]), -len(item[0]), item[0]))[:_MOST_CANDIDATES]
    found = [candidate for pattern, members in widest if (candidate := _judged(pattern, members))]
    most = max((len(candidate.paths) for candidate in found), default=0)
    return sorted(found, key=lambda candidate: candidate.score(most), reverse=True)


def step_word(before: str, after: str = "") -> int:
    """How much the text around a number, within one name, speaks for a step: 3 to -1; 0 says nothing."""
    last = re.search(r"([A-Za-z]+)[-_=. ]*$", before)
    first = re.match(r"[-_=. ]*([A-Za-z]+)", after)
    said_after = _STEP_WORDS.get(first[1].lower(), 0) if first else 0
    said_before = _STEP_WORDS.get(last[1].lower(), 0) if last else 0
    return said_after if said_after >= _SURE else said_before


def _by_step(paths: Iterable[str]) -> Families:
    families: defaultdict[str, set[str]] = defaultdict(set)
    for path in paths:
        for run in _RUN.finditer(path):
            families[path[: run.start()] + _STEP + path[run.end() :]].add(path)
            step = int(run[0])
            families[re.sub(rf"(?<!\d)0*{step}(?!\d)", _STEP, path)].add(path)
    return families


def _merged(alone: Families) -> Iterator[tuple[str, set[str]]]:
    """(pattern with {series}, paths) for families that differ in one thing only."""
    by_hole: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for key in alone:
        for value, expression in _replaceable(key):
            by_hole[re.sub(expression, _HOLE, key)][value] = key
    for holed, keys in by_hole.items():
        if len(keys) < 2 or (
            _is_a_word_of_the_file(holed, keys) and not _alike([len(alone[k]) for k in keys.values()])
        ):
            continue
        before, after = _shared_ends(list(keys))
        fit = [v for v in keys if _NAME.fullmatch(v[len(before) : len(v) - len(after)])]
        if len(fit) > 1:
            pattern = holed.replace(_HOLE, f"{before}{{series}}{after}").replace(_STEP, "{step}")
            yield pattern, {path for value in fit for path in alone[keys[value]]}


def _replaceable(key: str) -> Iterator[tuple[str, str]]:
    """(value, expression that finds it wherever it repeats) of all that may name a series in `key`."""
    *folders, file = key.split("/")
    stem = file[: file.rfind(".")] if "." in file else file
    for number in {run for part in (*folders, stem) for run in _RUN.findall(part)}:
        yield number, rf"(?<!\d){number}(?!\d)"
    for folder in {folder for folder in folders if _STEP not in folder}:
        yield folder, rf"(?<![A-Za-z\d]){re.escape(folder)}(?![A-Za-z\d])"
    for word in set(re.findall(r"[A-Za-z]+", stem)) - set(folders):
        if word.lower() not in _STEP_WORDS:
            yield word, rf"(?<![A-Za-z]){word}(?![A-Za-z])"


def _is_a_word_of_the_file(holed: str, keys: dict[str, str]) -> bool:
    return _HOLE not in holed.rpartition("/")[0] and not all(value.isdigit() for value in keys)


def _alike(sizes: list[int]) -> bool:
    """Whether families are so alike in size that they are siblings, not one and its leftovers."""
    return min(sizes) > 1 and max(sizes) <= _FEW * min(sizes)


def _shared_ends(values: list[str]) -> tuple[str, str]:
    """What all values begin and end with, in whole words and numbers, leaving something of each in between."""
    lists = [_TOKEN.findall(value) for value in values]
    room = min(len(tokens) for tokens in lists) - 1
    start = 0
    while start < room and len({tokens[start] for tokens in lists}) == 1:
        start += 1
    end = 0
    while end < room - start and len({tokens[-1 - end] for tokens in lists}) == 1:
        end += 1
    first = lists[0]
    return "".join(first[:start]), "".join(first[len(first) - end :])


def _judged(pattern: str, members: set[str]) -> Candidate | None:
    try:
        layout = Layout.parse(pattern)
    except ConfigError:  # two values side by side, for example: no layout, and so no candidate
        return None
    found = {path: match for path in members if (match := layout.match(path))}
    steps = {place.step for place in found.values()}
    series = {place.series for place in found.values()}
    hint = max(step_word(*around) for around in _around(pattern, "{step}")) if found else 0
    if not found or (hint < 1 and len(steps) < _FEW):
        return None
    goes_with = len(series) >= _FEW and len(series) == len(steps) == len(found)
    is_a_step_too = any(step_word(before) >= _SURE for before, _ in _around(pattern, "{series}"))
    return Candidate(layout, frozenset(found), len(steps), len(series), hint, goes_with or is_a_step_too)


def _around(pattern: str, mark: str) -> Iterator[tuple[str, str]]:
    for part in pattern.split("/"):
        for found in re.finditer(re.escape(mark), part):
            yield part[: found.start()].rpartition("}")[2], part[found.end() :].partition("{")[0]
