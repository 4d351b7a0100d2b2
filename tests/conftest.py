"""Fixtures for all tests, by where they live; which tests are slow, and what a fast run does with the others.

A fast run is `pytest -m "not slow"`. It draws fewer examples, dies at fewer moments, and has its files in memory, where
an fsync costs nothing.
"""

import gc
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes depends on who else uses the machine: a time is no assertion.
settings.register_profile("whole", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=10)
settings.load_profile("whole")

# A shell that starts the tests in the background has SIGINT ignored, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.minio", "tests.sftp", "tests.stores"]

TESTS = Path(__file__).parent
FAST = "not slow"

# Slow is what needs servers, many processes or torch in a process of its own, or dies at every moment in turn: of these
# moments one of seven is fast (`tests.kills.dying_at`). A single test that is slow says so itself.
SLOW_FOLDERS = {"cli", "crash", "demo", "integration"}
SLOW_STORES = ("[apart", "[minio", "[weak", "[sftp", "[object")

MEMORY = Path("/dev/shm")  # noqa: S108 (pytest makes a folder of its own in it)
ROOM = 2 * 2**30
ABOUT_THE_DISK = {
    "test_durable.py",
    "test_flushing.py",
    "test_folder_store.py",
    "test_hot_and_state.py",
    "test_locks.py",
    "test_open_store.py",
}
"""What they say, they say of a real disk."""


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == FAST:
        settings.load_profile("fast")
        if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # Reading them takes longer than many a test.
    is_slow = collection_path.parent == TESTS and collection_path.name in SLOW_FOLDERS
    return True if is_slow and config.option.markexpr == FAST else None


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """pytest's, and on the disk where a test is about that."""
    if tmp_path.is_relative_to(MEMORY) and request.path.name in ABOUT_THE_DISK:
        with tempfile.TemporaryDirectory(prefix="ckpt-tier-") as folder:
            yield Path(folder)
    else:
        yield tmp_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in SLOW_FOLDERS or _needs_a_server(item, folder):
            item.add_marker(pytest.mark.slow)


def _needs_a_server(item: pytest.Item, folder: str) -> bool:
    return folder == "contract" and any(store in item.name for store in SLOW_STORES)


def pytest_collection_finish() -> None:
    # What is loaded by now stays: the collector needs half a second to look through it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    # torch has fifty loggers that keep to themselves, and pytest listens at each of them anew, in each phase of a test.
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "torch" and isinstance(logger, logging.Logger):
            logger.propagate = True
