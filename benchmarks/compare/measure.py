"""Runs a command and measures it from outside: wall time, CPU seconds and anonymous memory, descendants included."""

import contextlib
import ctypes
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from benchmarks.compare.errors import FailedError

SAMPLE_EVERY = 0.02
PR_SET_CHILD_SUBREAPER = 36
_LONGEST = 3 * 3600.0
_TAIL = 1500


class Command(msgspec.Struct, frozen=True):
    """What is started. The environment is whole: nothing is inherited."""

    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


class Measured(msgspec.Struct, frozen=True):
    """What one run of a command took."""

    wall_seconds: float
    cpu_seconds: float
    peak_anonymous_bytes: int
    output: str


def measure(command: Command, *, longest: float = _LONGEST) -> Measured:
    """Runs the command to its end. Raises FailedError when it fails or takes too long."""
    adopt_orphans()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command.arguments,
            cwd=command.folder,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        with _watched(process.pid, longest) as watch:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu = usage.ru_utime + usage.ru_stime + _orphans(watch.seen - {process.pid})
        output, complaint = _text(out), _text(err)
    if process.returncode != 0:
        said = f"{output.strip()[-_TAIL:]}\n{complaint.strip()[-_TAIL:]}".strip()
        raise FailedError(f"exit code {process.returncode}: {said}")
    return Measured(wall, cpu, watch.peak, output)


def adopt_orphans() -> None:
    """Makes this process the parent of what measured processes leave behind, so that its CPU seconds are not lost
    (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def _orphans(pids: set[int]) -> float:
    """CPU seconds of descendants that outlived the command and became our children."""
    seconds = 0.0
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            _, _, usage = os.wait4(pid, 0)
            seconds += usage.ru_utime + usage.ru_stime
    return seconds


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


class Watch:
    """Follows the memory of a tree of processes."""

    def __init__(self) -> None:
        self.peak = 0
        self.seen: set[int] = set()

    def look(self, root: int) -> None:
        tree = set(descendants(root))
        self.seen |= tree
        self.peak = max(self.peak, sum(map(anonymous_bytes, tree)))


@contextlib.contextmanager
def _watched(pid: int, longest: float) -> Iterator[Watch]:
    watch = Watch()
    over = threading.Event()
    deadline = time.monotonic() + longest

    def follow() -> None:
        while not over.wait(SAMPLE_EVERY):
            watch.look(pid)
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
                return

    watch.look(pid)
    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()


def descendants(pid: int) -> Iterator[int]:
    """The process and everything below it, as far as it is still there."""
    yield pid
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 (every 20 ms: this is the cheap one)
    except FileNotFoundError:
        return
    for thread in threads:
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                yield from descendants(int(child))


def anonymous_bytes(pid: int) -> int:
    """RssAnon: what the process has in memory that is no file's. 0 if it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", "rb") as status:  # noqa: PTH123
        for line in status:
            if line.startswith(b"RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(pid: int) -> float:
    """What a running process has taken so far, its threads included; 10 ms precise."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loopback_bytes() -> int:
    """What the loopback interface has carried since boot."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[0])
    return 0
