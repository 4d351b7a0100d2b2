"""ckpt-tier without its command line: the store's `upload` of files that are already validated, or a restore.

What validation takes is told apart: the one read with everything (`check`), and within it SHA-256 by itself (`sha256`).
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.compare.children.job import cpu_seconds, tell

STEP = 5000


class Unlimited:
    """A `Watch` that watches nothing."""

    def moved(self, count: int) -> None:
        pass

    def resumed(self, count: int) -> None:
        pass


def upload(folder: Path, names: list[str]) -> dict[str, float]:
    from ckpt_tier.config import load
    from ckpt_tier.errors import MissingKeyError
    from ckpt_tier.flow.line import JOBS
    from ckpt_tier.formats.check import Level
    from ckpt_tier.formats.validate import validate
    from ckpt_tier.store.protocol import Source
    from ckpt_tier.system.streams import at_once
    from ckpt_tier.wiring import Wiring

    config = load(folder / "ckpt-tier.toml", env=os.environ, cwd=folder)
    store = Wiring(config).store
    hot = config.hot.path
    sha_cpu = cpu_seconds()
    for name in names:
        with (hot / name).open("rb") as file:
            hashlib.file_digest(file, "sha256")
    sha_cpu = cpu_seconds() - sha_cpu
    check_wall, check_cpu = time.perf_counter(), cpu_seconds()
    found = {name: validate(hot / name, level=Level.FULL) for name in names}
    check_wall, check_cpu = time.perf_counter() - check_wall, cpu_seconds() - check_cpu
    sources = [
        (f"{config.run}/{name}", Source(hot / name, good.size, good.crc64nvme, good.pieces))
        for name, good in found.items()
    ]
    with contextlib.suppress(MissingKeyError):  # imports and the client, which peers have made before, too
        store.stat(f"{config.run}/nothing")
    begun, before = time.perf_counter(), cpu_seconds()
    # Small ones several at a time, as `flow.upload` does.
    small = [each for each in sources if len(each[1].pieces.crcs) == 1]
    at_once(lambda each: store.upload(*each, Unlimited()), small, JOBS)
    for key, source in sources:
        if len(source.pieces.crcs) > 1:
            store.upload(key, source, Unlimited())
    return {
        "transfer_cpu": cpu_seconds() - before,
        "transfer_wall": time.perf_counter() - begun,
        "check_cpu": check_cpu,
        "check_wall": check_wall,
        "sha256_cpu": sha_cpu,
    }


def restore(folder: Path, to: Path) -> dict[str, float]:
    from ckpt_tier.config import load
    from ckpt_tier.errors import MissingKeyError
    from ckpt_tier.operations import Operations
    from ckpt_tier.wiring import Wiring

    config = load(folder / "ckpt-tier.toml", env=os.environ, cwd=folder)
    wiring = Wiring(config)
    with contextlib.suppress(MissingKeyError):  # imports and the client, which peers have made before, too
        wiring.store.stat(f"{config.run}/nothing")
    begun, before = time.perf_counter(), cpu_seconds()
    Operations(wiring).restore(lambda event: None, step=STEP, to=to)
    return {"transfer_cpu": cpu_seconds() - before, "transfer_wall": time.perf_counter() - begun}


def main() -> None:
    told = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(told["folder"])
    if told["direction"] == "up":
        tell(upload(folder, told["names"]))
    else:
        tell(restore(folder, Path(told["to"])))


if __name__ == "__main__":
    main()
