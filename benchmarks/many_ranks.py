"""One checkpoint from many ranks: uploaders that have nothing in common but the store, and one manifest in the end.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
        python benchmarks/many_ranks.py s3://bucket/prefix --endpoint-url http://127.0.0.1:9000 [--ranks 64]

Each rank has a hot folder, a journal and a worker of its own, and saves one file of 4 MB. All sync at the same time, a
few more at once than there are cores. Checks that there is one manifest with every rank in it and that random ranks
come back byte-identical; prints when it was committed.
"""

import argparse
import hashlib
import os
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from ckpt_tier.config import Config, load
from ckpt_tier.core.events import Committed, Event
from ckpt_tier.operations import Operations
from ckpt_tier.tier import Tier
from ckpt_tier.wiring import Wiring

STEP = 5000
AT_ONCE = 8


def configured(folder: Path, run: str, url: str, endpoint_url: str) -> Config:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "ckpt-tier.toml").write_text(
        f'run = "{run}"\nstate_dir = "state"\n[hot]\npath = "checkpoints"\nlayout = "step_{{step}}.pt"\n'
        f'min_free = "1MB"\n[cold]\nurl = "{url}"\nendpoint_url = "{endpoint_url}"\n'
    )
    return load(folder / "ckpt-tier.toml", env=os.environ, cwd=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--endpoint-url", required=True)
    parser.add_argument("--ranks", type=int, default=64)
    arguments = parser.parse_args()
    committed_at: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, Committed) and not event.adopted:
            committed_at.append(time.monotonic())

    with tempfile.TemporaryDirectory() as name:
        run = f"ranks-{os.getpid()}"
        configs, sums = [], []
        for rank in range(arguments.ranks):
            config = configured(Path(name, str(rank)), run, arguments.url, arguments.endpoint_url)
            path = config.hot.path / f"step_{STEP}.pt"
            torch.save({"rank": rank, "w": torch.randn(1_000_000)}, path)
            sums.append(hashlib.sha256(path.read_bytes()).hexdigest())
            Tier(config).saved(path, STEP, rank=rank, world_size=arguments.ranks, save_id="one")
            configs.append(config)
        uploaded_at: list[float] = []

        def sync(config: Config) -> None:
            with Wiring(config).syncing(note, "benchmark") as syncing:
                syncing.run_until_idle()
            uploaded_at.append(time.monotonic())

        begun = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(sync, configs))
        [entry] = Wiring(configs[0]).cold.manifests.entries("main")
        manifest = Wiring(configs[0]).cold.manifests.read_fresh(entry)
        assert [member.rank for member in manifest.members] == list(range(arguments.ranks))
        for rank in random.Random(7).sample(range(arguments.ranks), 5):
            operations = Operations(Wiring(configs[0]))
            [back] = operations.restore(note, step=STEP, rank=rank, to=Path(name, f"back-{rank}"))
            assert hashlib.sha256(back.files[0].read_bytes()).hexdigest() == sums[rank]
        print(
            f"{arguments.ranks} uploaders, one manifest with {len(manifest.members)} members, {len(committed_at)} new"
        )
        print(f"all uploaded and committed in {max(uploaded_at) - begun:.1f} s")
        print(
            f"committed {committed_at[0] - begun:.1f} s after the first began; 5 random ranks restored byte-identical"
        )
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(sync, configs))
        assert len(list(Wiring(configs[0]).cold.manifests.entries("main"))) == 1
        print("every worker finds its share committed in its next pass; still one manifest")


if __name__ == "__main__":
    main()
