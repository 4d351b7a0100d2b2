"""What validation found in a good file: kept in the journal, and in the manifest for ever."""

import msgspec


class Findings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of a validation that a file passed.

    Attributes:
        format: "torch-zip", "torch-legacy", "safetensors", "zip", "pickle" or "plain".
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
