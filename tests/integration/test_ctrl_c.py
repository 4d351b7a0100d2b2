"""Ctrl-C while the server has gone silent: real commands, a real MinIO, and a proxy that stops answering."""

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.ground import ended, interrupt
from tests.integration.test_end_to_end import OnS3
from tests.minio import Bucket
from tests.proxy import Request, Trouble, troubled

SERIES = ("a", "b", "c", "d")
AT_ONCE = 5.0
"""Seconds: what a busy machine takes to end a process, and far below the 120 that a request may take."""
LISTINGS = "manifests%2F"
MANIFESTS = "/manifests/"
PINS = "pins%2F"
OBJECTS = "/data/"


class Silence:
    """A bucket behind a proxy. What asks for a path with `at` in it has no answer before `over`."""

    def __init__(self, bucket: Bucket, trouble: Trouble) -> None:
        self.bucket = bucket
        self.at: str | None = None
        self.over = threading.Event()
        self._asked = threading.Semaphore(0)
        trouble.before = self._wait

    def _wait(self, request: Request) -> None:
        if self.at is not None and self.at in request.path:
            self._asked.release()
            self.over.wait()

    def wait(self, process: "subprocess.Popen[str]", requests: int = len(SERIES)) -> None:
        """Returns when so many requests of the process wait for an answer."""
        come = [self._asked.acquire(timeout=30) for _ in range(requests)]
        time.sleep(0.2)
        if not all(come) or process.poll() is not None:
            self.over.set()  # or the process would be waited for
            raise AssertionError(f"{come.count(True)} of {requests} requests came")


@pytest.fixture
def silence(s3: Bucket) -> Iterator[Silence]:
    with troubled(s3) as (bucket, trouble):
        silence = Silence(bucket, trouble)
        yield silence
        silence.over.set()


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


def assert_ends_at_once(process: "subprocess.Popen[str]") -> None:
    begun = time.monotonic()
    result = interrupt(process, signal.SIGINT)
    assert time.monotonic() - begun < AT_ONCE
    assert result.err == "\nerror: interrupted\nhint: run the same command again to go on\n"
    assert result.code == 130


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
    silence.at = at
    with ground.start(*command.split()) as process:
        silence.wait(process)
        assert_ends_at_once(process)
    silence.over.set()
    ground.run(*command.split())


@pytest.mark.parametrize("command", ["track w --series a", "diff 1 2 --series a"])
def test_ctrl_c_ends_what_computes_with_tensors_at_once_too(tmp_path: Path, silence: Silence, command: str) -> None:
    ground = OnS3(tmp_path)
    ground.configure(silence.bucket)
    settings = ground.config.read_text()
    settings = settings.replace("step_{step}.dat", "model_gpu{series}/model_step_{step}.safetensors")
    ground.config.write_text(settings.replace("keep_last = 9", "keep_last = 1"))
    for step in range(1, 8):
        ground.save(step, "a", fill=step)
    ground.run("sync")
    silence.at = OBJECTS
    with ground.start(*command.split()) as process:
        silence.wait(process, requests=1)
        assert_ends_at_once(process)


def test_a_sync_ends_at_once_at_the_second_ctrl_c(ground: OnS3, silence: Silence) -> None:
    silence.at = LISTINGS
    with ground.start("sync") as process:
        silence.wait(process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        begun = time.monotonic()
        result = interrupt(process, signal.SIGINT)
    assert (result.code, result.err) == (130, "")
    assert time.monotonic() - begun < AT_ONCE


def test_a_verification_that_is_asked_to_stop_waits_for_what_is_under_way_and_looks_at_no_object(
    ground: OnS3, silence: Silence
) -> None:
    silence.at = LISTINGS
    with ground.start("verify") as process:
        silence.wait(process)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        silence.over.set()
        result = ended(process, timeout=30)
    assert result.code == 130
    assert result.err == "error: stopped on request\nhint: run the same command again to go on\n"
