"""A child process, looked after as an init would: signals passed on, the dead reaped, its end told as a shell tells it.

For the main thread of a program that has nothing else to do. The signals are blocked and waited for, not handled: so
none is lost between two looks, and no handler runs at a bad moment.

A child is in a process group of its own. A signal to the whole group of this process (`kill -- -PGID`, `timeout`, a
shell that hangs up) thus reaches the child once, passed on, and not twice.
"""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from ckpt_tier.system.terminal import Terminal

PASSED_ON = frozenset(
    {
        signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH,
        signal.SIGTSTP,
    }
)  # fmt: skip
ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
NOT_EXECUTABLE = 126
NOT_FOUND = 127
"""Exit codes of a command that could not be started: POSIX, Shell Command Language, 2.8.2."""
_READS_AGAIN = 0.1
"""Seconds before a child that has read a terminal not its own tries again. Where no shell can help, that goes on."""
_BY_THE_KERNEL = 0x80
"""`si_code` of what a terminal sends (SI_KERNEL, sigaction(2))."""


def cannot_run(word: str, env: Mapping[str, str]) -> int:
    """The exit code of a command that can't be started, as far as its name tells; 0 if it may be."""
    path = env.get("PATH", os.defpath)
    if shutil.which(word, path=path):
        return 0
    return NOT_EXECUTABLE if shutil.which(word, os.F_OK, path) else NOT_FOUND


class Children:
    """Takes the signals of this process over, until its end. `received`: those that ask to end. `typed`: one of them
    came from the terminal."""

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
        self.received: list[int] = []
        self.typed = False
        self._terminal = Terminal()
        self._told_to_stop = False

    def run(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        *,
        outputs: Mapping[int, int] | None = None,
        foreground: bool = False,
        tick: float = 5.0,
        on_tick: Callable[[], object] = lambda: None,
    ) -> int:
        """Runs a command to its end; `outputs`: which of its descriptors goes into which of ours; `foreground`: it gets
        the terminal. Returns its exit code, or 128 + n if signal n ended it. `on_tick` is called about every `tick`
        seconds; it must not raise.

        Raises OSError when the command can't be started.
        """
        actions = [(os.POSIX_SPAWN_DUP2, ours, its) for its, ours in (outputs or {}).items()]
        child = os.posix_spawnp(
            words[0], list(words), dict(env),
            file_actions=actions, setpgroup=0, setsigmask=[], setsigdef=[signal.SIGPIPE],
        )  # fmt: skip
        if foreground and self._terminal.lend(child):
            os.killpg(child, signal.SIGCONT)  # it may have read before the terminal was its own, and stands still
        due = time.monotonic() + tick
        while True:
            code = self._reap(child, foreground=foreground)
            if code is not None:
                self._terminal.take_back()
                return code
            self.pause(max(0.0, due - time.monotonic()), to=child)
            if time.monotonic() >= due:
                on_tick()
                due = time.monotonic() + tick

    def pause(self, seconds: float, to: int | None = None) -> None:
        """Waits, at most so long, for a signal; passes it on to the process `to`, and what was typed at the terminal
        to all of its group, as the terminal would."""
        found = signal.sigtimedwait(PASSED_ON | {signal.SIGCHLD}, seconds)
        if found is None:
            return
        if found.si_signo == signal.SIGCHLD:
            if to is None:
                self._reap(None)
            return
        typed = found.si_code == _BY_THE_KERNEL and found.si_signo != signal.SIGHUP
        if found.si_signo in ENDING:
            self.received.append(found.si_signo)
            self.typed |= typed
        self._told_to_stop |= found.si_signo == signal.SIGTSTP
        if to is None:
            if found.si_signo == signal.SIGTSTP:
                self._stop()
        elif typed:
            os.killpg(to, found.si_signo)
        else:
            os.kill(to, found.si_signo)  # not reaped yet, so the number is still its own

    def _reap(self, child: int | None, *, foreground: bool = False) -> int | None:
        """Every child that has ended: in a container this process inherits those of others. The exit code of `child`,
        if it is among them."""
        code = None
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return code
            if process == 0:
                return code
            if process != child:
                continue
            if os.WIFSTOPPED(status):
                self._stand_still(child, os.WSTOPSIG(status), foreground=foreground)
            else:
                ended = os.waitstatus_to_exitcode(status)
                code = 128 - ended if ended < 0 else ended

    def _stand_still(self, child: int, by: int, *, foreground: bool) -> None:
        """The child has been stopped. From the terminal, then this process stops as well, for the shell to see, and
        both go on together; by anybody else, whoever stopped it goes on with it."""
        reads = by in (signal.SIGTTIN, signal.SIGTTOU)
        if not (reads and foreground and self._terminal.lend(child)):
            if not (self._terminal.is_lent or reads or self._told_to_stop):
                return
            self._terminal.take_back()
            self._stop()
            if foreground:
                self._terminal.lend(child)
        if reads:
            time.sleep(_READS_AGAIN)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGCONT)

    def _stop(self) -> None:
        """Until SIGCONT. Where no shell could go on with it, the kernel does not stop it at all."""
        self._told_to_stop = False
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
        os.killpg(0, signal.SIGTSTP)  # with a script around it, as the terminal would
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
