"""What a measured program is told, and what it tells."""

import json
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple


class Job(NamedTuple):
    """Files to be moved between a folder and a bucket; `files` are (key, path)."""

    direction: str
    endpoint_url: str
    bucket: str
    certificate: str | None
    files: list[tuple[str, Path]]
    settings: dict[str, Any]

    @property
    def is_up(self) -> bool:
        return self.direction == "up"


def run(prepare: Callable[[Job], Callable[[], object]]) -> None:
    """Reads the job that the command line names, prepares (imports and client, no request), then transfers; prints what
    the transfer took."""
    told = json.loads(Path(sys.argv[1]).read_text())
    files = [(key, Path(path)) for key, path in told.pop("files")]
    transfer = prepare(Job(files=files, **told))
    begun, before = time.perf_counter(), cpu_seconds()
    transfer()
    tell({"transfer_cpu": cpu_seconds() - before, "transfer_wall": time.perf_counter() - begun})


def tell(seconds: dict[str, float]) -> None:
    """For the measuring process: the last line of the output."""
    print(json.dumps(seconds))


def cpu_seconds() -> float:
    """Of this process and its finished children."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def each(job: Job, move: Callable[[str, Path], object]) -> None:
    """Moves the files one after the other, or as many at once as the settings say."""
    at_once = job.settings.get("files_at_once", 1)
    if at_once == 1:
        for key, path in job.files:
            move(key, path)
        return
    with ThreadPoolExecutor(at_once) as pool:
        for future in [pool.submit(move, key, path) for key, path in job.files]:
            future.result()
