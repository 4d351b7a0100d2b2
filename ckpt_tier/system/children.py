"""A child process, looked after as an init would: signals passed on, the dead reaped, its end told as a shell tells it.

For the main thread of a program that has nothing else to do. The signals are blocked and waited for, not handled: so
none is lost between two looks, and no handler runs at a bad moment.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence

PASSED_ON = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
)
ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
NOT_EXECUTABLE = 126
NOT_FOUND = 127
"""Exit codes of a command that could not be started: POSIX, Shell Command Language, 2.8.2."""
_BY_THE_KERNEL = 0x80
"""`si_code` of what a terminal sends (SI_KERNEL, sigaction(2)): it goes to the whole foreground process group, so the
child has it already."""


class Children:
    """Takes the signals of this process over, until its end; `received` are those that ask to end."""

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
        self.received: list[int] = []

    def run(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        *,
        outputs: Mapping[int, int] | None = None,
        tick: float = 5.0,
        on_tick: Callable[[], object] = lambda: None,
    ) -> int:
        """Runs a command to its end; `outputs`: which of its descriptors goes into which of ours. Returns its exit
        code, or 128 + n if signal n ended it. `on_tick` is called about every `tick` seconds; it must not raise.

        Raises OSError when the command can't be started.
        """
        actions = [(os.POSIX_SPAWN_DUP2, ours, its) for its, ours in (outputs or {}).items()]
        child = os.posix_spawnp(
            words[0], list(words), dict(env), file_actions=actions, setsigmask=[], setsigdef=[signal.SIGPIPE]
        )
        due = time.monotonic() + tick
        while True:
            code = self._reap(child)
            if code is not None:
                return code
            self.pause(max(0.0, due - time.monotonic()), to=child)
            if time.monotonic() >= due:
                on_tick()
                due = time.monotonic() + tick

    def pause(self, seconds: float, to: int | None = None) -> None:
        """Waits, at most so long, for a signal; passes it on to the process `to`."""
        found = signal.sigtimedwait(PASSED_ON | {signal.SIGCHLD}, seconds)
        if found is None:
            return
        if found.si_signo == signal.SIGCHLD:
            if to is None:
                self._reap(0)
            return
        if found.si_signo in ENDING:
            self.received.append(found.si_signo)
        from_terminal = found.si_code == _BY_THE_KERNEL and found.si_signo in (signal.SIGINT, signal.SIGQUIT)
        if to is not None and not from_terminal:
            os.kill(to, found.si_signo)  # not reaped yet, so the number is still its own

    def _reap(self, child: int) -> int | None:
        """Every child that has ended: in a container this process inherits those of others. The exit code of `child`,
        if it is among them."""
        code = None
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return code
            if process == 0:
                return code
            if process == child:
                ended = os.waitstatus_to_exitcode(status)
                code = 128 - ended if ended < 0 else ended
