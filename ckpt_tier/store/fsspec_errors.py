"""What the exceptions of fsspec, of the libraries below it and of the operating system mean for a store."""

import contextlib
import errno
import re
from collections.abc import Iterator

from ckpt_tier.errors import (
    AccessDeniedError,
    CkptTierError,
    ConfigError,
    ConflictError,
    MissingKeyError,
    NoSpaceError,
    UnavailableError,
)

_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = re.compile(
    r"Authenti|AccessDenied|Forbidden|Credential|BadHostKey|RefreshError|LogonFailure|PasswordRequired"
)
"""In the name of an exception's class: each library has its own (paramiko, google-auth, azure, smbprotocol)."""
_DENIED_TEXT = re.compile(r"^(Forbidden|530\b|401\b|403\b)|status code:? 40[13]\b", re.IGNORECASE)
"""In its text: gcsfs raises OSError("Forbidden: ..."), ftplib "530 Login incorrect"."""
_QUERY = re.compile(r"\?[^\s'\"]+")
_LONGEST = 200


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Errors of this program pass; every other exception inside becomes one of them."""
    try:
        yield
    except CkptTierError:
        raise
    except Exception as error:
        raise meaning(error, where) from error


def meaning(error: Exception, where: str) -> CkptTierError:
    """The error of ours that stands for `error`, which happened to the object or folder `where`."""
    why = said(error)
    if isinstance(error, _MISSING):
        return MissingKeyError(f"there is no object {where}")
    if isinstance(error, FileExistsError):
        return ConflictError(f"{where} is in the way", why)
    if _is_denial(error, why):
        return AccessDeniedError(f"the cold tier refuses {where}", why, "check the credentials and what they may do")
    if isinstance(error, NotImplementedError):
        return ConfigError(
            f"{where} can't be a cold tier", "fsspec can't write or delete there", "choose another `url`"
        )
    if isinstance(error, OSError) and error.errno in _FULL:
        return NoSpaceError(f"no space left for {where}", why, "free some space in the cold tier")
    return UnavailableError(f"{where} can't be reached", why, "check the server and the way to it; it is tried again")


def said(error: Exception) -> str:
    """What an exception says, in one line: its kind and text, without the query of a URL, which may hold a secret."""
    text = " ".join(_QUERY.sub("?…", str(error)).split())
    name = type(error).__name__
    return f"{name}: {text[:_LONGEST]}" if text else name


def answered(error: Exception) -> bool:
    """Whether the error was the answer of a server that is well: its connection can be used again."""
    return isinstance(error, (CkptTierError, FileExistsError, PermissionError, *_MISSING))


def _is_denial(error: Exception, why: str) -> bool:
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    return isinstance(error, PermissionError) or bool(_DENIED.search(names) or _DENIED_TEXT.search(str(error)))


def no_root(url: str) -> UnavailableError:
    """The error for a store whose folder is not on the server."""
    return UnavailableError(
        f"the folder of {url} is not there",
        "it is never made in passing: a disk of the server may not be mounted",
        "if it is a new one, make it on the server",
    )
