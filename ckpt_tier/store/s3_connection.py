"""A connection to an S3 server over plain HTTP, and what `s3_wire` and `s3_answers` need to know of one of any sort."""

import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import BinaryIO, Literal, Protocol

from ckpt_tier.store.source_body import PieceBody

_LEAST_SPAN, _MOST_SPAN = 2**20, 2**24
"""Bytes that are handed to the kernel at a time: the fewer calls, the less of the processor they take."""
_QUICK, _SLOW = 1 / 16, 1 / 4
"""Seconds for a span, below which the next is twice as long, and above which half: progress, a stop and an early answer
of the server are to be noticed soon over any line."""
AT_MOST = 1.0
"""Seconds after which a line that takes nothing is looked at for an answer, and what has come so far is taken."""


class Connection(Protocol):
    """One connection. To be used by one thread at a time. Everything raises OSError; TimeoutError where neither a byte
    could be sent nor one came for as long as was allowed when it was made."""

    def send(self, data: bytes, *, more: bool = False) -> None:
        """`more`: a body follows at once."""

    def send_body(self, body: PieceBody, answered: Callable[[], bool]) -> bool:
        """False if `answered`, which is asked now and then, said that the server does not wait for all of it. Raises
        what `body` raises, too."""

    def has_come(self, timeout: float) -> bool:
        """Whether within so many seconds there is something to read, or the end of it."""

    def peek(self, most: int) -> bytes:
        """What there is to read, which stays there; waits for it. Empty at the end."""

    def drop(self, count: int) -> None:
        """Takes so many of the bytes that were seen by `peek`."""

    def readinto(self, buffer: memoryview) -> int:
        """Takes bytes, where at least so many are to come; waits for some. 0 at the end."""

    def makefile(self, mode: Literal["rb"]) -> BinaryIO:
        """The bytes to come, for `http.client`."""

    def close(self) -> None: ...


class PlainConnection:
    """A `Connection` over plain HTTP: the bytes go from the page cache into the socket, and are not read on the way."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._timeout = sock.gettimeout() or 0.0
        self._span = _LEAST_SPAN
        seconds = min(AT_MOST, self._timeout)
        timeval = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        # The kernel waits by itself for room, and for more of what has begun to come: so it is left and entered less
        # often. Python still waits for whatever comes first, for as long as was allowed.
        os.set_blocking(sock.fileno(), True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)

    def send(self, data: bytes, *, more: bool = False) -> None:
        self._socket.sendall(data, socket.MSG_MORE if more else 0)

    def send_body(self, body: PieceBody, answered: Callable[[], bool]) -> bool:
        begun = time.monotonic()
        while (span := body.span(self._span)) is not None:
            if answered() or not self._send_span(body, *span, answered):
                return False
            now = time.monotonic()
            self._span, begun = _next_span(self._span, now - begun), now
        return True

    def _send_span(self, body: PieceBody, file: int, offset: int, length: int, answered: Callable[[], bool]) -> bool:
        end, moved_at = offset + length, time.monotonic()
        while offset < end:
            try:
                count = os.sendfile(self._socket.fileno(), file, offset, end - offset)
            except BlockingIOError:
                if answered():
                    return False
                if time.monotonic() - moved_at >= self._timeout:
                    raise TimeoutError("timed out") from None
                continue
            if count == 0:
                raise body.cut_short(offset)
            offset, moved_at = offset + count, time.monotonic()
        return True

    def has_come(self, timeout: float) -> bool:
        return readable(self._socket, timeout)

    def peek(self, most: int) -> bytes:
        return self._socket.recv(most, socket.MSG_PEEK)

    def drop(self, count: int) -> None:
        self._socket.recv(count)

    def readinto(self, buffer: memoryview) -> int:
        return self._socket.recv_into(buffer, 0, socket.MSG_WAITALL)

    def makefile(self, mode: Literal["rb"]) -> BinaryIO:
        return self._socket.makefile(mode)

    def close(self) -> None:
        self._socket.close()


def _next_span(most: int, took: float) -> int:
    """How many bytes to send at a time, after so many took so many seconds."""
    if took < _QUICK:
        return min(most * 2, _MOST_SPAN)
    return max(most // 2, _LEAST_SPAN) if took > _SLOW else most


def readable(sock: socket.socket, timeout: float) -> bool:
    """Whether bytes, an end or an error come within `timeout` seconds."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout) * 1000))
