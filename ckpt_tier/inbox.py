"""The hook's side of the queue: hard links that keep saved files alive, and one small spool file per save.

Everything lives in ``.ckpt-tier/`` inside the hot folder, so that links are possible:

    .ckpt-tier/unsent/<ticket>.<n>      a hard link to each file, so that a trainer's own clean-up can't delete it
    .ckpt-tier/inbox/<ticket>.json      the ticket; it stays until the save is committed
    .ckpt-tier/inbox/<ticket>.rejected  the same after a failed validation

A save takes no fsync, no database and no network. The links are made before the ticket gets its name: a kill between
the two leaves links that belong to no ticket, which the worker lets go once they are not the only ones. After a
power loss the ticket may be gone; then scanning finds the checkpoint.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ckpt_tier.core.nouns import FileStamp, Pass, Stamp, stamp_of
from ckpt_tier.errors import UsageError
from ckpt_tier.system.clock import random_id

HIDDEN = ".ckpt-tier"
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.ENOSYS)
"""What file systems without hard links answer."""


class Linked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a save: `path` relative to the hot folder, `link` its name in ``unsent/``, or None where the file
    system has no hard links."""

    path: str
    stamp: Stamp
    link: str | None


class Ticket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One save as the hook saw it: what the files were, and what the trainer said about them.

    Attributes:
        id: names the spool file; sorts by time.
        series: empty if the layout tells, and is to be recognised by the worker first ("auto").
        path: of the file or folder, relative to the hot folder, POSIX separators.
        files: one, or all that lay in the folder.
        saved_at: seconds since the epoch.
        rank, world_size: which share of how many this is; None where the save is a whole checkpoint.
    """

    version: int = 1
    id: str
    step: int
    series: str
    path: str
    files: tuple[Linked, ...]
    saved_at: float
    rank: int | None = None
    world_size: int | None = None
    save_id: str | None = None
    during: Pass | None = None
    metrics: dict[str, float] = {}

    @property
    def stamp(self) -> Stamp:
        """Of all its files together."""
        return stamp_of(FileStamp(file.path, file.stamp) for file in self.files)

    @property
    def links(self) -> tuple[str, ...]:
        """The names in ``unsent/``."""
        return tuple(file.link for file in self.files if file.link)


class Inbox:
    """The spool of one hot folder. Safe to use from several threads and processes."""

    def __init__(self, hot: Path) -> None:
        self.hot = hot
        self.folder = hot / HIDDEN / "inbox"
        self.unsent = hot / HIDDEN / "unsent"

    def drop(
        self,
        path: str,
        *,
        series: str,
        step: int,
        saved_at: float,
        rank: int | None = None,
        world_size: int | None = None,
        save_id: str | None = None,
        during: Pass | None = None,
        metrics: dict[str, float] | None = None,
    ) -> Ticket:
        """Links the file, or all files of the folder, and leaves their ticket.

        Raises OSError when it can't, UsageError when there is no file.
        """
        identity = f"{int(saved_at * 1e6):017d}-{random_id()}"
        files: list[Linked] = []
        spool = self.folder / f"{identity}.json"
        temporary = self.folder / f".{identity}.tmp"
        try:
            for number, name in enumerate(self._files_at(path)):
                files.append(self._linked(name, f"{identity}.{number}"))
            ticket = Ticket(
                id=identity,
                step=step,
                series=series,
                path=path,
                files=tuple(files),
                saved_at=saved_at,
                rank=rank,
                world_size=world_size,
                save_id=save_id,
                during=during,
                metrics=metrics or {},
            )
            with temporary.open("wb", buffering=0) as file:
                file.write(msgspec.json.encode(ticket))
            temporary.rename(spool)
        except OSError:
            temporary.unlink(missing_ok=True)
            for each in files:
                if each.link is not None:
                    self.release_spare(each.link)
            raise
        return ticket

    def _files_at(self, path: str) -> list[str]:
        """`path` itself, or what lies in the folder of that name; relative to the hot folder."""
        mode = (self.hot / path).lstat().st_mode
        if stat.S_ISREG(mode):
            return [path]
        if not stat.S_ISDIR(mode):
            raise UsageError(f"{path} is no plain file", "it is a link or a device", "hand over the file itself")
        found, waiting = [], [path]
        while waiting:
            folder = waiting.pop()
            with os.scandir(self.hot / folder) as entries:
                for entry in entries:
                    name = f"{folder}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(name)
                    elif entry.is_file(follow_symlinks=False):
                        found.append(name)
                    else:
                        raise UsageError(f"{name} is no plain file", "a checkpoint's folder holds files and folders")
        if not found:
            raise UsageError(f"{path} is an empty folder", fix="hand it over once everything is in it")
        return sorted(found)

    def _linked(self, path: str, name: str) -> Linked:
        link: str | None = name
        try:
            self._link(path, name)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            link = None
        # What was linked is what is handed over, even if its name has been taken by another file meanwhile.
        seen = (self.unsent / link if link else self.hot / path).lstat()
        return Linked(path=path, stamp=Stamp(seen.st_ino, seen.st_size, seen.st_mtime_ns), link=link)

    def _link(self, path: str, name: str) -> None:
        try:
            os.link(self.hot / path, self.unsent / name, follow_symlinks=False)
        except FileNotFoundError:
            self.unsent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            os.link(self.hot / path, self.unsent / name, follow_symlinks=False)

    def tickets(self) -> Iterator[Ticket]:
        """The tickets that wait, oldest first. One that can't be read is left where it is and not returned: the
        scan finds its file."""
        for name in self._names(".json"):
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                yield self._ticket(name)

    def unreadable(self, known: Iterable[Ticket] = ()) -> list[str]:
        """Names of spool files that hold no ticket. The `known` ones have just been read, and are not again."""
        readable = {f"{ticket.id}.json" for ticket in known}
        return [name for name in self._names(".json") if name not in readable and self._is_unreadable(name)]

    def _is_unreadable(self, name: str) -> bool:
        try:
            self._ticket(name)
        except msgspec.DecodeError:
            return True
        except FileNotFoundError:
            pass
        return False

    def _ticket(self, name: str) -> Ticket:
        return msgspec.json.decode((self.folder / name).read_bytes(), type=Ticket)

    def links(self) -> dict[str, os.stat_result]:
        """What lies in ``unsent/``, by name."""
        found = {}
        try:
            with os.scandir(self.unsent) as entries:
                for entry in entries:
                    found[entry.name] = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            pass
        return found

    def resolve(self, ticket: str, *, rejected: bool = False) -> None:
        """The save is committed (the ticket goes), or rejected (it is kept under another name)."""
        spool = self.folder / f"{ticket}.json"
        try:
            if rejected:
                spool.rename(spool.with_suffix(".rejected"))
            else:
                spool.unlink()
        except FileNotFoundError:
            pass

    def dismiss(self, ticket: str) -> None:
        """Forgets a rejected ticket."""
        (self.folder / f"{ticket}.rejected").unlink(missing_ok=True)

    def sweep(self, before: float) -> None:
        """Forgets the rejected tickets that were put aside before a time, in seconds since the epoch."""
        for name in self._names(".rejected"):
            with contextlib.suppress(FileNotFoundError):
                if (self.folder / name).stat().st_ctime < before:
                    (self.folder / name).unlink()

    def is_rejected(self, ticket: str) -> bool:
        return (self.folder / f"{ticket}.rejected").exists()

    def is_waiting(self, ticket: str) -> bool:
        return (self.folder / f"{ticket}.json").exists()

    def release(self, link: str) -> None:
        """Unlinks a file in ``unsent/``. The caller has made sure that the bytes exist elsewhere."""
        (self.unsent / link).unlink(missing_ok=True)

    def release_spare(self, link: str) -> None:
        """Unlinks a file in ``unsent/`` that nobody owns, if its bytes have another name; else leaves it."""
        place = self.unsent / link
        try:
            if place.stat(follow_symlinks=False).st_nlink > 1:
                place.unlink()
        except FileNotFoundError:
            pass

    def _names(self, suffix: str) -> list[str]:
        try:
            names = [entry.name for entry in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))
