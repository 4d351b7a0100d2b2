"""One exception tree, split by what a caller would do about each error.

Every error says what happened, why, and what to do; the command line prints the first two as ``error:`` and the
last as ``hint:``, and exits with the class's ``exit_code``.
"""

from typing import ClassVar


class CkptTierError(Exception):
    """Base of every error that ckpt-tier raises on purpose.

    Attributes:
        what: what happened, one clause without a full stop.
        why: the cause, if known; may be empty.
        fix: what to do about it; may be empty.
        exit_code: the exit code of the command line for this class of error.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(f"{what}: {why}" if why else what)
        self.what = what
        self.why = why
        self.fix = fix


class UsageError(CkptTierError):
    """The call itself makes no sense: wrong arguments."""

    exit_code = 2


class ConfigError(CkptTierError):
    """The configuration, or what it points at, is wrong: a person must edit it."""

    exit_code = 3


class NoColdTierError(ConfigError):
    """The configuration names no cold tier, and what was asked needs one."""


class NotFoundError(CkptTierError):
    """No such checkpoint, run or object."""

    exit_code = 4


class MissingKeyError(NotFoundError):
    """A store has no object under the key asked for."""


class IntegrityError(CkptTierError):
    """Bytes are not what they were proven to be, or a document is malformed or hostile."""

    exit_code = 5


class SourceChangedError(IntegrityError):
    """A local file changed between two looks at it: not damage, take it up again."""


class UnavailableError(CkptTierError):
    """The cold tier does not answer, or refuses for now: worth trying again later."""

    exit_code = 6


class AccessDeniedError(UnavailableError):
    """The cold tier refuses these credentials; trying again helps only after someone mends them."""


class NoSpaceError(CkptTierError):
    """A file system has no room for what was asked."""

    exit_code = 7


class ConflictError(CkptTierError):
    """Somebody else holds the lock, or something different is already there."""

    exit_code = 8


class KeyExistsError(ConflictError):
    """A conditional write found an object under the key."""


class AttentionError(CkptTierError):
    """Done as far as possible; a person is needed for the rest (rejected, stalled, lost, filling up)."""

    exit_code = 9


class CancelledError(CkptTierError):
    """Stopped on request (SIGINT, SIGTERM); what was begun is resumed by the next start."""

    exit_code = 130


_SEVERITY = (IntegrityError.exit_code, NoSpaceError.exit_code, UnavailableError.exit_code, AttentionError.exit_code)


def worst_exit_code(codes: set[int]) -> int:
    """The exit code that stands for several outcomes at once: 5 before 7 before 6 before 9, else the highest."""
    for code in _SEVERITY:
        if code in codes:
            return code
    return max(codes, default=0)
