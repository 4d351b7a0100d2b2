"""The proof that two trainings went the same way, to the last bit."""

import hashlib
from collections.abc import Mapping

from ckpt_tier.errors import IntegrityError


def same_losses(expected: Mapping[int, str], got: Mapping[int, str], steps: range) -> str:
    """The SHA-256 over the losses of `steps` (each as `float.hex`), which both runs must have in common.

    Raises IntegrityError naming the first step whose losses differ in any bit, or that one run does not have.
    """
    digest = hashlib.sha256()
    for step in steps:
        here, there = expected.get(step), got.get(step)
        if here is None or here != there:
            raise IntegrityError(
                f"the losses differ at step {step}",
                f"uninterrupted {_shown(here)}, resumed {_shown(there)}",
                "the state that came back is not the state that was saved: please report this",
            )
        digest.update(f"{step} {here}\n".encode())
    return digest.hexdigest()


def _shown(loss: str | None) -> str:
    return f"{float.fromhex(loss):.9f} ({loss})" if loss else "none"
