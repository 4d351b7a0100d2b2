"""Validating one file: a single read that gives the verdict and all checksums."""

import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec

from ckpt_tier.core.findings import Findings
from ckpt_tier.core.nouns import Stamp
from ckpt_tier.core.pieces import PieceChecksums
from ckpt_tier.errors import IntegrityError, SourceChangedError
from ckpt_tier.formats.check import Check, Level, OpenFile, Rejected
from ckpt_tier.formats.custom import run_custom
from ckpt_tier.formats.deep import deep_check
from ckpt_tier.formats.detect import check_for
from ckpt_tier.formats.reader import FileReader, read_into
from ckpt_tier.system.digests import FileHasher, to_hex

_BLOCK = 2**21
"""Bytes: few enough that each checksum finds the block in the processor's caches, enough that handing it to another
thread costs nothing beside them."""


class Validated(msgspec.Struct, frozen=True):
    """A good file.

    Attributes:
        stamp: what its identity was while it was read.
        size: bytes.
        mode: permission bits.
        mtime_ns: nanoseconds since the epoch.
        sha256: 64 hex digits.
        crc64nvme: 16 hex digits.
        pieces: the checksums of its upload pieces.
        findings: what validation found.
    """

    stamp: Stamp
    size: int
    mode: int
    mtime_ns: int
    sha256: str
    crc64nvme: str
    pieces: PieceChecksums
    findings: Findings


def validate(
    path: Path,
    *,
    level: Level,
    name: str | None = None,
    non_finite: Literal["record", "reject"] = "record",
    custom: str | None = None,
    custom_folder: Path | None = None,
    stop: Callable[[], None] = lambda: None,
) -> Validated:
    """Reads the file `path` once, front to back, and checks it on the way; level deep reads it a second time.

    `name` is the file's own name where `path` is a link with another one: its suffix tells the format. `custom` is
    described in `formats.custom`, `custom_folder` is where its module may lie. `stop` is called between blocks
    (1 MiB), and may raise to end the validation.

    Raises Rejected when the file is not a whole checkpoint; SourceChangedError when it vanished or changed meanwhile
    (which wins over a rejection); IntegrityError when it may not be opened or the disk can't read it; ConfigError when
    `custom` is broken; what `stop` raises. Safe to call from several threads.
    """
    descriptor = _open(path)
    try:
        before = os.fstat(descriptor)
        _refuse_special(before)
        try:
            found = _read(descriptor, name or path.name, before, level, stop)
            if non_finite == "reject":
                _refuse_non_finite(found.findings)
            if custom:
                run_custom(custom, path, custom_folder)
        except Rejected:
            _refuse_if_changed(path, descriptor, before)
            raise
        _refuse_if_changed(path, descriptor, before)
        return found
    finally:
        os.close(descriptor)


def glance(path: Path) -> Findings:
    """The structure alone, by a few small reads instead of the whole file: for a first look at a folder.

    Sees what is empty, zeroed or cut short, not what is flipped. Raises what `validate` raises.
    """
    descriptor = _open(path)
    try:
        before = os.fstat(descriptor)
        _refuse_special(before)
        check = check_for(path.name, FileReader(descriptor, before.st_size), Level.FAST)
        return Findings(format=check.format, level=str(Level.FAST))
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceChangedError(f"{path} is gone") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Rejected("a symbolic link, not a file") from error
        raise IntegrityError(
            "it could not be opened", error.strerror or str(error), "look at its permissions"
        ) from error


def _refuse_special(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Rejected("a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise Rejected("a device, pipe or socket, not a file")


def _read(descriptor: int, name: str, status: os.stat_result, level: Level, stop: Callable[[], None]) -> Validated:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    reader = FileReader(descriptor, status.st_size)
    check = check_for(name, reader, level, stop)
    hasher = FileHasher(status.st_size)
    _feed(reader, check, hasher, stop)
    findings = check.finish()
    if level is Level.DEEP:
        findings = deep_check(reader, findings, stop=stop)
    crc, pieces = hasher.finish()
    return Validated(
        stamp=_stamp(status),
        size=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        mtime_ns=status.st_mtime_ns,
        sha256=hasher.sha256(),
        crc64nvme=to_hex(crc),
        pieces=pieces,
        findings=findings,
    )


def _feed(reader: OpenFile, check: Check, hasher: FileHasher, stop: Callable[[], None]) -> None:
    """Gives each block to the check and to the hasher, which takes longest: it is at one block while the next one is
    read and checked. A file of one block needs no thread for that."""
    one, other = (memoryview(bytearray(min(_BLOCK, reader.size))) for _ in range(2))
    offset = 0
    with ThreadPoolExecutor(1, thread_name_prefix="ckpt-tier-hash") as pool:
        hashed: Future[None] | None = None
        while offset < reader.size:
            stop()
            count = read_into(reader.fileno(), one[: reader.size - offset], offset)
            if count == 0:
                raise Rejected(f"truncated: the file ends at byte {offset}")
            block = one[:count]
            check.feed(offset, block)
            offset += count
            if hashed is not None:
                hashed.result()
            if offset < reader.size:
                hashed = pool.submit(hasher.update, block)
                one, other = other, one
            else:
                hasher.update(block)


def _refuse_non_finite(findings: Findings) -> None:
    nan, inf = findings.nan or 0, findings.inf or 0
    if nan or inf:
        raise Rejected(f"holds {nan} NaN and {inf} Inf")


def _refuse_if_changed(path: Path, descriptor: int, before: os.stat_result) -> None:
    try:
        named = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceChangedError(f"{path} vanished while it was read") from error
    if not _stamp(before) == _stamp(os.fstat(descriptor)) == _stamp(named):
        raise SourceChangedError(f"{path} changed while it was read")


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(inode=status.st_ino, size=status.st_size, mtime_ns=status.st_mtime_ns)
