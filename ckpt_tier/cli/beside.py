"""A command with the worker beside it, and what is said about it: on stderr, since stdout is the command's."""

import contextlib
import os
import shlex
import sys
from collections.abc import Sequence

from ckpt_tier.cli.paper import plain
from ckpt_tier.cli.settings import Settings
from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.running import ErrorReport, Left, RestoreReport, Stopped, drain, environment, filled, resume
from ckpt_tier.system.children import NOT_EXECUTABLE, NOT_FOUND, Children, cannot_run
from ckpt_tier.tier import Tier


def run_beside(
    settings: Settings,
    words: Sequence[str],
    *,
    resume: bool,
    grace: float,
    series: str | None,
    rank: int | None,
) -> int:
    """Runs it to its end. Returns its exit code. Raises ConfigError and UsageError before it begins."""
    wiring = settings.wiring()
    wiring.config.require_cold()
    if resume:
        filled(words, None)  # a word that can't be filled is said before anything is fetched
    if code := cannot_run(words[0], os.environ):
        return _refused(settings, words[0], code)
    children = Children()
    env = dict(os.environ)
    report: RestoreReport | None = None
    try:
        if resume:
            report, words = _resumed(settings, children, words, series, rank)
            env = environment(env, report.restored[0] if report else None)
    except Stopped as stopped:
        _not_started(settings, stopped)
        return stopped.code
    tier = Tier(wiring.config, worker=True)
    try:
        code = children.run(words, env, foreground=True, on_tick=tier.ensure_worker)
    except OSError as error:  # it was there before the restore
        code = NOT_FOUND if isinstance(error, FileNotFoundError | NotADirectoryError) else NOT_EXECUTABLE
        _say(settings, f"error: can't run {words[0]}: {error.strerror}")
    left = drain(wiring, tier, children, grace, wiring.clock, lambda text: _say(settings, text))
    tier.close()
    _account(settings, report, code, left, grace)
    return code


def _refused(settings: Settings, word: str, code: int) -> int:
    """Says that there is no such command, before anything was fetched or started."""
    import msgspec

    from ckpt_tier.cli.documents.error import ErrorDocument

    why = "there is no such command" if code == NOT_FOUND else "it is not executable"
    hint = "check its name and PATH; the words after -- are run as they are, by no shell"
    if settings.json:
        document = ErrorDocument(error=f"can't run {word}", why=why, hint=hint, exit_code=code)
        _write(msgspec.json.encode(document).decode())
    _say(settings, f"error: can't run {word}: {why}")
    _say(settings, f"error: nothing was restored or started; hint: {hint}")
    return code


def _not_started(settings: Settings, stopped: Stopped) -> None:
    import msgspec

    if not stopped.said:  # a signal has ended the restore
        return
    if settings.json:
        _write(stopped.said.rstrip())
        return
    try:
        error = msgspec.json.decode(stopped.said, type=ErrorReport)
    except msgspec.DecodeError:  # a crash, with its own words
        _write(stopped.said.rstrip())
        return
    _say(settings, f"error: {error.error}" + (f": {error.why}" if error.why else ""))
    _say(settings, f"error: {stopped.what}; hint: {error.hint}")


def _resumed(
    settings: Settings, children: Children, words: Sequence[str], series: str | None, rank: int | None
) -> tuple[RestoreReport | None, list[str]]:
    """What came back, and the command's words for it."""
    options = ["--config", str(settings.config)] if settings.config else []
    options += ["--series", series] if series else []
    options += ["--rank", str(rank)] if rank is not None else []
    report = resume(children, options, os.environ, lambda text: _say(settings, text))
    back = report.restored[0] if report else None
    wanted = filled(words, back)
    if back is not None:
        _say(settings, f"resuming series={back.series} step={back.step} from {back.path}")
    else:
        _say(settings, f"nothing to resume from yet: the first start, {shlex.join(wanted)}")
    return report, wanted


def _account(settings: Settings, report: RestoreReport | None, code: int, left: Left, grace: float) -> None:
    if settings.json:
        import msgspec

        from ckpt_tier.cli.documents.exec import ExecDocument

        document = ExecDocument(
            exit_code=code,
            resumed=report.restored[0] if report else None,
            passed_over=report.passed_over if report else (),
            notes=report.notes if report else (),
            drained=not left.count and not left.problem,
            left_count=left.count,
            left_bytes=left.bytes,
            problem=left.problem,
        )
        _write(msgspec.json.encode(document).decode())
    elif left.problem:
        _say(settings, f"warning: whether everything is committed can't be told: {left.problem}")
    elif left.count:
        _say(
            settings,
            f"warning: {left.count} not committed, {format_size(left.bytes)}: the hot folder keeps it, and the next "
            f"start or `ckpt-tier sync` goes on (--grace {format_duration(grace)}; see `ckpt-tier status`)",
        )
    else:
        _say(settings, "everything that can be is committed")


def _say(settings: Settings, text: str) -> None:
    """A line on stderr. With --json there is none but the account; --quiet leaves errors and warnings."""
    if not settings.json and (not settings.quiet or text.startswith(("error", "warning"))):
        _write(f"ckpt-tier: {plain(text)}")


def _write(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a log that can't be written never stops a training
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
