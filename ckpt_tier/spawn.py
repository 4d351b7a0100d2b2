"""Starting the worker as a process of its own, so that training's death, memory and GIL are not shared with it."""

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ckpt_tier.config import Config
from ckpt_tier.system.log_files import rotate

LOG_NAME = "worker.log"
FOR_TRAINING = "--for-training"
LOG_BYTES = 10_000_000
LOGS_KEPT = 3


def start_worker(config: Config, overrides: Mapping[str, str]) -> int:
    """Starts ``ckpt-tier sync --watch`` in a new session and returns its process id at once.

    If another worker holds the folder's lock by the time it looks, the new one ends quietly. Its output, a crash's
    last words included, goes to ``worker.log`` in the configuration's `state_dir`, which it rotates itself. It inherits
    no descriptor. Raises OSError.
    """
    config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = config.state_dir / LOG_NAME
    command = [sys.executable, "-m", "ckpt_tier", "sync", "--watch", FOR_TRAINING]
    if config.file is not None:
        command += ["--config", str(config.file)]
    return os.posix_spawn(
        sys.executable,
        command,
        {**os.environ, **overrides},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()),
        ],
        setsid=True,
        setsigmask=[],
    )


def rotate_log(state_dir: Path) -> None:
    """Begins a new ``worker.log`` when the old one is large; three old ones are kept. Only in a process whose output
    is that file: of all others (a terminal, a service's journal) nothing is touched. Raises OSError."""
    rotate(state_dir / LOG_NAME, (1, 2), limit=LOG_BYTES, keep=LOGS_KEPT)


def _inheritable() -> list[int]:
    """This process's descriptors, beyond the standard ones, that a new program would inherit."""
    found = []
    for name in (entry.name for entry in Path("/dev/fd").iterdir()):
        with contextlib.suppress(OSError):  # closed meanwhile
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
    return found
