"""Errors in words: ``error: what: why`` and ``hint: what to do``, or one JSON object, on stderr."""

import errno
import os
import sys

import click

from ckpt_tier.cli.paper import plain
from ckpt_tier.cli.settings import Settings
from ckpt_tier.errors import CancelledError, CkptTierError, NoSpaceError, UsageError

INTERRUPTED = CancelledError.exit_code
_REPORT = "run it again with -v, and report what it prints"
_BROKEN_PIPE_CODE = 141
"""What a shell gives for a program that SIGPIPE ended: 128 + 13."""


def present(error: BaseException, settings: Settings) -> int:
    """Prints an error to stderr in the form that was asked for; returns its exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    what, why, fix, code = _words(error)
    if settings.json:
        import msgspec

        from ckpt_tier.cli.documents.error import ErrorDocument

        document = ErrorDocument(error=what, why=why, hint=fix, exit_code=code)
        click.echo(msgspec.json.encode(document), err=True)
        return code
    click.echo(click.style("error: ", fg="red", bold=True) + plain(f"{what}: {why}" if why else what), err=True)
    if fix:
        click.echo(click.style("hint: ", fg="yellow", bold=True) + plain(fix), err=True)
    return code


def wants_traceback(error: BaseException, settings: Settings) -> bool:
    """Whether `error` is worth a traceback: with -v, unless it is one of click's own."""
    return settings.verbose and not isinstance(error, click.ClickException | click.exceptions.Exit | click.Abort)


def closed_quietly() -> int:
    """Whoever read our output went away (``list | head``): nothing more is written, and nothing is said."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return _BROKEN_PIPE_CODE


def _words(error: BaseException) -> tuple[str, str, str, int]:
    if isinstance(error, CkptTierError):
        return error.what, error.why, error.fix, error.exit_code
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "ckpt-tier"
        return error.format_message().rstrip("."), "", f"see `{where} --help`", UsageError.exit_code
    if isinstance(error, click.ClickException):
        return error.format_message().rstrip("."), "", "", UsageError.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted", "", "run the same command again to go on", INTERRUPTED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _os_words(error, "no space left"), "", "free some space and run it again", NoSpaceError.exit_code
    if isinstance(error, PermissionError):
        return _os_words(error, "not allowed"), "", "check the owner and mode of that path", 1
    if isinstance(error, OSError) and error.filename is not None:
        why = error.strerror or type(error).__name__
        return f"can't use {os.fsdecode(error.filename)}", why, "check that path", 1
    return f"unexpected {type(error).__name__}", str(error), _REPORT, 1


def _os_words(error: OSError, what: str) -> str:
    return f"{what} at {os.fsdecode(error.filename)}" if error.filename is not None else what
