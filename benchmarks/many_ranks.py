"""One checkpoint from many ranks: uploaders that have nothing in common but the store, and one manifest in the end.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
        python benchmarks/many_ranks.py s3://bucket/prefix --endpoint-url http://127.0.0.1:9000 \
        [--ranks 64] [--files 1] [--json]

Each rank has a hot folder, a journal and a worker of its own, and saves `--files` files of 4 MB. A few sync at the same
time, more than there are cores. Checks that there is one manifest with every rank in it and that random ranks come back
byte-identical; prints when it was committed, and by the store's own clock how long after the last receipt.
"""

import argparse
import hashlib
import os
import random
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from json_figures import print_figures

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
        f'run = "{run}"\nstate_dir = "state"\n[hot]\npath = "checkpoints"\nlayout = "step_{{step}}/"\n'
        f'min_free = "1MB"\n[cold]\nurl = "{url}"\nendpoint_url = "{endpoint_url}"\n'
    )
    return load(folder / "ckpt-tier.toml", env=os.environ, cwd=folder)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(config: Config, rank: int, files: int, ranks: int) -> dict[str, str]:
    """Saves a rank's share and hands it over; the SHA-256 by file name."""
    folder = config.hot.path / f"step_{STEP}"
    folder.mkdir()
    for number in range(files):
        torch.save({"rank": rank, "w": torch.randn(1_000_000)}, folder / f"rank_{rank}_{number}.pt")
    Tier(config).saved(folder, STEP, rank=rank, world_size=ranks, save_id="one")
    return {path.name: sha256(path) for path in folder.iterdir()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--endpoint-url", required=True)
    parser.add_argument("--ranks", type=int, default=64)
    parser.add_argument("--files", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    committed_at: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, Committed) and not event.adopted:
            committed_at.append(time.monotonic())

    with tempfile.TemporaryDirectory() as name:
        run = f"ranks-{os.getpid()}"
        places = [Path(name, str(rank)) for rank in range(arguments.ranks)]
        configs = [configured(place, run, arguments.url, arguments.endpoint_url) for place in places]
        sums: dict[int, dict[str, str]] = {}
        uploaded_at: list[float] = []

        def sync(config: Config) -> None:
            with Wiring(config).syncing(note, "benchmark") as syncing:
                syncing.run_until_idle()

        def save_and_sync(rank: int) -> None:
            # The files are made here and removed here: all ranks' at once would need the disk of all their machines.
            sums[rank] = save(configs[rank], rank, arguments.files, arguments.ranks)
            sync(configs[rank])
            uploaded_at.append(time.monotonic())
            shutil.rmtree(configs[rank].hot.path)
            configs[rank].hot.path.mkdir()

        begun = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(save_and_sync, range(arguments.ranks)))
        wiring = Wiring(configs[0])
        wiring.begin_run()
        [entry] = wiring.cold.manifests.entries("main")
        manifest = wiring.cold.manifests.read_fresh(entry)
        assert [member.rank for member in manifest.members] == list(range(arguments.ranks))
        objects = {stat.key: stat.modified for stat in wiring.store.list(f"{run}/")}
        last_receipt = max(at for key, at in objects.items() if "/receipts/" in key)
        [committed] = [at for key, at in objects.items() if "/manifests/" in key]
        for rank in random.Random(7).sample(range(arguments.ranks), min(5, arguments.ranks)):
            [back] = Operations(wiring).restore(note, step=STEP, rank=rank, to=Path(name, f"back-{rank}"))
            assert {path.name: sha256(back.root / path) for path in back.files} == sums[rank]
            shutil.rmtree(Path(name, f"back-{rank}"))
    if arguments.json:
        found = {
            "ranks": (arguments.ranks, ""),
            "files of each": (arguments.files, ""),
            "all uploaded and committed": (max(uploaded_at) - begun, "s"),
            "manifest after the last receipt": (committed - last_receipt, "s"),
        }
        print_figures([{"name": name, "value": value, "unit": unit} for name, (value, unit) in found.items()])
        return
    print(f"{arguments.ranks} uploaders, one manifest with {len(manifest.members)} members, {len(committed_at)} new")
    print(f"all uploaded and committed in {max(uploaded_at) - begun:.1f} s")
    print(
        f"the manifest came {committed - last_receipt:.3f} s after the last receipt; random ranks came back identical"
    )


if __name__ == "__main__":
    main()
