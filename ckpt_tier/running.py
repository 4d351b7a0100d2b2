"""`exec`: a training with the worker beside it. Resume, run, drain; the exit code is the training's.

It holds no checkpoint and asks no cold tier: the restore and the worker are processes of their own, so beside a
training there is only a small one that waits. Killed at any moment it leaves what a killed training leaves: the queue
is in the hot folder, and the next start goes on with it.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.errors import CkptTierError, NotFoundError, UsageError
from ckpt_tier.operations import Operations
from ckpt_tier.system.children import Children
from ckpt_tier.system.clock import Clock
from ckpt_tier.tier import Tier
from ckpt_tier.wiring import Wiring

PATH, STEP = "{path}", "{step}"
RESUME, RESUME_STEP = "CKPT_TIER_RESUME", "CKPT_TIER_RESUME_STEP"
LOOK_EVERY = 0.5
"""Seconds between two looks at the queue that drains."""


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """What the training goes on from."""

    series: str
    step: int
    generation: str
    path: str


class PassedOver(msgspec.Struct, frozen=True, kw_only=True):
    """A newer checkpoint that it does not go on from."""

    series: str
    step: int
    reason: str


class RestoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of the document of `restore --latest --json`."""

    restored: tuple[Resumed, ...]
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[str, ...] = ()


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What was not committed when the draining ended. `problem`: why nobody could tell; empty if somebody could."""

    count: int = 0
    bytes: int = 0
    problem: str = ""


class Stopped(CkptTierError):  # noqa: N818 (no error of ours: whoever asked knows)
    """Ended before the command began. `code`: the exit code; `said`: the error document of a restore that failed."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__("the command was not started")
        self.code = code
        self.said = said


class ErrorReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of an error document."""

    error: str
    why: str = ""
    hint: str = ""


def filled(words: Sequence[str], resumed: Resumed | None) -> list[str]:
    """The command's words with `{path}` and `{step}` filled in.

    Without a checkpoint the words that hold one are left out, and with a word that is nothing else also the option
    before it: of `--resume {path}` and `--resume={path}` nothing is left, so one line serves the first start as well.
    `{step}` counts only as a whole word or after a `=`: templates of file names have it, too.

    Raises UsageError for a word with spaces, such as a script for a shell: nothing can be left out of that.
    """
    for word in words:
        if PATH in word and len(word.split()) > 1:
            raise UsageError(
                f"{PATH} stands in the middle of {word!r}",
                "where there is no checkpoint yet, it could not be left out",
                f"give the words one by one, or use ${RESUME} in it",
            )
    if resumed is not None:
        steps = [word.removesuffix(STEP) + str(resumed.step) if _names_step(word) else word for word in words]
        return [word.replace(PATH, resumed.path) for word in steps]
    kept: list[str] = []
    for word in words:
        if PATH not in word and not _names_step(word):
            kept.append(word)
        elif word in (PATH, STEP) and len(kept) > 1 and _is_option(kept[-1]):
            kept.pop()
    return kept


def _names_step(word: str) -> bool:
    return word == STEP or word.endswith(f"={STEP}")


def _is_option(word: str) -> bool:
    return word.startswith("-") and word.strip("-") != "" and "=" not in word


def environment(env: Mapping[str, str], resumed: Resumed | None) -> dict[str, str]:
    """The command's environment: what it goes on from, or neither of the two."""
    kept = {name: value for name, value in env.items() if name not in (RESUME, RESUME_STEP)}
    return kept if resumed is None else {**kept, RESUME: resumed.path, RESUME_STEP: str(resumed.step)}


def resume(
    children: Children, options: Sequence[str], env: Mapping[str, str], say: Callable[[str], None]
) -> RestoreReport | None:
    """Restores the newest good checkpoint, in a process of its own; None if there is none yet.

    Raises Stopped with the exit code of a restore that failed, or was told to end; UsageError for several series.
    """
    output, errors = os.memfd_create("ckpt-tier-restored"), os.memfd_create("ckpt-tier-errors")
    try:
        words = [sys.executable, "-m", "ckpt_tier", "restore", "--latest", "--json", *options]
        code = children.run(words, env, outputs={1: output, 2: errors})
        text, said = (os.pread(each, os.fstat(each).st_size, 0) for each in (output, errors))
    finally:
        os.close(output)
        os.close(errors)
    if children.received:
        raise Stopped(128 + children.received[0], "")
    if code == NotFoundError.exit_code:
        return None
    if code != 0:
        raise Stopped(code, said.decode(errors="replace"))
    report = msgspec.json.decode(text, type=RestoreReport)
    for each in report.passed_over:
        say(f"passed over series={each.series} step={each.step} {each.reason}")
    for note in report.notes:
        say(note)
    if len(report.restored) > 1:
        names = ", ".join(each.series for each in report.restored)
        raise UsageError(f"the run has the series {names}", "a command resumes one", "name it with --series S")
    return report


def drain(
    wiring: Wiring, tier: Tier, children: Children, grace: float, clock: Clock, say: Callable[[str], None]
) -> Left:
    """Waits until everything in the hot folder is committed, at most `grace` seconds, or until a second signal, or
    one from the terminal, asks to end. Never raises: what the tier can't do is said."""
    deadline = clock.monotonic() + grace
    asked = len(children.received)
    told = False
    try:
        while True:
            waiting = Operations(wiring).waiting()
            left = Left(count=len(waiting), bytes=sum(waiting.values()))
            if not waiting or not tier.ensure_worker():
                return left
            again = len(children.received)
            if clock.monotonic() >= deadline or (again > asked and (again > 1 or children.typed)):
                return left
            if not told:
                say(
                    f"draining: {left.count} to commit, {format_size(left.bytes)}, at most {format_duration(grace)}; "
                    "Ctrl-C or a second SIGTERM ends it at once"
                )
                told = True
            children.pause(LOOK_EVERY)
    except Exception as error:  # noqa: BLE001 (whatever it is, the exit code is the command's)
        return Left(problem=str(error) or type(error).__name__)
