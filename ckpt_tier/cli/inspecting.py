"""What `inspect` prints: what it is, its tensors, everything else, what to know of it, and what looking has cost."""

from collections.abc import Iterator

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.documents.inspect import InspectDocument, InspectedFile, InspectedTensor
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.words import plural
from ckpt_tier.core.units import format_size
from ckpt_tier.errors import NotFoundError
from ckpt_tier.inspection import Checkpoint
from ckpt_tier.tensors.groups import groups, size_in_file
from ckpt_tier.tensors.nouns import Catalogue, Tensor

_MOST_ENTRIES = 24
_MOST_SHARING = 5


def present(found: Checkpoint, settings: Settings, *, pattern: str | None, whole: bool) -> int:
    """Prints the checkpoint in the form that was asked for. Raises NotFoundError where `pattern` matches nothing, and
    what reading raises."""
    catalogues = list(found.catalogues())
    if pattern is not None:
        catalogues = [each.matching(pattern) for each in catalogues]
        if not any(each.tensors or each.entries for each in catalogues):
            raise NotFoundError(
                f"no name in this checkpoint matches {pattern!r}", fix="see them all with --all instead of --filter"
            )
    if settings.json:
        paper.say(msgspec.json.encode(_document(found, catalogues)).decode())
        return 0
    paper.say(_head(found))
    for each in catalogues:
        paper.say()
        for line in _file(each, several=len(catalogues) > 1, whole=whole or pattern is not None):
            paper.say(line)
    paper.say()
    paper.say(paper.style(_cost(found), dim=True))
    return 0


def _head(found: Checkpoint) -> str:
    size = sum(file.size for file in found.files)
    told = [plural(len(found.files), "file"), format_size(size)]
    if found.step is not None:
        told = [f"series {found.series}", f"step {found.step}", *told]
    rows = [
        ("generation", found.generation or ""),
        ("saved at", found.saved_at or ""),
        ("read from", f"{_WHERE[found.where]}{found.place}"),
        ("saved with", ", ".join(f"{name} {version}" for name, version in sorted(found.versions.items()))),
        *(("note", note) for note in found.notes),
    ]
    title = paper.style(paper.dot().join(told), bold=True)
    return f"{title}\n{paper.columns([row for row in rows if row[1]], indent=2)}"


_WHERE = {"hot": "the hot tier, as validated: ", "cold": "the cold tier: ", "path": ""}


def _file(held: Catalogue, *, several: bool, whole: bool) -> Iterator[str]:
    size = format_size(size_in_file(held.tensors, held))
    told = [held.format, f"{plural(len(held.tensors), 'tensor')} ({size})", plural(len(held.entries), "other value")]
    title = [paper.plain(held.path), *told] if several else told
    yield paper.style(paper.dot().join(title), bold=True)
    if held.tensors:
        yield _tensors(held.tensors) if whole else _groups(held)
    entries = held.entries if whole else sorted(held.entries, key=lambda entry: entry.name.count("."))[:_MOST_ENTRIES]
    if entries:
        yield paper.columns([(entry.name or "(all)", entry.type, entry.value) for entry in entries], indent=2)
    if len(entries) < len(held.entries):
        yield f"  … and {len(held.entries) - len(entries):,} more: --all shows them".replace("…", _dots())
    yield from (f"  {paper.style('note:', 'yellow')} {paper.plain(note)}" for note in _notes(held))


def _groups(held: Catalogue) -> str:
    rows = [
        (group.name, plural(group.count, "tensor"), format_size(group.size_bytes), " ".join(group.dtypes))
        for group in groups(held)
    ]
    return paper.columns(rows, right={1, 2}, indent=2)


def _tensors(tensors: tuple[Tensor, ...]) -> str:
    rows = [
        (
            tensor.dtype,
            "x".join(map(str, tensor.shape)) or "scalar",
            format_size(tensor.size_bytes),
            tensor.name or "(all)",
        )
        for tensor in tensors
    ]
    return paper.columns(rows, right={2}, indent=2)


def _notes(held: Catalogue) -> Iterator[str]:
    for names in held.sharing[:_MOST_SHARING]:
        yield f"one storage for {', '.join(names[:4])}" + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    if len(held.sharing) > _MOST_SHARING:
        yield f"{len(held.sharing) - _MOST_SHARING:,} more storages have several names"
    strided = [tensor.name for tensor in held.tensors if tensor.stride is not None and not tensor.is_contiguous]
    if strided:
        yield f"{plural(len(strided), 'tensor')} not contiguous: {', '.join(strided[:4])}" + (
            " and more" if len(strided) > 4 else ""
        )
    yield from held.notes


def _cost(found: Checkpoint) -> str:
    size = sum(file.size for file in found.files)
    asked = plural(found.cost.requests, "request" if found.where == "cold" else "read")
    return f"{format_size(found.cost.read_bytes)} of {format_size(size)} were read, in {asked}."


def _dots() -> str:
    return "…" if paper.can_show("…") else "..."


def _document(found: Checkpoint, catalogues: list[Catalogue]) -> InspectDocument:
    return InspectDocument(
        where=found.where,
        series=found.series,
        step=found.step,
        generation=found.generation,
        saved_at=found.saved_at,
        versions=found.versions,
        size_bytes=sum(file.size for file in found.files),
        files=tuple(
            InspectedFile(
                path=held.path,
                place=file.place,
                format=held.format,
                size_bytes=held.size_bytes,
                tensors=tuple(_inspected(tensor, held) for tensor in held.tensors),
                entries=held.entries,
                sharing=held.sharing,
                notes=held.notes,
            )
            for file, held in zip(found.files, catalogues, strict=True)
        ),
        notes=found.notes,
        requests=found.cost.requests,
        read_bytes=found.cost.read_bytes,
    )


def _inspected(tensor: Tensor, held: Catalogue) -> InspectedTensor:
    storage = held.storages.get(tensor.storage or "")
    return InspectedTensor(
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        stride=tensor.stride,
        size_bytes=tensor.size_bytes,
        contiguous=tensor.is_contiguous,
        storage=tensor.storage,
        storage_bytes=None if storage is None else storage.size_bytes,
        begin_bytes=tensor.begin_bytes,
        end_bytes=tensor.end_bytes,
        crc32=None if storage is None or storage.crc32 is None else f"{storage.crc32:08x}",
    )
