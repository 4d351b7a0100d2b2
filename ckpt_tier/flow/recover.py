"""What is left when the machine is gone: the runs in a bucket, a configuration made from what they hold, and a journal
that knows the checkpoints that came back.

The configuration's copy comes from a bucket, so it is hostile until proven otherwise: it is read key by key, and only
keys that can't name code, a command, a place on this machine or a way to reach a cold tier are taken.

A crash of `remember` leaves, between any two steps:

1. nothing noted                              → the next recovery or `sync` reads the file
2. a row that says VALIDATED                  → the next look finds its generation committed, and nothing is sent
3. a row that says COMMITTED                  → done
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.configs import newest_configs
from ckpt_tier.cold.manifest import MAX_PATH_BYTES, Manifest
from ckpt_tier.cold.manifests import Entry
from ckpt_tier.config import KEYS, Key
from ckpt_tier.config.sources import Written
from ckpt_tier.config.values import Place
from ckpt_tier.core.nouns import DEFAULT_SERIES, is_name
from ckpt_tier.core.states import State
from ckpt_tier.errors import CkptTierError, ConfigError, IntegrityError
from ckpt_tier.flow.ingest import take_up
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.upload import note_committed
from ckpt_tier.flow.view import row_of
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.layout import Place as HotPlace
from ckpt_tier.hot.scan import look_at
from ckpt_tier.store.protocol import Stat, Store

MOST_COPIES = 10
"""Copies of the configuration that are looked at, until one can be read."""
FROM_THE_CALL = frozenset({("", "run"), ("", "run_id"), ("", "state_dir"), ("hot", "path")})
"""Keys that a copy is never asked for, beside all of [cold]: the command line, the run and this machine say them."""
_BY_NAME = {(key.section, key.name): key for key in KEYS}

Tree = dict[str, dict[str, object]]


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a run holds, from its listing alone. `size` counts the bytes of all data. The checkpoint that was saved last
    is one of `newest`, of each series the highest step and the one committed last."""

    series: int
    checkpoints: int
    size: int
    newest: tuple[Entry, ...]


def summarise(run: str, listing: Iterable[Stat]) -> Listing:
    """What a listing of the whole run tells."""
    by_series: dict[str, list[Entry]] = {}
    size = 0
    for stat in listing:
        series, _, rest = stat.key.removeprefix(f"{run}/").partition("/")
        if rest.startswith("data/"):
            size += stat.size
        parsed = keys.parse_manifest_name(rest.removeprefix("manifests/")) if rest.startswith("manifests/") else None
        if parsed and is_name(series):
            by_series.setdefault(series, []).append(Entry(series, *parsed, stat.modified))
    last = [max(entries, key=order) for entries in by_series.values() for order in (_by_step, _by_commit)]
    return Listing(
        series=len(by_series),
        checkpoints=sum(map(len, by_series.values())),
        size=size,
        newest=tuple(dict.fromkeys(last)),
    )


def _by_step(entry: Entry) -> tuple[float, float]:
    return entry.step, entry.committed_at


def _by_commit(entry: Entry) -> tuple[float, float]:
    return entry.committed_at, entry.step


def configuration(store: Store, run: str, cold: Mapping[str, object]) -> tuple[Tree, list[str]]:
    """The sections that the newest readable copy of the run's configuration gives, without `FROM_THE_CALL` and
    [cold], and warnings about what was not taken. Raises UnavailableError.

    `cold` is [cold] as it will be, from the command line: only where the copy says otherwise is it worth a word.
    """
    warnings: list[str] = []
    for number, (key, found) in enumerate(newest_configs(store, run)):
        if number == MOST_COPIES:
            break
        try:
            if isinstance(found, IntegrityError):
                raise found
            document = _parsed(found)
        except (IntegrityError, ValueError, RecursionError) as error:
            warnings.append(f"{key} was passed over: {error}")
            continue
        return _trusted(document, cold, warnings), warnings
    return {}, [*warnings, "the run has no readable copy of its configuration: the defaults hold"]


def _parsed(text: bytes) -> Mapping[str, object]:
    # A number of thousands of digits, a table that stands twice, half a character: all of them are ValueErrors.
    return tomllib.loads(text.decode("utf-8"))


def _trusted(document: Mapping[str, object], cold: Mapping[str, object], warnings: list[str]) -> Tree:
    taken: Tree = {}
    for section, name, value in _flat(document):
        key = _BY_NAME.get((section, name))
        written = f"[{section}] {name}" if section else name
        if (section, name) in FROM_THE_CALL or (section == "cold" and key and value == cold.get(name)):
            continue
        why = _why_not(section, key, value)
        if why:
            # A value whose key nobody knows may be a secret that somebody put there.
            shown = f"{written} = {_shown(value)}" if key else _shown(written)
            warnings.append(f"{shown} of the run's configuration was not taken: {why}")
        else:
            taken.setdefault(section, {})[name] = value
    return taken


