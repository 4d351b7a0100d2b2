"""Looking at a file from a child process, whose memory is limited and whose death costs nothing."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from ckpt_tier.errors import ConfigError
from ckpt_tier.formats.check import OpenFile, Rejected

_POLL = 0.1
_LONGEST_REPLY = 2**20
_START = "import sys; sys.path.append(sys.argv[1]); from ckpt_tier.formats.deep_child import main; main()"


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the child found: the JSON on its standard output. `rejected` is the reason, if there is one; `broken` says
    what this installation lacks."""

    rejected: str = ""
    broken: str = ""
    tensors: int = 0
    nan: int = 0
    inf: int = 0
    notes: tuple[str, ...] = ()


def look(task: str, reader: OpenFile, *, timeout: float, stop: Callable[[], None]) -> Reply:
    """Runs one task of `deep_child` over the file open in `reader`; `timeout` in seconds.

    Raises Rejected with the child's reason, or when it dies or takes too long; ConfigError when torch is missing;
    whatever `stop`, which is called several times a second, raises. The child is gone when this returns.
    """
    # -P: a torch.py in the current folder is not ours to import.
    command = [sys.executable, "-P", "-c", _START, str(_package_folder()), task, str(reader.fileno()), str(reader.size)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(reader.fileno(),),
    ) as child:
        try:
            output, complaint = _wait(child, timeout, stop)
        finally:
            child.kill()
    if child.returncode < 0:
        raise Rejected(f"could not be read: the process that looked at it died of signal {-child.returncode}")
    if child.returncode:
        last = complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Rejected(f"could not be read: {last[:200] or 'the process that looked at it failed'}")
    if len(output) > _LONGEST_REPLY:
        raise Rejected("could not be read: the process that looked at it said too much")
    try:
        reply = msgspec.json.decode(output, type=Reply)
    except msgspec.MsgspecError as error:
        raise Rejected(f"could not be read: the process that looked at it answered nonsense ({error})") from error
    if reply.broken:
        raise ConfigError("the process that looks at tensors can't start", reply.broken, "mend the installation")
    if reply.rejected:
        raise Rejected(reply.rejected)
    return reply


def _wait(child: subprocess.Popen[bytes], timeout: float, stop: Callable[[], None]) -> tuple[bytes, bytes]:
    left = timeout
    while True:
        stop()
        try:
            return child.communicate(timeout=_POLL)
        except subprocess.TimeoutExpired:
            left -= _POLL
        if left <= 0:
            raise Rejected(f"could not be read: looking at it took longer than {timeout:g} s")


def _package_folder() -> Path:
    return Path(__file__).resolve().parents[2]
