"""The nouns of the tool: names, steps, files, members, generations and their ids."""

import hashlib
import re
from collections.abc import Iterable

import msgspec

from ckpt_tier.errors import UsageError

MAX_STEP = 10**12 - 1
STEP_DIGITS = 12
DEFAULT_SERIES = "main"

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
_NAME = re.compile(NAME_PATTERN)
_SAVE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_ID = re.compile(r"[0-9a-f]{16}")
ID_HEX_DIGITS = 16


class Stamp(msgspec.Struct, frozen=True):
    """What tells one content of a path from another without reading it; sizes in bytes, times in nanoseconds."""

    inode: int
    size: int
    mtime_ns: int


class FileStamp(msgspec.Struct, frozen=True):
    """One file, `path` relative to the hot folder with POSIX separators, as one look saw it."""

    path: str
    stamp: Stamp


def stamp_of(files: Iterable[FileStamp]) -> Stamp:
    """What tells one content of a checkpoint from another: of one file its own stamp; of several the sum of the sizes,
    the latest mtime, and in place of an inode 63 bits of a hash over all their paths and stamps."""
    every = sorted((file.path, msgspec.structs.astuple(file.stamp)) for file in files)
    if len(every) == 1:
        return Stamp(*every[0][1])
    digest = hashlib.sha256(repr(every).encode()).digest()
    return Stamp(
        inode=int.from_bytes(digest[:8], "big") >> 1,
        size=sum(size for _, (_, size, _) in every),
        mtime_ns=max(mtime for _, (_, _, mtime) in every),
    )


class Pass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pass of the training a save belongs to, as far as one process can tell by itself.

    Attributes:
        number: how often the step has not grown in this process; 0 at first.
        started_at: when the process began, seconds since the epoch.
    """

    number: int
    started_at: float


class FileDigest(msgspec.Struct, frozen=True):
    """One file of a member: where it lay and what it holds.

    Attributes:
        path: relative to the hot folder, POSIX separators.
        size: bytes.
        mode: permission bits (``stat.S_IMODE``).
        mtime_ns: modification time, nanoseconds since the epoch.
        sha256: 64 hex digits.
        crc64nvme: 16 hex digits, big-endian (CRC-64/NVME, reflected 0x9a6c9329ac4bc9b5).
    """

    path: str
    size: int
    mode: int
    mtime_ns: int
    sha256: str
    crc64nvme: str


def check_name(kind: str, name: str) -> str:
    """`name`, if it is fit for a run or series; raises UsageError otherwise."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a {kind} name",
            "names start with a letter or digit and hold at most 64 of a-z 0-9 . _ -",
            f"choose another {kind} name",
        )
    return name


def check_save_id(text: str) -> str:
    """`text`, if it is fit for a save id; raises UsageError otherwise."""
    if not _SAVE_ID.fullmatch(text):
        raise UsageError(
            f"{text!r} is not a save id", "it starts with a letter or digit and holds at most 96 of A-Z a-z 0-9 . _ -"
        )
    return text


def is_name(text: str) -> bool:
    """Whether `text` is fit for a run or series."""
    return _NAME.fullmatch(text) is not None


def check_step(step: int) -> int:
    """`step`, if it lies within 0 … 10^12 - 1; raises UsageError otherwise."""
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= MAX_STEP:
        raise UsageError(f"{step!r} is not a step", "a step is an integer from 0 to 999999999999")
    return step


def is_id(text: str) -> bool:
    """Whether `text` has the form of a member id or generation id: 16 lower-case hex digits."""
    return _ID.fullmatch(text) is not None


def member_id(files: Iterable[FileDigest]) -> str:
    """The id of a member: the first 16 hex digits of a SHA-256 over its sorted (path, size, sha256) list."""
    digest = hashlib.sha256()
    for path, size, sha256 in sorted((f.path, f.size, f.sha256) for f in files):
        digest.update(f"{sha256} {size} {path}\0".encode())
    return digest.hexdigest()[:ID_HEX_DIGITS]


def generation_id(member_ids: Iterable[str]) -> str:
    """The id of a generation: the first 16 hex digits of a SHA-256 over its sorted member ids."""
    return hashlib.sha256("\n".join(sorted(member_ids)).encode()).hexdigest()[:ID_HEX_DIGITS]
