"""The training processes and the worker as the demo sees them: start, follow, end."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ckpt_tier.demo.messages import Ended, Stepped, Task
from ckpt_tier.errors import CkptTierError

_PATIENCE = 5.0
"""Seconds that a process gets to end by itself once it was asked to."""


class Training:
    """A training process and what it has reported so far."""

    def __init__(self, task: Task, *, env: dict[str, str], log: Path, nice: int = 0) -> None:
        self.losses: dict[int, str] = {}
        self.step = 0
        self.loss: float | None = None
        self.saves: list[Stepped] = []
        self.digest: str | None = None
        self._log = log
        with log.open("ab") as errors:
            # In a session of its own: a Ctrl-C reaches the demo alone, which then ends what it has started.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ckpt_tier.demo.training", msgspec.json.encode(task).decode()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=env,
                start_new_session=True,
            )
        if nice:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, nice)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def result(self, expected: int = 0) -> None:
        """Waits for the end. Raises CkptTierError unless the exit status is `expected` (negative: a signal)."""
        status = self._process.wait()
        self._reader.join()
        if status != expected:
            raise CkptTierError(
                f"the training process ended with status {status} instead of {expected}", last_lines(self._log)
            )

    def end(self) -> None:
        """Kills the process if it still runs."""
        if self.is_running():
            self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            report = msgspec.json.decode(line, type=Stepped | Ended)
            if isinstance(report, Ended):
                self.digest = report.digest
                continue
            self.losses[report.step] = report.loss
            self.step, self.loss = report.step, float.fromhex(report.loss)
            if report.saved_bytes:
                self.saves.append(report)


def end_workers(config_file: Path, lock_holder: Callable[[], int | None]) -> None:
    """Ends the worker that runs for this configuration: asks it to, and kills it if it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        asked = time.monotonic()
        told: set[int] = set()
        while running := _workers(config_file, lock_holder):
            for process in running - told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
            told |= running
            if time.monotonic() - asked > _PATIENCE:
                break
            time.sleep(0.05)
        else:
            return


def last_lines(log: Path, count: int = 3) -> str:
    """The end of a log on one line, for an error message; empty if there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return " / ".join(line.strip() for line in lines[-count:] if line.strip())


def _workers(config_file: Path, lock_holder: Callable[[], int | None]) -> set[int]:
    """The processes that were started with this configuration, which is the demo's alone, and the lock's holder: the
    one also finds a worker that does not hold the lock yet, the other works where there is no /proc."""
    found = {holder} if (holder := lock_holder()) else set()
    ending = os.fsencode(f"--config\0{config_file}\0")
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if entry.read_bytes().endswith(ending):
                found.add(int(entry.parent.name))
    return found
