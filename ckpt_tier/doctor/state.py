"""What this machine keeps for the run: the state folder, the journal in it, the worker and the hook's complaints."""

import os
from collections.abc import Iterator
from pathlib import Path

from ckpt_tier.doctor.finding import Finding, bad, good, warning
from ckpt_tier.errors import ConfigError, NoSpaceError
from ckpt_tier.hot.space import space
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.journal.journal import FILE_NAME, damage
from ckpt_tier.operations import HOOK_ERRORS
from ckpt_tier.system.mounts import mount_of
from ckpt_tier.wiring import Wiring

_LITTLE = 16 * 2**20
"""Bytes. A journal of a thousand saves, with its write-ahead log, takes less."""
_LONGEST_LINE = 200
_SET_ELSEWHERE = "set `state_dir` to a folder on a local disk that this user can write"


def state_folder(wiring: Wiring) -> Iterator[Finding]:
    """The folder of the journal: it must be writable, local, and have some room. It is not made here."""
    folder = wiring.config.state_dir
    place = next(each for each in (folder, *folder.parents) if each.exists())
    mount = mount_of(place)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        yield bad("state folder", f"{place} can't be written to", _SET_ELSEWHERE, ConfigError.exit_code)
        return
    if mount.may_hang:
        yield bad(
            "state folder",
            f"{folder} is on {mount.kind} ({mount.source}): its locks don't keep a journal whole there",
            _SET_ELSEWHERE,
            ConfigError.exit_code,
        )
    free = space(place).free
    if free < _LITTLE:
        yield bad(
            "state folder",
            f"{folder} has {free:,} bytes left: the journal can't be written",
            "free some space, or " + _SET_ELSEWHERE,
            NoSpaceError.exit_code,
        )
    wrong = damage(folder)
    if wrong:
        yield warning(
            "state folder",
            f"the journal {folder / FILE_NAME} can't be used: {wrong}",
            "nothing is lost: the next `ckpt-tier sync` sets it aside and reads both tiers again",
        )
    elif not folder.exists():
        yield good("state folder", f"{folder} will be made by the first sync")
    else:
        begun = "the journal is whole" if (folder / FILE_NAME).exists() else "no journal yet"
        yield good("state folder", f"{folder}{f' on {mount.kind}' if mount.kind else ''}, {begun}")


def worker(wiring: Wiring) -> Iterator[Finding]:
    """Who works on the hot folder now."""
    lock = wiring.worker_lock("")
    holder = lock.holder()
    if not lock.is_held():
        yield good("worker", "none is running")
    elif holder is None:
        yield good("worker", f"some process holds {lock.path}")
    else:
        yield good("worker", f"{holder.what}, process {holder.pid} on {holder.host}")


def hook_errors(wiring: Wiring) -> Iterator[Finding]:
    """What the hook complained about in the log that nobody may have read."""
    for folder in (wiring.config.hot.path / HIDDEN, wiring.config.state_dir):
        log = folder / HOOK_ERRORS
        lines = _lines(log)
        if lines:
            yield warning(
                "worker",
                f"the hook's complaints, {len(lines):,} in {log}, the last: {lines[-1][:_LONGEST_LINE]}",
                f"mend the cause, then rm {log}",
            )


def _lines(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="backslashreplace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
