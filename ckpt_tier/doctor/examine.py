"""Everything in turn. A check that fails or hangs is a finding; the others still run."""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

from ckpt_tier.config import Config, find, load
from ckpt_tier.doctor.configuration import configuration
from ckpt_tier.doctor.finding import Finding, Subject, bad, from_error, guarded
from ckpt_tier.errors import ConfigError, UnavailableError
from ckpt_tier.system.clock import Clock

PATIENCE = 180.0
"""Seconds without a finding after which the cold tier is given up: longer than one request to S3 may take, connecting
included (`store.s3_requests`). Not more: a mount whose server is gone blocks for ever whoever asks it."""
_TIME_TO_CLEAN_UP = 5.0


def examine(path: Path | None, env: Mapping[str, str], cwd: Path, clock: Clock) -> Iterator[Finding]:
    """What every check finds, each as it is made. `path`, `env` and `cwd` as for `config.load`.

    Raises ConfigError only if there is no configuration at all; one that can't be read is the only finding then.
    """
    file = find(path, env=env, cwd=cwd)
    try:
        config = load(path, env=env, cwd=cwd)
    except ConfigError as error:
        if file is None:
            raise
        yield from_error("configuration", error)
        return
    yield from examine_parts(config, env, clock)


def examine_parts(
    config: Config, env: Mapping[str, str], clock: Clock, patience: float = PATIENCE
) -> Iterator[Finding]:
    """The same for a configuration that was read. The cold tier gets `patience` seconds for each finding."""
    from ckpt_tier.doctor.cold import cold_tier
    from ckpt_tier.doctor.hot import hot_tier
    from ckpt_tier.doctor.state import hook_errors, state_folder, worker
    from ckpt_tier.wiring import Wiring

    wiring = Wiring(config, clock)
    checks: tuple[tuple[Subject, Callable[[], Iterator[Finding]]], ...] = (
        ("configuration", lambda: configuration(config, env)),
        ("hot tier", lambda: hot_tier(wiring)),
        ("state folder", lambda: state_folder(wiring)),
        ("worker", lambda: worker(wiring)),
        ("worker", lambda: hook_errors(wiring)),
    )
    for subject, check in checks:
        yield from guarded(subject, check)
    yield from patiently(lambda: guarded("cold tier", lambda: cold_tier(wiring)), patience)


def patiently(check: Callable[[], Generator[Finding, None, None]], patience: float) -> Iterator[Finding]:
    """What `check` finds, made in a thread that is left behind when it finds nothing for `patience` seconds."""
    found: queue.SimpleQueue[Finding | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def look() -> None:
        try:
            with contextlib.closing(check()) as findings:  # closing it removes what it has written
                for finding in findings:
                    found.put(finding)
                    if stop.is_set():
                        return
        except BaseException as error:  # noqa: BLE001 (raised again by the one who asked)
            found.put(error)
        else:
            found.put(None)

    thread = threading.Thread(target=look, name="doctor-cold", daemon=True)
    thread.start()
    hangs = False
    try:
        while (finding := found.get(timeout=patience)) is not None:
            if isinstance(finding, BaseException):
                raise finding
            yield finding
    except queue.Empty:
        hangs = True
        yield bad(
            "cold tier",
            f"it has not answered for {patience:.0f} s: its mount or its network hangs",
            "look at the mount (`findmnt`, `dmesg`) or the network, and try again",
            UnavailableError.exit_code,
        )
    finally:
        stop.set()
        if not hangs:
            thread.join(_TIME_TO_CLEAN_UP)  # after Ctrl-C it removes what it has written
