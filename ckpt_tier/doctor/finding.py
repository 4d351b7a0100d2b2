"""What a check found, and what becomes of a check that fails itself."""

import errno
import os
from collections.abc import Callable, Generator, Iterable
from typing import Literal

import msgspec

from ckpt_tier.errors import (
    AttentionError,
    CancelledError,
    CkptTierError,
    ConfigError,
    NoSpaceError,
    UnavailableError,
    worst_exit_code,
)

Level = Literal["good", "warning", "bad"]
Subject = Literal[
    "configuration",
    "hot tier",
    "state folder",
    "worker",
    "clock",
    "credentials",
    "permissions",
    "cold tier",
    "bucket",
]
_TOLD_APART = (ConfigError.exit_code, UnavailableError.exit_code, NoSpaceError.exit_code)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_OURS = "please report this, with what `ckpt-tier doctor -v` prints"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        level: "good", "warning" (it works, but can hurt) or "bad" (something does not work, or data is in danger).
        subject: what it is about.
        what: what was found, and what it costs, as a clause.
        fix: what to do about it; empty if it is good.
        exit_code: what the command exits with for it: 0 unless it is bad, then 3, 6, 7 or 9.
    """

    level: Level
    subject: Subject
    what: str
    fix: str = ""
    exit_code: int = 0


def good(subject: Subject, what: str) -> Finding:
    return Finding("good", subject, what)


def warning(subject: Subject, what: str, fix: str) -> Finding:
    return Finding("warning", subject, what, fix)


def bad(subject: Subject, what: str, fix: str, exit_code: int = AttentionError.exit_code) -> Finding:
    told_apart = exit_code if exit_code in _TOLD_APART else AttentionError.exit_code
    return Finding("bad", subject, what, fix, told_apart)


def from_error(subject: Subject, error: CkptTierError) -> Finding:
    """The finding that an error amounts to."""
    return bad(subject, str(error), error.fix, error.exit_code)


def guarded(subject: Subject, check: Callable[[], Iterable[Finding]]) -> Generator[Finding, None, None]:
    """What `check` finds; an error in it is a finding too, so that the other checks still run.

    Only CancelledError comes through.
    """
    try:
        yield from check()
    except CancelledError:
        raise
    except CkptTierError as error:
        yield from_error(subject, error)
    except OSError as error:
        yield _from_os_error(subject, error)
    except Exception as error:  # noqa: BLE001 (said in full: a check that can't be made is a finding)
        yield bad(subject, f"a check ended by an unexpected {type(error).__name__}: {error}", _NOT_OURS)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 without anything bad. A wrong configuration counts first, since it may be the cause of the rest."""
    codes = {finding.exit_code for finding in findings if finding.level == "bad"}
    return ConfigError.exit_code if ConfigError.exit_code in codes else worst_exit_code(codes)


def _from_os_error(subject: Subject, error: OSError) -> Finding:
    path = os.fsdecode(error.filename) if error.filename is not None else "a file"
    why = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return bad(subject, f"{path} can't be written: {why}", "free some space", NoSpaceError.exit_code)
    return bad(subject, f"{path} can't be used: {why}", "check its owner, its mode and the disk")
