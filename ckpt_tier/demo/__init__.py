"""`ckpt-tier demo`: a real training, a real crash and a proof, with no server and no configuration."""

import signal
from pathlib import Path
from types import FrameType

from ckpt_tier.demo.ground import Ground

__all__ = ["run"]


def run(*, cold: str | None, keep: bool, folder: Path | None) -> None:
    """Trains, fills a small disk budget, crashes, loses the hot tier, restores, resumes, and proves that nothing is
    different. Writes to stdout. To be called in the main thread.

    Args:
        cold: the URL of a cold tier (s3://…, or a folder that `ckpt-tier init` made one); None uses a folder of the
            demo's own. Credentials and AWS_ENDPOINT_URL come from the environment.
        keep: leave the folder and what is in the cold tier, for looking at it.
        folder: where to work: empty, or not there yet; None for a temporary folder.

    Raises:
        IntegrityError: the proof failed.
        CkptTierError: anything else that ended it: no room, no cold tier, a wrong folder.
        KeyboardInterrupt: on SIGINT, SIGTERM or SIGHUP, after cleaning up.
    """
    from ckpt_tier.demo.screen import Screen
    from ckpt_tier.demo.story import KEEP_LAST, Story

    ground = Ground(folder, cold, keep_last=KEEP_LAST)
    earlier = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        story = Story(ground, Screen())
        try:
            story.tell()
        finally:
            story.clean_up(keep=keep)
    except BaseException:
        if not keep and ground.exists:
            ground.remove()
        raise
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
