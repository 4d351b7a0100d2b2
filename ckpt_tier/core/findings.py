"""What validation found in a good file: kept in the journal, and in the manifest for ever."""

from collections.abc import Sequence

import msgspec


class Findings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of a validation that a file passed.

    Attributes:
        format: "torch-zip", "torch-legacy", "safetensors", "zip", "pickle" or "plain"; "folder" for files of several.
        level: the level that was reached: "fast", "full" or "deep".
        checksums: records checked by a checksum of the file's own; 0 where the format or file has none.
        tensors, nan, inf: counts; None unless the level was deep.
        notes: remarks in whole clauses ("no record checksums in the file: structure only").
    """

    format: str
    level: str
    checksums: int = 0
    tensors: int | None = None
    nan: int | None = None
    inf: int | None = None
    notes: tuple[str, ...] = ()


def together(findings: Sequence[tuple[str, Findings]]) -> Findings:
    """What was found in all files of a member, each with its path; of one file its own findings."""
    if len(findings) == 1:
        return findings[0][1]
    formats = sorted({found.format for _, found in findings})
    return Findings(
        format=formats[0] if len(formats) == 1 else "folder",
        level=findings[0][1].level,
        checksums=sum(found.checksums for _, found in findings),
        tensors=_sum([found.tensors for _, found in findings]),
        nan=_sum([found.nan for _, found in findings]),
        inf=_sum([found.inf for _, found in findings]),
        notes=tuple(f"{path}: {note}" for path, found in findings for note in found.notes),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
