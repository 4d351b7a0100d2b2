"""A training loop with ckpt-tier: saves through the hook, and goes on where the last run stopped.

    ckpt-tier init checkpoints/ s3://bucket/prefix --layout 'model_step_{step}.pt'
    python examples/train.py --steps 1000

Stop it when and how you like and start it again: it resumes from the newest good checkpoint, from the local disk or
from the cold tier, and ends with the very weights that an uninterrupted run ends with.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

import ckpt_tier


def newest(tier: ckpt_tier.Tier) -> Path | None:
    """The newest good checkpoint, brought back from the cold tier if it is not here any more."""
    try:
        return tier.restore().files[0]
    except ckpt_tier.NotFoundError:
        return None  # nothing is committed: the first start


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small model, with its checkpoints on two tiers.")
    parser.add_argument("--config", default="ckpt-tier.toml")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--save-every", type=int, default=100)
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = torch.nn.Sequential(
        torch.nn.Linear(32, 256), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(256, 1)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    first = 1

    with ckpt_tier.open(options.config) as tier:  # starts the worker; at the end, waits for the queue
        checkpoint = newest(tier)
        if checkpoint is not None:
            state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["rng"])
            first = state["step"] + 1
            print(f"resuming after step {first - 1}")

        for step in range(first, options.steps + 1):
            inputs = torch.randn(64, 32)
            targets = inputs.square().sum(dim=1, keepdim=True)
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            if step % options.save_every == 0 or step == options.steps:
                state = {
                    "step": step,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "rng": torch.get_rng_state(),
                }
                tier.save(state, step=step, metrics={"loss": loss.item()})
                print(f"step {step}: loss {loss.item():.6f}")


if __name__ == "__main__":
    main()