def _flat(document: Mapping[str, object]) -> Iterator[tuple[str, str, object]]:
    for section, value in document.items():
        if isinstance(value, Mapping):
            yield from ((section, name, inner) for name, inner in value.items())
        else:
            yield "", section, value


def _why_not(section: str, key: Key | None, value: object) -> str:
    """Why a value from a bucket is not taken; empty if it is."""
    if key is None:
        return "this version does not know it"
    if key.runs_code:
        return "it names code, and nothing that comes from a bucket may; add it yourself if it is yours"
    if section == "cold":
        return "how the cold tier is reached is said by you; give it to `recover`, or add it yourself"
    nowhere = Place(Path("/"), Path("/"))
    try:
        Written(key, value, key.written, f"{key.name} = ", nowhere).read()
        if key.name == "layout" and value != "auto":
            if len(str(value)) > MAX_PATH_BYTES:
                return "it is longer than a path"
            Layout.parse(str(value))  # refuses what leads outside
    except ConfigError as error:
        return error.why or error.what
    return ""


def _shown(value: object) -> str:
    """At most a line of it, and no control character that would move a cursor."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def fitting_layout(configured: object, manifests: Iterable[Manifest]) -> tuple[str, bool]:
    """A layout that gives every file of these manifests the series and step that its manifest has: the configured one,
    that of a manifest, else one made from the paths. Where none does, the first of these, and False."""
    known = list(manifests)
    candidates = [str(configured)] if isinstance(configured, str) else []
    candidates += [manifest.layout for manifest in known]
    candidates += [pattern for manifest in known for pattern in _patterns(manifest)]
    for pattern in dict.fromkeys(candidates):
        if pattern != "auto" and all(_fits(pattern, manifest) for manifest in known):
            return pattern, True
    return (candidates[0] if candidates else "auto"), False


def _fits(pattern: str, manifest: Manifest) -> bool:
    if len(pattern) > MAX_PATH_BYTES:
        return False
    try:
        layout = Layout.parse(pattern)
    except CkptTierError:
        return False
    places = [layout.place_of(file.path) for file in manifest.files]
    return all(
        place is not None and (place[1].series, place[1].step) == (manifest.series, manifest.step) for place in places
    )


def _patterns(manifest: Manifest) -> Iterator[str]:
    """The path of a checkpoint with its step, and its series if it has one, as placeholders, wherever they stand."""
    path = manifest.files[0].path.replace("{", "{{")  # never a layout, rather than somebody else's placeholder
    step = re.compile(rf"(?<!\d)0*{manifest.step}(?!\d)")
    spans = [match.span() for match in step.finditer(path)][-4:]
    for chosen in product((True, False), repeat=len(spans)):
        pattern = path
        for (begin, end), wanted in zip(reversed(spans), chosen, strict=True):
            pattern = pattern[:begin] + "{step}" + pattern[end:] if wanted else pattern
        if "{step}" not in pattern:
            continue
        if manifest.series == DEFAULT_SERIES:
            yield pattern
            continue
        for series in re.finditer(re.escape(manifest.series), pattern):
            yield pattern[: series.start()] + "{series}" + pattern[series.end() :]
        yield pattern.replace(manifest.series, "{series}")


def remember(parts: Parts, layout: Layout, manifest: Manifest) -> list[str]:
    """Notes a restored checkpoint in the journal, each file read once and validated as any new file is: so the next
    `sync` finds nothing to do. Returns the paths that it has to look at itself: they were changed meanwhile, or did not
    pass.

    Nobody's word is taken for what a file holds: a row says COMMITTED only if its bytes, read here, give the manifest's
    member. Under the worker's lock. Raises CancelledError.
    """
    rows = {(row.path, row.stamp): row for row in parts.journal.saves()}
    left = []
    for member in manifest.members:
        place = HotPlace(manifest.series, manifest.step, member.rank)
        world_size = None if member.rank is None else len(manifest.members)
        for path in sorted({_checkpoint_of(layout, file.path) for file in member.files}):
            copy = look_at(parts.hot, path, place)
            if copy is None:
                left.append(path)
                continue
            row = rows.get((path, copy.stamp)) or msgspec.structs.replace(
                row_of(copy, world_size),
                saved_at=manifest.saved,
                save_id=manifest.save_id,
                metrics=manifest.metrics,
            )
            if row.state in (State.SAVED, State.REJECTED):
                row = take_up(parts, row) or row
            if row.member != member.id:
                left.append(path)
            elif row.state is not State.COMMITTED:
                committed = msgspec.structs.replace(row, generation=manifest.generation)
                note_committed(parts, committed, adopted=True)
    return left


def _checkpoint_of(layout: Layout, path: str) -> str:
    found = layout.place_of(path)
    return path if found is None else found[0]
