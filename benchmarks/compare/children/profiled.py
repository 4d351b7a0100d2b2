"""Runs `ckpt-tier` with the arguments given, and samples where its threads spend their CPU time.

Every few milliseconds each thread's own CPU clock is read, and what it took since the last look is put down to where it
is now: the innermost function, and the innermost one of ckpt_tier. Writes JSON to the file that comes first.

Looking needs the interpreter's lock, which a thread lets go where it waits: so what short calls took is put down to the
system call that follows them. The lines of ckpt_tier are right, the innermost functions a hint.
"""

import collections
import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType

EVERY = 0.004
SWITCH_EVERY = 0.0005
"""A tenth of what it is by itself: how long a computing thread keeps the one that looks waiting."""


def _name(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{'/'.join(path.parts[-2:])}:{frame.f_code.co_name}"


def _ours(frame: FrameType | None) -> str:
    while frame is not None:
        if f"{os.sep}ckpt_tier{os.sep}" in frame.f_code.co_filename:
            return f"{_name(frame)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def sample(into: "collections.defaultdict[str, float]", over: threading.Event) -> None:
    clocks: dict[int, float] = {}
    me = threading.get_ident()
    while not over.wait(EVERY):
        for ident, frame in sys._current_frames().items():
            if ident == me:
                continue
            with contextlib.suppress(OSError):
                now = time.clock_gettime(time.pthread_getcpuclockid(ident))
                before = clocks.get(ident, 0.0)
                # An identity is used again once its thread has ended: then the clock is behind.
                into[f"{_ours(frame)} > {_name(frame)}"] += now - (before if before <= now else 0.0)
                clocks[ident] = now


def main() -> None:
    target = Path(sys.argv[1])
    del sys.argv[1]
    sys.setswitchinterval(SWITCH_EVERY)
    counted: collections.defaultdict[str, float] = collections.defaultdict(float)
    over = threading.Event()
    thread = threading.Thread(target=sample, args=(counted, over), daemon=True)
    thread.start()
    try:
        from ckpt_tier.cli import main as cli

        cli()
    finally:
        over.set()
        thread.join()
        target.write_text(
            json.dumps(
                {"cpu_seconds": time.process_time(), "lines": sorted(counted.items(), key=lambda line: -line[1])}
            )
        )


if __name__ == "__main__":
    main()
