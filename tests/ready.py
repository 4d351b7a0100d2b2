"""Processes that import everything, print "ready" and wait for a line on their standard input: so several begin at the
same moment, and a kill comes in the middle of what counts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def started(
    script: str,
    *arguments: object,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    stderr: int | None = None,
) -> "subprocess.Popen[str]":
    """A process that runs a script of Python, and will be ready."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def wait_for(*processes: "subprocess.Popen[str]") -> None:
    """Returns once all of them are ready."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"


def go(*processes: "subprocess.Popen[str]") -> None:
    """Gives the word to all of them, once all are ready."""
    wait_for(*processes)
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def killed_after(process: "subprocess.Popen[str]", seconds: float) -> str:
    """Gives the word, kills the process after so long, and returns what it had printed."""
    go(process)
    return killed_after_that(process, seconds)


def killed_after_that(process: "subprocess.Popen[str]", seconds: float) -> str:
    """The same for one that has its word already."""
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    return process.communicate()[0]
