"""What comparing two checkpoints has found: the words of `diff`, and its JSON document."""

import msgspec

from ckpt_tier.tensors.change import Change

SCHEMA = "ckpt-tier/diff/1"


class ComparedSide(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two checkpoints. `where` is "hot", "cold" or "path"; of a path, series, step, generation and saved_at
    are null. `files` is how many it has; `requests` and `read_bytes` are what comparing cost on this side."""

    where: str
    place: str
    series: str | None
    step: int | None
    generation: str | None
    saved_at: str | None
    files: int
    size_bytes: int
    requests: int
    read_bytes: int
    notes: tuple[str, ...]


class ChangedTensor(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that both have. `change` is null where the shapes differ, or nobody can count in its dtype."""

    file: str
    name: str
    dtype_before: str
    dtype_after: str
    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]
    change: Change | None


class LoneTensor(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that only one of them has."""

    file: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


class Undecided(msgspec.Struct, frozen=True, kw_only=True):
    """Something that both have and that nobody here can compare, and why."""

    file: str
    name: str
    why: str


class ChangedValue(msgspec.Struct, frozen=True, kw_only=True):
    """Something that both have and that is no tensor: type and text of both, as `inspect` shows them."""

    file: str
    name: str
    type_before: str
    before: str
    type_after: str
    after: str


class LoneValue(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is no tensor, and that only one of them has."""

    file: str
    name: str
    type: str
    value: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`diff`: two checkpoints compared. `file` is always that of the second, or of the first where only it has one.

    `equal` is false where anything differs, and null where nothing does but something could not be compared. `changed`
    begins with tensors that have new NaN or Inf, then come those without a relative change, then the others by it, the
    largest first. Of the `equal_tensors`, `unread_tensors` were told by their checksums, or their file's.
    `changed_files` are of a format that is not looked into; so are those of `added_files` and `removed_files`.
    """

    schema: str = SCHEMA
    equal: bool | None
    before: ComparedSide
    after: ComparedSide
    equal_tensors: int
    unread_tensors: int
    changed: tuple[ChangedTensor, ...]
    added: tuple[LoneTensor, ...]
    removed: tuple[LoneTensor, ...]
    undecided: tuple[Undecided, ...]
    equal_values: int
    changed_values: tuple[ChangedValue, ...]
    added_values: tuple[LoneValue, ...]
    removed_values: tuple[LoneValue, ...]
    undecided_values: tuple[Undecided, ...]
    changed_files: tuple[str, ...]
    added_files: tuple[str, ...]
    removed_files: tuple[str, ...]
