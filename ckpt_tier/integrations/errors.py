"""Errors of ours that are errors of the operating system as well: what speaks fsspec expects FileNotFoundError for what
is not there, and OSError for everything else. The text is whole: what, why, and what to do.
"""

import contextlib
import errno
from collections.abc import Iterator

from ckpt_tier.errors import (
    AccessDeniedError,
    CkptTierError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    SourceChangedError,
    UnavailableError,
    UsageError,
)
from ckpt_tier.formats.check import Rejected


class _AsOSError(CkptTierError, OSError):
    number = errno.EIO

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        text = self.args[0]
        self.args = (f"{text} ({fix})" if fix else text,)
        self.errno = self.number


class NotThereError(_AsOSError, NotFoundError, FileNotFoundError):
    """No such run, series, step, generation or file."""

    number = errno.ENOENT


class NotAFileError(_AsOSError, UsageError, IsADirectoryError):
    """What was to be opened is a folder."""

    number = errno.EISDIR


class ReadOnlyError(_AsOSError, UsageError):
    """Checkpoints are not written this way."""

    number = errno.EROFS


class WrongCallError(_AsOSError, UsageError):
    """The call makes no sense."""

    number = errno.EINVAL


class WrongConfigError(_AsOSError, ConfigError):
    """The configuration, or what it points at, is wrong."""

    number = errno.EINVAL


class RefusedError(_AsOSError, AccessDeniedError, PermissionError):
    """The cold tier refuses these credentials."""

    number = errno.EACCES


class AwayError(_AsOSError, UnavailableError, ConnectionError):
    """The cold tier does not answer."""

    number = errno.EHOSTUNREACH


class ChangedError(_AsOSError, SourceChangedError):
    """The hot copy became another one while it was read."""

    number = errno.ESTALE


class DamagedError(_AsOSError, IntegrityError):
    """Bytes are not what they were proven to be, or are missing."""


class OtherError(_AsOSError):
    """Whatever else went wrong."""


_KINDS: tuple[tuple[type[CkptTierError], type[_AsOSError]], ...] = (
    (NotFoundError, NotThereError),
    (SourceChangedError, ChangedError),
    (IntegrityError, DamagedError),
    (Rejected, DamagedError),
    (AccessDeniedError, RefusedError),
    (UnavailableError, AwayError),
    (ConfigError, WrongConfigError),
    (UsageError, WrongCallError),
)


@contextlib.contextmanager
def as_os_errors() -> Iterator[None]:
    """Errors of this program that are raised inside become errors of the operating system as well."""
    try:
        yield
    except _AsOSError:
        raise
    except CkptTierError as error:
        kind = next((kind for ours, kind in _KINDS if isinstance(error, ours)), OtherError)
        raise kind(error.what, error.why, error.fix) from error
