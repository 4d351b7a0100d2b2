"""`shutil.copyfile` from one folder into another; the keys are paths there."""

import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.compare.children.job import Job, each, run


def prepare(job: Job) -> Callable[[], object]:
    def copy(key: str, path: Path) -> None:
        Path(key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, key)

    return lambda: each(job, copy)


if __name__ == "__main__":
    run(prepare)
