"""The hot tier: that its folder can do what the program asks of a file system, and has room for what comes.

To find out what the file system does, a folder ``doctor-<random>`` with three files of a few bytes is made in
``.ckpt-tier/`` and removed again, name by name: nothing that this module did not create is ever unlinked. A kill in
between leaves that folder behind, which nothing else looks at.
"""

import contextlib
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from ckpt_tier.core.units import format_size
from ckpt_tier.doctor.finding import Finding, bad, good, guarded, warning
from ckpt_tier.errors import ConfigError, NoSpaceError
from ckpt_tier.hot.scan import scan
from ckpt_tier.hot.space import space
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.durable import rename_no_replace
from ckpt_tier.system.locks import is_open_for_writing
from ckpt_tier.system.mounts import mount_of
from ckpt_tier.wiring import Wiring

_FEW_FILES = 1000
"""Names that the file system may still give: two days of saves with their links and tickets, roughly."""


def hot_tier(wiring: Wiring) -> Iterator[Finding]:
    """All checks of the hot folder; if it is not there, only that."""
    wiring.require_hot()
    folder = wiring.config.hot.path
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _folder(folder),
        lambda: _layout(wiring),
        lambda: _room(wiring),
        lambda: _names_left(folder),
        lambda: _abilities(folder),
    )
    for check in checks:
        yield from guarded("hot tier", check)


def save_size(wiring: Wiring) -> tuple[int, int]:
    """(bytes, series): what the newest checkpoints of all series take together, and how many series there are.

    Zeros where the layout is not known; saying so is another check's.
    """
    try:
        copies = scan(wiring.config.hot.path, wiring.layout).copies
    except ConfigError:
        return 0, 0
    newest = {copy.series: copy.step for copy in sorted(copies, key=lambda copy: copy.mtime_ns)}
    return sum(copy.stamp.size for copy in copies if copy.step == newest[copy.series]), len(newest)


def _folder(folder: Path) -> Iterator[Finding]:
    seen = folder.stat()
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield bad(
            "hot tier",
            f"{folder} belongs to {_user(seen.st_uid)}, mode {stat.S_IMODE(seen.st_mode):04o}: this user, "
            f"{_user(os.geteuid())}, can't read and write it",
            "run as its owner, or give this user a way in",
            ConfigError.exit_code,
        )
    elif seen.st_uid != os.geteuid():
        yield warning(
            "hot tier",
            f"{folder} belongs to {_user(seen.st_uid)}, this is {_user(os.geteuid())}: what is restored belongs to "
            "the wrong user",
            f"run ckpt-tier as {_user(seen.st_uid)}",
        )
    if seen.st_mode & stat.S_IWOTH and not seen.st_mode & stat.S_ISVTX:
        yield warning(
            "hot tier", f"everybody on this machine can delete and replace files in {folder}", f"chmod o-w {folder}"
        )
    mount = mount_of(folder)
    if mount.may_hang:
        yield warning(
            "hot tier",
            f"{folder} is on {mount.kind} ({mount.source}): a file that another machine has open can't be told",
            "save to a local disk; or let only one machine train and sync in this folder",
        )
    yield good("hot tier", f"{folder}{f' on {mount.kind}' if mount.kind else ''}")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _layout(wiring: Wiring) -> Iterator[Finding]:
    seen = scan(wiring.config.hot.path, wiring.layout)
    for problem in seen.problems:
        yield warning("hot tier", problem, "look at those files, and at [hot] layout")
    if not seen.copies and seen.skipped:
        first = seen.skipped[0]
        yield warning(
            "hot tier",
            f"nothing is taken up: {first.path} has a checkpoint's name, but {first.reason}",
            "look at [hot] path and layout",
        )
    count = len({(copy.series, copy.step) for copy in seen.copies})
    yield good("hot tier", f"{count:,} checkpoint{'' if count == 1 else 's'}")


def _room(wiring: Wiring) -> Iterator[Finding]:
    room = space(wiring.config.hot.path)
    size, series = save_size(wiring)
    least = wiring.config.hot.min_free.bytes_of(room.total)
    saves = room.free // size if size else None
    told = f"{format_size(room.free)} of {format_size(room.total)} free"
    each = f"{format_size(size)}{f' ({series} series)' if series > 1 else ''}"
    if saves == 0:
        yield bad(
            "hot tier",
            f"{told}: the next save of {each} will be cut short",
            "run `ckpt-tier sync`, which evicts what is committed; then look at keep_last",
            NoSpaceError.exit_code,
        )
    elif room.free < least:
        yield warning(
            "hot tier",
            f"{told}, less than min_free ({format_size(least)})" + (f": room for {saves:,} saves" if saves else ""),
            "run `ckpt-tier sync`; if that frees nothing, keep_last is too high for this disk",
        )
    elif saves is None:
        yield good("hot tier", told)
    else:
        yield good("hot tier", f"{told}, room for {saves:,} more save{'' if saves == 1 else 's'} of {each}")


def _names_left(folder: Path) -> Iterator[Finding]:
    seen = os.statvfs(folder)
    if seen.f_files and seen.f_favail < _FEW_FILES:
        told = f"the file system of {folder} can hold {seen.f_favail:,} more files (inodes)"
        fix = "delete small files that nobody needs; `df -i` shows the count"
        if seen.f_favail == 0:
            yield bad("hot tier", told, fix, NoSpaceError.exit_code)
        else:
            yield warning("hot tier", told, fix)


def _abilities(folder: Path) -> Iterator[Finding]:
    """Hard links, renames that replace nothing, and leases, which tell what files are open; each by doing it."""
    with _probe(folder / HIDDEN) as (first, second, third):
        works = []
        try:
            os.link(first, second)
            works.append("hard links")
        except OSError as error:
            yield warning(
                "hot tier",
                f"hard links don't work here ({error.strerror}): a checkpoint that the trainer deletes before it is "
                "committed is lost",
                "keep more checkpoints in the trainer's own settings than it saves while an upload takes",
            )
            second.touch()
        third.write_bytes(b"third")
        try:
            rename_no_replace(third, first)
        except FileExistsError:
            works.append("no-replace renames")
        except OSError as error:
            yield bad(
                "hot tier",
                f"a file can't be renamed without the risk of replacing another ({error.strerror}): nothing can be "
                "evicted or restored",
                "use a file system with renameat2(RENAME_NOREPLACE) or with hard links",
            )
        else:
            yield bad(
                "hot tier",
                "renaming replaces files although it was told not to",
                "use another file system: this one can lose a checkpoint that is restored or evicted",
            )
        with second.open("ab"):
            if is_open_for_writing(second):
                works.append("leases")
            else:
                yield warning(
                    "hot tier",
                    "whether a file is open for writing can't be told here: only `settle` keeps a save in progress "
                    "from being taken up",
                    "use the hook (`tier.saved`), or set `settle` to longer than a save takes",
                )
        if works:
            yield good("hot tier", f"{', '.join(works)} work{'s' if len(works) == 1 else ''}")


@contextlib.contextmanager
def _probe(hidden: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Three names in a new folder below `hidden`, the first of them a file; all of it is gone afterwards."""
    is_new = not hidden.exists()
    hidden.mkdir(exist_ok=True)
    folder = hidden / f"doctor-{random_id()}"
    names = folder / "first", folder / "second", folder / "third"
    try:
        folder.mkdir()
        try:
            names[0].write_bytes(b"first")
            yield names
        finally:
            for name in names:
                name.unlink(missing_ok=True)
            folder.rmdir()
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # somebody has begun to use it
                hidden.rmdir()
