"""Ctrl-C while the server has gone silent: real commands, a real MinIO, and a proxy that stops answering."""

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.cli.ground import Result, interrupt
from tests.integration.test_end_to_end import OnS3
from tests.minio import Bucket
from tests.proxy import Request, troubled

SERIES = ("a", "b", "c", "d")
AT_ONCE = 5.0
"""Seconds: what a busy machine takes to end a process, and far below the 120 that a request may take."""
LISTINGS = "manifests%2F"
MANIFESTS = "/manifests/"
PINS = "pins%2F"
OBJECTS = "/data/"


class Silence(msgspec.Struct):
    """A bucket behind a proxy: what asks for a path with `at` in it is never answered, if that is not empty."""

    bucket: Bucket
    at: str = ""
    waiting: int = 0


@pytest.fixture
def silence(s3: Bucket) -> Iterator[Silence]:
    over = threading.Event()
    with troubled(s3) as (bucket, trouble), contextlib.ExitStack() as stack:
        stack.callback(over.set)
        silence = Silence(bucket)
        lock = threading.Lock()

        def before(request: Request) -> None:
            if silence.at and silence.at in request.path:
                with lock:
                    silence.waiting += 1
                over.wait()

        trouble.before = before
        yield silence


@pytest.fixture
def ground(tmp_path: Path, silence: Silence) -> OnS3:
    """Four series of two folders of three files, all committed, and nothing of it known on this machine."""
    ground = OnS3(tmp_path)
    ground.configure(silence.bucket)
    ground.config.write_text(ground.config.read_text().replace("step_{step}.dat", "{series}/step_{step}/"))
    for series in SERIES:
        for step in (1, 2):
            folder = ground.hot / series / f"step_{step}"
            folder.mkdir(parents=True)
            for name in ("x", "y", "z"):
                (folder / name).write_bytes(f"{series} {step} {name}".encode())
    ground.run("sync")
    shutil.rmtree(ground.root / "state")
    return ground


def interrupted(ground: OnS3, silence: Silence, at: str, *command: str) -> tuple[Result, float]:
    """What the command left after a Ctrl-C while several of its requests wait for ever, and how long its end took."""
    silence.at = at
    with ground.start(*command) as process:
        deadline = time.monotonic() + 30
        while silence.waiting < len(SERIES):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.2)
        begun = time.monotonic()
        result = interrupt(process, signal.SIGINT)
    return result, time.monotonic() - begun


@pytest.mark.parametrize(
    ("command", "at"),
    [
        ("list", LISTINGS),
        ("list", MANIFESTS),
        ("list", PINS),
        ("status", LISTINGS),
        ("prune --dry-run", MANIFESTS),
        ("sync --dry-run", LISTINGS),
        ("verify", LISTINGS),
        ("verify", OBJECTS),
        ("verify --read", OBJECTS),
    ],
)
def test_ctrl_c_ends_a_command_that_only_reads_at_once_though_the_server_is_silent(
    ground: OnS3, silence: Silence, command: str, at: str
) -> None:
    result, took = interrupted(ground, silence, at, *command.split())
    assert result.err == "\nerror: interrupted\nhint: run the same command again to go on\n"
    assert result.code == 130
    assert took < AT_ONCE
    silence.at = ""
    ground.run(*command.split())
