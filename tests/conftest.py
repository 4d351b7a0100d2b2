"""Fixtures for all tests, by where they live; and which tests are slow: all that need servers or many processes."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes depends on who else uses the machine: a time is no assertion.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell that starts the tests in the background has SIGINT ignored, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.minio", "tests.sftp", "tests.stores"]

SLOW_FOLDERS = {"cli", "crash", "demo", "integration"}
SLOW_STORES = ("[minio", "[weak", "[sftp")
TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in SLOW_FOLDERS or (folder == "contract" and any(store in item.name for store in SLOW_STORES)):
            item.add_marker(pytest.mark.slow)
