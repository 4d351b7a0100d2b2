"""What a validator is: it sees a file's bytes once, in order, and ends with what it found.

A validator may also look at a few small ranges out of order (a directory at the end of the file) through `Reader`;
bulk data come only through `feed`, so that one read of the file serves validation and checksums alike.
"""

from enum import StrEnum
from typing import Protocol

from ckpt_tier.core.findings import Findings
from ckpt_tier.errors import CkptTierError


class Level(StrEnum):
    """How much a validator looks at."""

    FAST = "fast"
    """Container structure and sizes."""
    FULL = "full"
    """Every record checksum that the format has."""
    DEEP = "deep"
    """Tensors enumerated, NaN and Inf counted, in a child process."""


class Rejected(CkptTierError):  # noqa: N818 (the state's name)
    """The file is not a whole checkpoint. `what` says what is wrong with it, in one clause."""

    exit_code = 9


class Reader(Protocol):
    """Random access to a file, wherever it lies."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes; raises Rejected when the file ends before."""
        ...


class OpenFile(Reader, Protocol):
    """Random access to an open file of this machine."""

    def fileno(self) -> int:
        """For a child process that looks at the same bytes; its position is nobody's business."""
        ...


class Check(Protocol):
    """One file's validation in progress. Not thread-safe."""

    @property
    def format(self) -> str:
        """As in `Findings.format`; known from the start."""
        ...

    def feed(self, offset: int, data: memoryview) -> None:
        """The next bytes of the file, in order and without gaps. Raises Rejected."""
        ...

    def finish(self) -> Findings:
        """After the last byte. Raises Rejected."""
        ...
