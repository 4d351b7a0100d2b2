"""What a ``ckpt://RUN/SERIES/STEP[@GENERATION]/path`` names."""

from __future__ import annotations

import re

import msgspec

from ckpt_tier.core.nouns import is_id, is_name

LATEST = "latest"
_STEP = re.compile(r"0|[1-9][0-9]{0,11}")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Somewhere in the tree: what is None was not named, and neither is anything behind it.

    Attributes:
        step: None together with `latest` for the one saved last.
        path: of a file, or of a folder of files, of the checkpoint; empty for the checkpoint itself.
    """

    run: str | None = None
    series: str | None = None
    step: int | None = None
    latest: bool = False
    generation: str | None = None
    path: str = ""

    @property
    def is_within_step(self) -> bool:
        """Whether it is a checkpoint, or something in one."""
        return self.latest or self.step is not None

    def __str__(self) -> str:
        """As it is written behind ``ckpt://``."""
        number = LATEST if self.latest else None if self.step is None else str(self.step)
        step = f"{number}@{self.generation}" if number and self.generation else number
        return "/".join(part for part in (self.run, self.series, step, self.path) if part)


class UnfitError(ValueError):
    """A path that names nothing there could be; the text says why, in one clause."""


def parse(path: str) -> Place:
    """The place that a path, without ``ckpt://``, names. Raises UnfitError."""
    if not path.strip("/"):
        return Place()
    parts = path.strip("/").split("/")
    if any(part in ("", ".", "..") for part in parts) or not path.isprintable():
        raise UnfitError("it has an empty part, '.', '..' or a control character")
    for kind, name in zip(("run", "series"), parts, strict=False):
        if not is_name(name):
            raise UnfitError(f"{name!r} is not a {kind} name")
    if len(parts) < 3:
        return Place(run=parts[0], series=parts[1] if len(parts) == 2 else None)
    number, at, generation = parts[2].partition("@")
    rest = "/".join(parts[3:])
    if parts[2] == LATEST:
        return Place(run=parts[0], series=parts[1], latest=True, path=rest)
    if not _STEP.fullmatch(number):
        raise UnfitError(f"{parts[2]!r} is neither a step, written without leading zeros, nor {LATEST!r}")
    if at and not is_id(generation):
        raise UnfitError(f"{generation!r} is not a generation, which has 16 hex digits")
    return Place(run=parts[0], series=parts[1], step=int(number), generation=generation or None, path=rest)
