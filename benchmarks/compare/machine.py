"""Where a run took place, and of what."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from benchmarks.compare.results import Machine
from ckpt_tier.system.mounts import mount_of

REPOSITORY = Path(__file__).parents[2]


def this_machine(folder: Path) -> Machine:
    """`folder`: where the files lie."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 0,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        python=platform.python_version(),
        file_system=mount_of(folder).kind,
    )


def our_versions() -> dict[str, str]:
    from tests.minio import VERSION

    return {"ckpt-tier": version("ckpt-tier"), "torch": version("torch"), "minio (server)": VERSION}


def commit() -> str:
    """What is measured, with a mark if files were changed since."""
    head = _git("rev-parse", "--short=12", "HEAD")
    # The results and their page grow while the items are measured.
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results.json", ":!docs")
    return f"{head or 'unknown'}{' with changes' if changed else ''}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
