"""Checking every checkpoint of a folder before anything is set up: which ones are good, which are not and why.

Changes nothing and notes nothing; `sync` validates again when it takes a file up.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from ckpt_tier.errors import IntegrityError, SourceChangedError
from ckpt_tier.formats.check import Level
from ckpt_tier.formats.check import Rejected as RejectedError
from ckpt_tier.formats.validate import validate
from ckpt_tier.hot.scan import HotCopy

FILES_AT_ONCE = 4


class Inspected(msgspec.Struct, frozen=True):
    """One checkpoint's verdict: `problem` is empty if it is good.

    `in_progress`: it changed while it was read, or is gone by now; then nothing is wrong with it yet.
    """

    copy: HotCopy
    problem: str = ""
    in_progress: bool = False


def inspect_hot(root: Path, copies: list[HotCopy], level: Level, stop: Callable[[], None]) -> Iterator[Inspected]:
    """A verdict for each of `copies` below `root`, in their order, as each is reached.

    `stop` is called between blocks and may raise CancelledError. What can't be read has a verdict, too.
    """

    def verdict(copy: HotCopy) -> Inspected:
        for file in copy.files:
            where = "" if file.path == copy.path else f"{file.path.removeprefix(copy.path + '/')}: "
            try:
                validate(root / file.path, level=level, non_finite="record", custom=None, custom_folder=None, stop=stop)
            except RejectedError as rejection:
                return Inspected(copy, f"{where}{rejection}")
            except (SourceChangedError, FileNotFoundError) as error:
                return Inspected(copy, f"{where}{error}", in_progress=True)
            except IntegrityError as error:
                return Inspected(copy, f"{where}{error}")
        return Inspected(copy)

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        try:
            yield from pool.map(verdict, copies)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
