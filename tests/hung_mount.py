"""A mount whose server is there and never answers, as a hard NFS mount does when its server is gone: a process that
touches it waits in state D, where SIGKILL does not reach it. It is a real one, of FUSE, in mounts of its own.

``python -m tests.hung_mount POINT COMMAND…`` runs a command beside such a mount. In its environment SERVER is the
process id of the mount's server; when that is killed, everything that waits gets an error.
"""

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

_OWN_MOUNTS = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
_ROOT = Path(__file__).parents[1]
_INIT = 26
NO_MOUNT = "no FUSE here"


def beside_a_hung_mount(point: Path, command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `command` where `point` hangs. Skips the test where nobody may mount FUSE."""
    point.mkdir(exist_ok=True)
    here = [*_OWN_MOUNTS, sys.executable, "-m", "tests.hung_mount", str(point)]
    everything = {**os.environ, "PYTHONPATH": str(_ROOT), **env}
    done = subprocess.run(
        [*here, *command], cwd=_ROOT, env=everything, capture_output=True, text=True, check=False, timeout=120
    )
    if NO_MOUNT in done.stderr or done.stderr.startswith("unshare: "):
        pytest.skip("this user can't mount FUSE")
    return done


def _mount(point: str) -> int:
    """Mounts; the descriptor at which the kernel asks. https://man7.org/linux/man-pages/man4/fuse.4.html"""
    try:
        descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        sys.exit(f"{NO_MOUNT}: {error}")
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"hung", point.encode(), b"fuse", 0, options) != 0:
        sys.exit(f"{NO_MOUNT}: {os.strerror(ctypes.get_errno())}")
    return descriptor


def _be_silent(descriptor: int) -> None:
    """Takes every request, and answers only the first, which introduces both sides."""
    while True:
        request = os.read(descriptor, 2**17)
        _, operation, unique = struct.unpack_from("=IIQ", request)
        if operation == _INIT:
            reply = struct.pack("=IIIIHHI", 7, 22, 0, 0, 0, 0, 4096)
            os.write(descriptor, struct.pack("=IiQ", 16 + len(reply), 0, unique) + reply)


if __name__ == "__main__":
    asked = _mount(sys.argv[1])
    if not (server := os.fork()):
        _be_silent(asked)
    os.close(asked)
    code = subprocess.run(sys.argv[2:], env={**os.environ, "SERVER": str(server)}, check=False).returncode
    try:
        os.kill(server, 9)
    finally:
        sys.exit(code)
