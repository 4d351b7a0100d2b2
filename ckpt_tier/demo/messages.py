"""What the demo and its training processes say to each other: one task in, JSON lines out."""

import msgspec


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What one training process is to do.

    Attributes:
        last_step: where the training ends.
        config: the configuration to save under; None saves nothing.
        save_every: steps from one save to the next.
        budget: bytes that the hot tier may hold; a save that would not fit waits, as it would fail on a full disk.
        die_at: the step after whose save the process kills itself with SIGKILL.
        resume: a checkpoint file to start from.
        worker: whether saving starts the worker.
        pace: seconds that a step takes at least, so that a fast machine saves no faster than a slow one.
    """

    last_step: int
    config: str | None = None
    save_every: int = 0
    budget: int = 0
    die_at: int | None = None
    resume: str | None = None
    worker: bool = True
    pace: float = 0.0


class Stepped(msgspec.Struct, frozen=True, kw_only=True, tag="stepped"):
    """One step of training: `loss` is `float.hex`, every bit of it. The others are bytes and seconds, of its save."""

    step: int
    loss: str
    saved_bytes: int = 0
    hot_bytes: int = 0
    waited: float = 0.0


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """The training is through: `digest` is the SHA-256 over all weights and the optimizer's state."""

    digest: str
