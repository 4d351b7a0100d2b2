"""What `diff` prints: one sentence, which two they are, what differs, and what comparing has cost."""

import math
from collections.abc import Iterator

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.words import plural
from ckpt_tier.core.units import format_size
from ckpt_tier.tensors.change import Change
from ckpt_tier.tensors.compared import ChangedTensor, ChangedValue, ComparedSide, Comparison, LoneTensor, LoneValue

_MOST_LINES = 24
_MOST_NAMED = 4
_Section = tuple[str, list[tuple[str, ...]], set[int]]
"""Title, rows, and which columns stand on the right."""
_HEADINGS = ("relative", "change", "largest", "elements", "tensor")


def present(found: Comparison, settings: Settings, *, whole: bool) -> int:
    """Prints the comparison in the form that was asked for."""
    if settings.json:
        paper.say(msgspec.json.encode(found).decode())
        return 0
    paper.say(paper.style(_sentence(found), bold=True))
    paper.say(paper.columns([("A", _told(found.before)), ("B", _told(found.after))], indent=2))
    for title, rows, right in _sections(found):
        if not rows:
            continue
        paper.say()
        paper.say(paper.style(title, bold=True))
        shown = rows if whole else rows[:_MOST_LINES]
        headings = _HEADINGS if title == "changed" else ()
        paper.say(paper.columns(shown, headings=headings, right=right, indent=2))
        if len(shown) < len(rows):
            paper.say(f"  {_dots()} and {len(rows) - len(shown):,} more: --all shows them")
    notes = list(_notes(found))
    if notes:
        paper.say()
    for note in notes:
        paper.say(f"{paper.style('note:', 'yellow')} {paper.plain(note)}")
    paper.say()
    paper.say(paper.style(_cost(found), dim=True))
    return 0


def _sentence(found: Comparison) -> str:
    tensors = found.equal_tensors + len(found.changed) + len(found.undecided)
    values = found.equal_values + len(found.changed_values) + len(found.undecided_values)
    if found.equal:
        unread = " by checksum, not read" if found.unread_tensors else ""
        if 0 < found.unread_tensors < tensors:
            unread = f" {found.unread_tensors:,}{unread}"
        how = f" ({unread.strip()})" if unread else ""
        return f"Equal: {plural(tensors, 'tensor')}{how} and {plural(values, 'other value')}."
    told = [f"{len(found.changed):,} of {plural(tensors, 'tensor')} changed"]
    told += _counted((len(found.added), "added"), (len(found.removed), "removed"))
    if found.equal_tensors:
        how = f" ({found.unread_tensors:,} by checksum, not read)" if found.unread_tensors else ""
        told.append(f"{found.equal_tensors:,} equal{how}")
    told += _counted((len(found.undecided), "not compared"))
    others = [f"{len(found.changed_values):,} of {plural(values, 'other value')} changed"] if values else []
    lone = (("other values added", "other values removed"), ("added", "removed"))[bool(values)]
    others += _counted((len(found.added_values), lone[0]), (len(found.removed_values), lone[1]))
    others += _counted((len(found.undecided_values), "alike as far as can be told"))
    files = _counted(
        (len(found.changed_files), "other files changed"),
        (len(found.added_files), "other files added"),
        (len(found.removed_files), "other files removed"),
    )
    return "; ".join(", ".join(part) for part in (told, others, files) if part) + "."


def _counted(*counts: tuple[int, str]) -> list[str]:
    return [f"{count:,} {what}" for count, what in counts if count]


def _told(side: ComparedSide) -> str:
    told = [] if side.step is None else [f"series {side.series}", f"step {side.step}"]
    told += [] if side.generation is None else [f"generation {side.generation}"]
    told += [format_size(side.size_bytes), _WHERE[side.where] or paper.plain(side.place)]
    return paper.dot().join(told)


_WHERE = {"hot": "the hot tier, as validated", "cold": "the cold tier", "path": ""}


def _sections(found: Comparison) -> Iterator[_Section]:
    several = max(found.before.files, found.after.files) > 1

    def name(each: ChangedTensor | LoneTensor | ChangedValue | LoneValue) -> str:
        return f"{each.file}: {each.name or '(all)'}" if several else each.name or "(all)"

    changed: list[tuple[str, ...]] = [
        (*_numbers(each.change, math.prod(each.shape_after)), name(each) + _what_else(each)) for each in found.changed
    ]
    yield "changed", changed, {0, 1, 2, 3}
    for title, tensors in (("added", found.added), ("removed", found.removed)):
        yield (
            title,
            [(each.dtype, _shape(each.shape), format_size(each.size_bytes), name(each)) for each in tensors],
            {2},
        )
    yield "changed values", [(name(each), _from_to(*_values(each))) for each in found.changed_values], set()
    for title, values in (("added values", found.added_values), ("removed values", found.removed_values)):
        yield title, [(name(each), each.type, each.value) for each in values], set()
    files = (("changed", found.changed_files), ("added", found.added_files), ("removed", found.removed_files))
    yield "files that are not looked into", [(what, path) for what, paths in files for path in paths], set()


def _numbers(change: Change | None, count: int) -> tuple[str, str, str, str]:
    if change is None:
        return "", "", "", ""
    share = change.elements / count
    relative = "" if change.relative is None else f"{change.relative:.3g}"
    norm, largest = (">1e308" if number is None else f"{number:.3g}" for number in (change.norm, change.largest))
    return relative, norm, largest, "<1%" if 0 < share < 0.01 else f"{share:.0%}"


def _what_else(each: ChangedTensor) -> str:
    """What the numbers don't tell."""
    told = [
        _from_to(*pair)
        for pair in ((each.dtype_before, each.dtype_after), (_shape(each.shape_before), _shape(each.shape_after)))
        if pair[0] != pair[1]
    ]
    if each.change is not None:
        told += [
            f"{what} {_from_to(f'{before:,}', f'{after:,}')}"
            for what, before, after in (
                ("NaN", each.change.nan_before, each.change.nan_after),
                ("Inf", each.change.inf_before, each.change.inf_after),
            )
            if before != after
        ]
    return f" ({', '.join(told)})" if told else ""


def _values(each: ChangedValue) -> tuple[str, str]:
    if each.type_before == each.type_after and (each.before or each.after):
        return each.before, each.after
    return f"{each.type_before} {each.before}".strip(), f"{each.type_after} {each.after}".strip()


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _from_to(before: str, after: str) -> str:
    return before if before == after else f"{before} {_arrow()} {after}"


def _arrow() -> str:
    return "→" if paper.can_show("→") else "->"


def _dots() -> str:
    return "…" if paper.can_show("…") else "..."


def _notes(found: Comparison) -> Iterator[str]:
    yield from (
        f"{letter}: {note}" for letter, side in (("A", found.before), ("B", found.after)) for note in side.notes
    )
    reasons: dict[str, list[str]] = {}
    for each in (*found.undecided, *found.undecided_values):
        reasons.setdefault(each.why, []).append(each.name)
    for why, names in reasons.items():
        more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
        yield f"not compared: {', '.join(names[:_MOST_NAMED])}{more}: {why}"


def _cost(found: Comparison) -> str:
    sides = (found.before, found.after)
    read, size, requests = (
        sum(getattr(side, name) for side in sides) for name in ("read_bytes", "size_bytes", "requests")
    )
    asked = plural(requests, "request" if "cold" in {side.where for side in sides} else "read")
    return f"{format_size(read)} of {format_size(size)} were read, in {asked}."
