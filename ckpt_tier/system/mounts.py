"""Which mount a path lies on, without touching it: on a mount whose server is gone, every system call waits for ever.

The table is `/proc/self/mountinfo` (https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html). Symbolic links on
the way are followed by hand, one component at a time, up to the first mount that may hang.
"""

import os
import re
from pathlib import Path

import msgspec

_DISKS = (
    "bcachefs btrfs exfat ext2 ext3 ext4 f2fs hfsplus iso9660 jfs msdos nilfs2 ntfs3 reiserfs squashfs udf vfat xfs zfs"
)
_OTHERS = "aufs devtmpfs ecryptfs overlay proc ramfs rootfs sysfs tmpfs"
_LOCAL = frozenset(f"{_DISKS} {_OTHERS}".split())
"""Kinds that answer, or fail, without another machine or process. All others (nfs, cifs, fuse, lustre, gpfs, ceph, 9p,
beegfs, and what nobody has heard of yet) may hang: to take a local one for one of them costs a process, no more."""
_MOST_LINKS = 40
"""Links followed before a path counts as a circle, as in Linux."""
_TABLE = Path("/proc/self/mountinfo")


class Mount(msgspec.Struct, frozen=True):
    """One mounted file system. `id` is the mount's: the same place mounted anew has another one.

    `device` is what `st_dev` is for files on it, `kind` is such as "ext4" or "nfs4", `source` such as "server:/export";
    "" where they are not known.
    """

    id: int
    device: int
    point: Path
    kind: str
    source: str

    @property
    def may_hang(self) -> bool:
        """Whether another machine or process has to answer for it."""
        return self.kind not in _LOCAL


def mount_of(path: Path, table: str | None = None) -> Mount:
    """The mount that holds the absolute `path`, or would hold it. `table` is for tests. Raises nothing."""
    mounts = _read(_table() if table is None else table)
    place, links = Path("/"), 0
    ahead = list(path.parts[1:])
    while ahead:
        name = ahead.pop(0)
        place = place.parent if name == ".." else place / name
        if place in mounts:
            if mounts[place].may_hang:
                return mounts[place]
            continue
        try:
            target = Path(os.readlink(place))  # noqa: PTH115 (the text of the link, as it is)
        except OSError:  # no link, or nothing there
            continue
        if (links := links + 1) > _MOST_LINKS:
            break
        place = Path("/") if target.is_absolute() else place.parent
        ahead = [part for part in target.parts if part != "/"] + ahead
    return next(mounts[above] for above in (place, *place.parents) if above in mounts)


def device_of(path: Path) -> int:
    """The device that holds `path`, or would hold it; asks a file system only if that can't hang."""
    mount = mount_of(path)
    if mount.may_hang:
        return mount.device
    for place in (path, *path.parents):
        try:
            return os.stat(place).st_dev  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise AssertionError("/ is always there")


def _table() -> str:
    try:
        return _TABLE.read_text(errors="surrogateescape")
    except OSError:  # no /proc: then nothing is known
        return ""


def _read(table: str) -> dict[Path, Mount]:
    """The mounts by their points; of several on one point the last, which covers the others."""
    mounts = {Path("/"): Mount(0, os.stat("/").st_dev, Path("/"), "", "")}  # noqa: PTH116
    for line in table.splitlines():
        before, dash, after = line.partition(" - ")
        words = before.split(" ")
        if not dash or len(words) < 5:
            continue
        identity, _, device, _, point = words[:5]
        major, minor = device.split(":")
        kind, source, *_ = [*after.split(" "), "", ""]
        place = Path(_plain(point))
        mounts[place] = Mount(int(identity), os.makedev(int(major), int(minor)), place, kind, _plain(source))
    return mounts


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
