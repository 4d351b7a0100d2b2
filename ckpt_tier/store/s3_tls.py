"""A connection to an S3 server over TLS.

A TLS socket of Python's can't be looked into without taking what is there, and gives its readers 16 KiB at a time. So
OpenSSL works on memory here, and the bytes come and go by a plain socket, in large blocks. Who may certify a server,
and how that is checked, is as in botocore.
"""

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import BinaryIO, Literal, cast

from ckpt_tier.store.s3_connection import AT_MOST, readable
from ckpt_tier.store.source_body import PieceBody

_RAW = 2**18
"""Bytes of TLS taken from the kernel at a time."""


class Certificates:
    """Whom to believe that it is the server it claims to be. Safe to use from several threads."""

    def __init__(self, verify: str | Literal[True]) -> None:
        """`verify`: the file of authorities, True for those that botocore comes with. It is read at the first use."""
        self._verify = verify
        self._lock = threading.Lock()
        self._made: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """OpenSSL's settings, as botocore makes them. Raises OSError where the file can't be read."""
        from botocore.httpsession import create_urllib3_context, get_cert_path

        with self._lock:
            if self._made is None:
                context = create_urllib3_context()
                context.load_verify_locations(get_cert_path(self._verify))  # type: ignore[arg-type]  # a path, too
                context.verify_mode = ssl.CERT_REQUIRED
                context.check_hostname = True
                self._made = context
            return self._made


class TlsConnection:
    """A `Connection` over TLS. What it sends is read, and its checksum proven before the last block leaves."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """Says hello, and checks that the server is `host`. Raises ssl.SSLError when it is not."""
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._raw = memoryview(bytearray(_RAW))
        self._ahead = b""
        self._ended = False
        self._cut: ssl.SSLEOFError | None = None
        self._hands_shaken()

    def _hands_shaken(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._take()
            else:
                self._flush()
                return

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._socket.sendall(self._outgoing.read())

    def _take(self) -> None:
        """Waits for bytes of TLS."""
        self._flush()  # which the other end may be waiting for
        count = self._socket.recv_into(self._raw)
        if count:
            self._incoming.write(self._raw[:count])
        else:
            self._incoming.write_eof()

    def send(self, data: bytes, *, more: bool = False) -> None:
        self._tls.write(data)
        if not more:
            self._flush()

    def send_body(self, body: PieceBody, answered: Callable[[], bool]) -> bool:
        while block := body.read():
            if answered():
                return False
            self._tls.write(block)
            self._flush()
        return True

    def has_come(self, timeout: float) -> bool:
        until = time.monotonic() + timeout
        while not (self._ahead or self._ended or self._cut):
            if self._has_arrived and (self._reads_ahead(2**14, anyway=True) or self._cut):
                continue
            # What comes may be a word among the two ends of TLS: then the wait goes on.
            if not readable(self._socket, until - time.monotonic()):
                return False
            self._take()
        return True

    @property
    def _has_arrived(self) -> bool:
        """Whether there is anything to decrypt, or an end to be found: to try it in vain takes ten times as long."""
        return bool(self._incoming.pending or self._incoming.eof or self._tls.pending())

    def peek(self, most: int) -> bytes:
        while (
            len(self._ahead) < most
            and not self._ended
            and not self._reads_ahead(most - len(self._ahead), anyway=bool(self._ahead))
        ):
            if self._ahead and (self._cut or not readable(self._socket, 0)):
                break
            self._take()
        return self._ahead[:most]

    def _reads_ahead(self, most: int, *, anyway: bool) -> bool:
        """Whether something came, or the end, of what has arrived already. `anyway`: see `_decrypted`."""
        buffer = memoryview(bytearray(most))
        count = self._decrypted(buffer, anyway=anyway)
        if count is None:
            return False
        self._ahead += bytes(buffer[:count])
        return True

    def _decrypted(self, buffer: memoryview, *, anyway: bool) -> int | None:
        """Reads from what has arrived; 0 at the end, None if more must come first.

        Raises ssl.SSLEOFError where the line was cut; `anyway`: then it is only noted, and raised at the next call,
        since there are bytes from before to be read first.
        """
        if self._ended:
            return 0
        try:
            if self._cut is not None:
                raise self._cut
            count: int = self._tls.read(len(buffer), buffer)  # type: ignore[assignment]  # with a buffer, a number
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLEOFError as error:
            self._cut = error
            if anyway:
                return None
            raise
        except ssl.SSLZeroReturnError:  # the server has said that this is the end
            count = 0
        self._ended = count == 0
        return count

    def drop(self, count: int) -> None:
        self._ahead = self._ahead[count:]

    def readinto(self, buffer: memoryview) -> int:
        return self._read_at_least(len(buffer), buffer)

    def read_some(self, buffer: memoryview) -> int:
        """Takes what there is; waits where there is nothing. 0 at the end."""
        return self._read_at_least(1, buffer)

    def _read_at_least(self, least: int, buffer: memoryview) -> int:
        """Waits for so many bytes, but for some only once `AT_MOST` seconds have passed."""
        until = time.monotonic() + AT_MOST
        got = min(len(self._ahead), len(buffer))
        if got:
            buffer[:got] = self._ahead[:got]
            self._ahead = self._ahead[got:]
        while got < len(buffer):
            count = self._decrypted(buffer[got:], anyway=got > 0)
            if count == 0:
                break
            if count is not None:
                got += count
            elif got >= least or self._cut or (got and not readable(self._socket, until - time.monotonic())):
                break
            else:
                self._take()
        return got

    def makefile(self, mode: Literal["rb"]) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(_Reading(self)))

    def close(self) -> None:
        self._socket.close()


class _Reading(io.RawIOBase):
    """What a connection brings, as a stream."""

    def __init__(self, connection: TlsConnection) -> None:
        super().__init__()
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader gives nothing else
        return self._connection.read_some(memoryview(buffer))
