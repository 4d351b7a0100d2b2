"""Checking every checkpoint of a folder before anything is set up: which ones are good, which are not and why.

Changes nothing and notes nothing; `sync` validates again when it takes a file up.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from ckpt_tier.errors import SourceChangedError
from ckpt_tier.formats.check import Level
from ckpt_tier.formats.check import Rejected as RejectedError
from ckpt_tier.formats.validate import validate
from ckpt_tier.hot.scan import HotFile

FILES_AT_ONCE = 4


class Inspected(msgspec.Struct, frozen=True):
    """One file's verdict: `problem` is empty if it is good.

    `in_progress`: it changed while it was read, or is gone by now; then nothing is wrong with it yet.
    """

    file: HotFile
    problem: str = ""
    in_progress: bool = False


def inspect_hot(root: Path, files: list[HotFile], level: Level, stop: Callable[[], None]) -> Iterator[Inspected]:
    """A verdict for each of `files` below `root`, in their order, as each is reached.

    `stop` is called between blocks and may raise CancelledError. Raises OSError for what can't be read at all.
    """

    def verdict(file: HotFile) -> Inspected:
        try:
            validate(root / file.path, level=level, non_finite="record", custom=None, custom_folder=None, stop=stop)
        except RejectedError as rejection:
            return Inspected(file, str(rejection))
        except (SourceChangedError, FileNotFoundError) as error:
            return Inspected(file, str(error), in_progress=True)
        except PermissionError as error:
            return Inspected(file, f"it can't be read: {error.strerror}")
        return Inspected(file)

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        try:
            yield from pool.map(verdict, files)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
