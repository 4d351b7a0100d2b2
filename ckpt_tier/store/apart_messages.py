"""What an `ApartStore` and its child say to each other, over one socket.

A frame is four bytes of length, a msgpack message, and after a `Block` as many raw bytes as it says. Each call has a
number; several are under way at once. The child waits for `Go` after `Entries`, `Moved` and `Resumed`, so whoever reads
a listing or holds a bandwidth limit sets its pace; `Stop` in its place, or ahead of it, ends the call.
"""

import socket
import struct
import threading
import traceback
from typing import Generic, TypeVar

import msgspec

from ckpt_tier.core.pieces import PieceChecksums
from ckpt_tier.errors import CkptTierError
from ckpt_tier.store.protocol import Stat

_HEAD = struct.Struct("!I")


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Anything that goes over the socket."""


class Listing(Message, frozen=True):
    prefix: str
    after: str


class Folders(Message, frozen=True):
    prefix: str


class Look(Message, frozen=True):
    key: str


class Get(Message, frozen=True):
    key: str
    limit: int


class Put(Message, frozen=True):
    key: str
    data: bytes
    if_absent: bool


class Upload(Message, frozen=True):
    """`path` as the file system has it: not every name is UTF-8. `anew`: a `refresh`."""

    key: str
    path: bytes
    size: int
    crc64nvme: str
    pieces: PieceChecksums
    anew: bool


class Read(Message, frozen=True):
    key: str
    offset: int
    size: int


class Delete(Message, frozen=True):
    key: str


class CleanUp(Message, frozen=True):
    """`clean_up`."""

    prefixes: tuple[str, ...]
    older_than: float
    keep: tuple[str, ...]


class TryOut(Message, frozen=True):
    """`capabilities`."""


class Mark(Message, frozen=True):
    """`create_marker`."""


class Unmark(Message, frozen=True):
    """`remove_marker`."""


Call = Listing | Folders | Look | Get | Put | Upload | Read | Delete | CleanUp | TryOut | Mark | Unmark


class Ask(Message, frozen=True):
    """To the child: begin."""

    id: int
    call: Call


class Go(Message, frozen=True):
    """To the child: what you told is taken, go on."""

    id: int


class Stop(Message, frozen=True):
    """To the child: end this call at the next occasion."""

    id: int


Order = Ask | Go | Stop


class Ready(Message, frozen=True):
    """From the child, once: it has started, and has not touched the mount yet."""


class Entries(Message, frozen=True):
    id: int
    entries: tuple[Stat, ...]


class Moved(Message, frozen=True):
    id: int
    count: int


class Resumed(Message, frozen=True):
    id: int
    count: int


class Block(Message, frozen=True):
    """The next `size` bytes of a `Read`, which follow the frame."""

    id: int
    size: int


class Done(Message, frozen=True):
    """The call's end; `value` is what it returns, still encoded."""

    id: int
    value: msgspec.Raw


class Failed(Message, frozen=True):
    """The call's end by an error; `kind` is the name of one of our classes, empty for any other error."""

    id: int
    kind: str
    what: str
    why: str
    fix: str


Answer = Ready | Entries | Moved | Resumed | Block | Done | Failed

Incoming = TypeVar("Incoming")


class Link(Generic[Incoming]):
    """One end of the socket. Any thread may send; one receives."""

    def __init__(self, channel: socket.socket, incoming: object) -> None:
        self._channel = channel
        self._stream = channel.makefile("rb")
        self._decoder: msgspec.msgpack.Decoder[Incoming] = msgspec.msgpack.Decoder(incoming)
        self._sending = threading.Lock()

    def give_up_sending_after(self, seconds: float) -> None:
        """A peer that doesn't read makes `send` raise BlockingIOError, where it would wait for ever."""
        whole = int(seconds)
        limit = struct.pack("@ll", whole, int((seconds - whole) * 1e6))
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def send(self, message: Message, data: memoryview | None = None) -> None:
        """Raises OSError when the other end is gone."""
        body = msgspec.msgpack.encode(message)
        with self._sending:
            self._channel.sendall(_HEAD.pack(len(body)) + body)
            if data is not None:
                self._channel.sendall(data)

    def receive(self) -> Incoming:
        """The next message. Raises EOFError or OSError when the other end is gone."""
        head = bytearray(_HEAD.size)
        self.receive_into(memoryview(head))
        body = bytearray(_HEAD.unpack(head)[0])
        self.receive_into(memoryview(body))
        return self._decoder.decode(body)

    def receive_into(self, buffer: memoryview) -> None:
        """Fills `buffer` with the raw bytes that come next."""
        filled = 0
        while filled < len(buffer):
            count = self._stream.readinto(buffer[filled:])
            if not count:
                raise EOFError
            filled += count

    def shut(self) -> None:
        """Ends both directions: whoever receives at either end finds the end of the stream."""
        try:
            self._channel.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other end was faster
            return

    def close(self) -> None:
        """For the thread that receives."""
        self._stream.close()
        self._channel.close()


def failure(call: int, error: Exception) -> Failed:
    """The message for what a call raised."""
    if isinstance(error, CkptTierError):
        return Failed(call, type(error).__name__, *map(_printable, (error.what, error.why, error.fix)))
    return Failed(call, "", _printable("".join(traceback.format_exception(error))), "", "")


def error_of(failed: Failed) -> CkptTierError:
    """The error that a message stands for: of the same class, with the same words."""
    kind = _KINDS.get(failed.kind)
    if kind is None:
        return CkptTierError("the process that works on the mount failed", failed.what, "please report this")
    return kind(failed.what, failed.why, failed.fix)


def _printable(text: str) -> str:
    """Paths that are not UTF-8 hold characters that can't be sent."""
    return text.encode(errors="backslashreplace").decode()


def _with_subclasses(kind: type[CkptTierError]) -> dict[str, type[CkptTierError]]:
    found = {kind.__name__: kind}
    for below in kind.__subclasses__():
        found |= _with_subclasses(below)
    return found


_KINDS = _with_subclasses(CkptTierError)
