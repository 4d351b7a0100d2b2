"""What needs a person, and what to do about it: the same words on the screen of `status` and on the report's page."""

from ckpt_tier.flow.status import Status

FULL_SOON = 6 * 3600
"""Seconds: a disk that is full before this is something for a person."""
ADVICE = {
    "damaged": "damaged: restore another step; a hot copy, if there is one, is kept, and sent again once the object is "
    "gone; looked at again by the worker every hour, by `ckpt-tier sync` at once",
    "rejected": "rejected: save the step again, or delete the file; it is never uploaded as it is",
    "stalled": "stalled: tried again by itself; mend the cause to have it sooner",
    "unreadable": "unreadable: look at its permissions and at the disk; tried again by itself",
    "incomplete": "incomplete: sync the folders of the other ranks, or save the step again; "
    "`ckpt-tier sync --dismiss STEP` gives it up",
    "lost": "lost: nothing can bring it back; `ckpt-tier sync --dismiss STEP` stops this report",
}
"""By the state of an `Attention`, in the order to show them."""


def is_crowded(now: Status) -> bool:
    """Whether the disk is filling up: less than min_free is free, or it is full soon and nobody makes room."""
    soon = now.disk.full_in_seconds is not None and now.disk.full_in_seconds < FULL_SOON
    return now.disk.free_bytes < now.disk.min_free_bytes or (soon and bool(now.queue.count or not now.worker.running))
