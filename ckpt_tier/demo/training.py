"""A small real training, as a process of its own: ``python -m ckpt_tier.demo.training TASK``.

A language model of half a million weights learns to continue synthetic sentences. Batches and dropout both draw from
torch's random state, so a resumed run is the same run only if that state came back exactly. Each step is reported
as one JSON line on stdout.
"""

import ctypes
import hashlib
import os
import signal
import sys
import time
from typing import Any

import msgspec
import torch

import ckpt_tier
from ckpt_tier.demo.ground import disk_use
from ckpt_tier.demo.messages import Ended, Stepped, Task

VOCABULARY = 64
WIDTH = 128
LAYERS = 2
LENGTH = 16
BATCH = 4
SEED = 20_250_907
WAIT_AT_MOST = 300.0
"""Seconds that a save waits for room; whoever follows the training gives up earlier."""


def train(task: Task) -> None:
    """Carries out the task. Raises what torch and ckpt_tier raise; OSError when nobody reads the reports."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    model = _model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    step = 0
    if task.resume:
        # A tensor of random state, weights and numbers: nothing in it needs more than weights_only.
        state = torch.load(task.resume, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        step = state["step"]
    tier = ckpt_tier.open(task.config, worker=task.worker) if task.config else None
    while step < task.last_step:
        begun = time.monotonic()
        step += 1
        loss = _one_step(model, optimizer)
        report = Stepped(step=step, loss=loss.hex())
        if tier is not None and step % task.save_every == 0:
            state = {
                "step": step,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "rng": torch.get_rng_state(),
            }
            report = _save(tier, state, report, task)
        if step == task.die_at:
            # `saved` has just returned: nothing of this process can help the checkpoint any more.
            _say(report)
            os.kill(os.getpid(), signal.SIGKILL)
        _say(report)
        time.sleep(max(0.0, task.pace - (time.monotonic() - begun)))
    _say(Ended(digest=_digest(model, optimizer)))


def _model() -> torch.nn.Module:
    layers: list[torch.nn.Module] = [torch.nn.Embedding(VOCABULARY, WIDTH)]
    layers += [
        torch.nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=4 * WIDTH, dropout=0.1, batch_first=True)
        for _ in range(LAYERS)
    ]
    return torch.nn.Sequential(*layers, torch.nn.Linear(WIDTH, VOCABULARY))


def _one_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """One batch of sequences that count upward by a stride each has of its own, forward, backward, update."""
    start, stride = torch.randint(0, VOCABULARY, (2, BATCH, 1))
    tokens = (start + stride * torch.arange(LENGTH + 1)) % VOCABULARY
    logits = model(tokens[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def _save(tier: ckpt_tier.Tier, state: dict[str, Any], report: Stepped, task: Task) -> Stepped:
    hot = tier.config.hot.path
    waiting_since = time.monotonic()
    while disk_use(hot) + _size_of(state) > task.budget:
        if time.monotonic() - waiting_since > WAIT_AT_MOST:
            raise ckpt_tier.NoSpaceError(
                f"the hot tier's {task.budget} bytes have been full for {WAIT_AT_MOST:.0f} seconds",
                "the cold tier takes checkpoints too slowly, or not at all",
            )
        time.sleep(0.02)
    waited = time.monotonic() - waiting_since
    path = tier.save(state, report.step, metrics={"loss": float.fromhex(report.loss)})
    return msgspec.structs.replace(
        report,
        saved_bytes=path.stat().st_size,
        hot_bytes=disk_use(hot),
        waited=waited if waited > 0.02 else 0.0,
    )


def _size_of(state: dict[str, Any]) -> int:
    """About what `torch.save` will write: the tensors, and some for the rest."""
    return sum(tensor.nbytes for tensor in _tensors(state)) + 100_000


def _tensors(state: object) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, dict):
        return [tensor for value in state.values() for tensor in _tensors(value)]
    return []


def _digest(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> str:
    digest = hashlib.sha256()
    for tensor in _tensors(model.state_dict()) + _tensors(optimizer.state_dict()):
        whole = tensor.detach().contiguous()  # by address: torch gives its bytes away only through NumPy
        digest.update(ctypes.string_at(whole.data_ptr(), whole.numel() * whole.element_size()))
    return digest.hexdigest()


def _say(report: Stepped | Ended) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    train(msgspec.json.decode(sys.argv[1], type=Task))
