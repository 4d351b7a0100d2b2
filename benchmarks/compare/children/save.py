"""Saving: how long training waits for it, and how long until the file is whole.

    python -m benchmarks.compare.children.save HOW FOLDER BYTES

HOW: torch.save, dcp.async_save, tier.save (atomic, flushed, handed over), or hook (torch.save, then `Tier.saved`).
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.compare.children.job import cpu_seconds, tell

STEP = 5000
_TENSORS = 8
Saving = Callable[[], Callable[[], object]]
"""Saves, and gives what waits for the end."""


def torch_save(folder: Path, state: dict[str, Any]) -> Saving:
    import torch

    def save() -> Callable[[], object]:
        torch.save(state, folder / f"step_{STEP}.pt")
        return lambda: None

    return save


def dcp_async_save(folder: Path, state: dict[str, Any]) -> Saving:
    import torch.distributed
    from torch.distributed.checkpoint.state_dict_saver import async_save

    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=0, world_size=1)

    def save() -> Callable[[], object]:
        future: Any = async_save(state, checkpoint_id=str(folder / f"step_{STEP}"))
        return lambda: future.result()

    return save


def tier_save(folder: Path, state: dict[str, Any]) -> Saving:
    import ckpt_tier

    tier = ckpt_tier.open(folder / "ckpt-tier.toml", worker=False)

    def save() -> Callable[[], object]:
        tier.save(state, STEP)
        return lambda: None

    return save


def hook(folder: Path, state: dict[str, Any]) -> Saving:
    import torch

    import ckpt_tier

    tier = ckpt_tier.open(folder / "ckpt-tier.toml", worker=False)

    def save() -> Callable[[], object]:
        path = folder / "hot" / f"step_{STEP}.pt"
        torch.save(state, path)
        tier.saved(path, STEP)
        return lambda: None

    return save


WAYS: dict[str, Callable[[Path, dict[str, Any]], Saving]] = {
    "torch.save": torch_save,
    "dcp.async_save": dcp_async_save,
    "tier.save": tier_save,
    "hook": hook,
}


def main() -> None:
    import torch

    way, folder, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    state = {f"layer{index}": torch.randn(size // _TENSORS // 4) for index in range(_TENSORS)}
    save = WAYS[way](folder, state)
    begun, before = time.perf_counter(), cpu_seconds()
    wait = save()
    blocked = time.perf_counter() - begun
    wait()
    done = time.perf_counter() - begun
    spent = cpu_seconds() - before
    tell({"transfer_cpu": spent, "transfer_wall": done, "blocked_wall": blocked})


if __name__ == "__main__":
    main()
