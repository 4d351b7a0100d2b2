"""Checkpoints as trainers write them, and a reader over bytes."""

import argparse
import collections
import dataclasses
import enum
import io
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ckpt_tier.core.findings import Findings
from ckpt_tier.formats.check import Level
from ckpt_tier.formats.detect import check_for
from ckpt_tier.formats.reader import FileReader


class Phase(enum.Enum):
    WARM_UP = "warm-up"
    DECAY = "decay"


@dataclasses.dataclass
class Settings:
    rate: float
    phase: Phase
    path: Path


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self) -> None:
        self.a, self.b = 1, [2]


class WithState:
    def __getstate__(self) -> tuple[int, str]:
        return (1, "x")

    def __setstate__(self, state: tuple[int, str]) -> None:
        self.state = state


class Rows(list[int]):
    pass


class Table(dict[str, int]):
    pass


def _set_state(thing: Any, state: Any) -> None:
    thing.__dict__.update(state)


class SixTuple:
    def __reduce_ex__(self, protocol: Any) -> Any:
        return (SixTuple, (), {"x": 1}, None, None, _set_state)


class Outer:
    class Inner:
        pass


def training_state() -> dict[str, Any]:
    """What a training script saves: model, optimizer with momentum, schedules, RNG states, arguments, oddities."""
    model = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    adam = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 16)).sum().backward()
    optimizer.step()
    adam.step()
    tied = torch.nn.Parameter(torch.randn(8, 8))
    nested = collections.defaultdict(list)
    nested["losses"].append(np.float64(0.5))
    return {
        "model": model.state_dict(),
        "whole": model,
        "optimizer": optimizer.state_dict(),
        "adam": adam.state_dict(),
        "args": argparse.Namespace(rate=0.1, out=Path("/data/out"), phase=Phase.DECAY),
        "settings": Settings(0.1, Phase.WARM_UP, Path("x")),
        "rng": {
            "python": random.getstate(),
            "numpy": np.random.get_state(),
            "generator": np.random.default_rng(1).bit_generator.state,
            "torch": torch.get_rng_state(),
        },
        "numpy": [np.float32(1.5), np.int64(3), np.arange(6).reshape(2, 3), np.array(["a", "b"])],
        "tied": {"in": tied, "out": tied, "row": tied[2], "column": tied.detach()[:, 1]},
        "dtypes": [torch.ones(3, dtype=d) for d in (torch.bfloat16, torch.float16, torch.complex64, torch.int64)],
        "fp8": torch.ones(5).to(torch.float8_e4m3fn),
        "u16": torch.zeros(3, dtype=torch.uint16),
        "empty": torch.empty(0),
        "scalar": torch.tensor(1.0),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.empty(3, device="meta"),
        "ordered": collections.OrderedDict(a=1),
        "counter": collections.Counter("abc"),
        "deque": collections.deque([1, 2], maxlen=3),
        "odd": [Slotted(), WithState(), Rows([1, 2]), Table(a=1), SixTuple(), Outer.Inner(), {1, 2}, frozenset({3})],
        "nested": nested,
        "bytes": b"\x00\xff",
        "types": (torch.float32, torch.device("cpu"), torch.Size([1, 2]), int, complex(1, 2), range(3), slice(1, 2)),
        "keys": {np.int64(1): 1, (1, "a"): 2, Phase.DECAY: 3},
    }


def small_state() -> dict[str, Any]:
    """A few hundred bytes in each record."""
    torch.manual_seed(0)
    return {"weight": torch.randn(9, 7), "bias": torch.randn(7), "half": torch.ones(3).half(), "step": 7}


def saved(state: object, **options: Any) -> bytes:
    """torch.save to bytes."""
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


def check_bytes(data: bytes, level: Level = Level.FULL, name: str = "model.pt", block: int = 97) -> Findings:
    """Runs the check over `data`, fed in blocks of `block` bytes; raises Rejected."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        reader = FileReader(file.fileno(), os.fstat(file.fileno()).st_size)
        check = check_for(name, reader, level)
        for offset in range(0, len(data), block):
            check.feed(offset, memoryview(data)[offset : offset + block])
        return check.finish()
