"""What kind of file system a path lies on, as the kernel tells it: asking does not touch the mount itself."""

import os
import re
from pathlib import Path

import msgspec

MOUNT_TABLE = Path("/proc/self/mountinfo")
"""https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html"""

_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "gpfs", "lustre", "nfs", "nfs4", "orangefs", "pvfs2", "smb3",
    "smbfs", "wekafs", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.mount-s3",
    "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
}  # fmt: skip
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(msgspec.Struct, frozen=True):
    """One mounted file system: where, of what kind ("ext4", "nfs4"), and from where ("server:/export")."""

    point: str
    kind: str
    source: str

    @property
    def is_remote(self) -> bool:
        """Whether it is known to lie on other machines."""
        return self.kind in _NETWORK


def mount_of(path: Path, table: Path = MOUNT_TABLE) -> Mount | None:
    """The mount that holds `path`, or would hold it; None where the system does not tell.

    Symbolic links are followed, which can block where a mount hangs.
    """
    real = os.path.realpath(path)
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    holding = [mount for mount in map(_mount, lines) if mount is not None and _holds(mount.point, real)]
    # Of two mounts at one place the later one hides the other.
    return max(reversed(holding), key=lambda mount: len(mount.point), default=None)


def _mount(line: str) -> Mount | None:
    before, dash, after = line.partition(" - ")
    places, kinds = before.split(" "), after.split(" ")
    if not dash or len(places) < 5 or len(kinds) < 2:
        return None
    return Mount(point=_plain(places[4]), kind=kinds[0], source=_plain(kinds[1]))


def _holds(point: str, path: str) -> bool:
    return path == point or path.startswith(f"{point.rstrip('/')}/")


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
