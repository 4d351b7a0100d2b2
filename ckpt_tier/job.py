"""What a process knows of the training it is part of, without asking the other processes: no call is a collective."""

import sys
import threading
from collections.abc import Mapping

from ckpt_tier.core.nouns import Pass

SAVE_ID = "CKPT_TIER_SAVE_ID"
"""Set by whoever starts the training, anew for each start: what it says is not doubted."""
_JOB_IDS = (
    # https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables
    ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"),
    # https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES
    ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
)
_NO_JOB = "none"
"""torchrun's id of a job that was given none: every such job has it."""


def job_id(env: Mapping[str, str]) -> str | None:
    """What torchrun or Slurm call the job: the same for all processes of one start of the training; None if neither
    started it."""
    for first, *others in _JOB_IDS:
        if env.get(first) and env[first] != _NO_JOB:
            return "-".join([env[first], *(env.get(name) or "0" for name in others)])
    return None


def world_size_here(env: Mapping[str, str]) -> int | None:
    """How many processes train, by torch.distributed or WORLD_SIZE; None if nothing tells."""
    return _from_torch("get_world_size") or _number(env.get("WORLD_SIZE"))


def own_rank(env: Mapping[str, str]) -> int | None:
    """This process's rank, by torch.distributed or RANK; None if nothing tells."""
    rank = _from_torch("get_rank")
    return rank if rank is not None else _number(env.get("RANK"))


def _from_torch(question: str) -> int | None:
    distributed = sys.modules.get("torch.distributed")  # whoever uses it has imported it
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return int(getattr(distributed, question)())


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


class Passes:
    """Counts the passes of a training: a step that does not grow begins a new one. Safe to use from several threads."""

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._last: dict[tuple[str, int | None], tuple[int, int]] = {}
        self._lock = threading.Lock()

    def of(self, series: str, rank: int | None, step: int) -> Pass:
        """The pass that a save of `step`, made now, belongs to."""
        with self._lock:
            last, number = self._last.get((series, rank), (-1, 0))
            number += step <= last
            self._last[series, rank] = (step, number)
        return Pass(number=number, started_at=self._started_at)
