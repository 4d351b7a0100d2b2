"""The bytes of large requests over plain HTTP by the shortest way: from the page cache into the socket, and from the
socket into the reader's buffer.

botocore signs the request, and reads the answer's status, headers and errors; only how the bytes go is ours. TLS,
proxies, and everything but the pieces of a file and the bodies of objects go by botocore's own HTTP client: see `fits`.

Sending doesn't read the file here, so its bytes are not compared with their checksum on the way. The store does that:
only pieces for a store that is known to refuse wrong checksums go this way, and when it refuses one,
`PieceBody.check` tells whether the file has changed or the line was bad.
"""

import functools
import http.client
import os
import select
import socket
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from ckpt_tier.store.s3_answers import LONGEST_HEAD, Answer, answer_from, http_errors
from ckpt_tier.store.source_body import PieceBody

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_OPERATIONS = ("PutObject", "UploadPart", "GetObject", "HeadObject")
_BLOCK = 2**20
_CONTINUE_TIMEOUT = 1.0
"""Seconds for which a server may think about the headers before the body is sent all the same, as botocore does:
https://www.rfc-editor.org/rfc/rfc9110#name-expect (a client should not wait for an indefinite period)."""
_PATIENCE = 100
"""Hundredths of a second in which an answer that has begun to come must be whole."""
_MOST_IDLE = 16
"""Connections that are kept for the next request."""

_Address = tuple[str, int]
_Idle = tuple[_Address, socket.socket]


class Wire:
    """Connections to one S3 server over plain HTTP. Safe to use from several threads; each request has a connection
    of its own until its answer was read to the end."""

    def __init__(self, connect_timeout: float, timeout: float) -> None:
        """`timeout`: seconds for which neither a byte may be sent nor one come."""
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[_Idle] = []
        self._attached = False
        weakref.finalize(self, _close_all, self._idle)

    def attach(self, client: "S3Client") -> None:
        """Carries the client's large requests from now on, if its endpoint is reached by plain HTTP, directly."""
        from botocore.utils import get_environ_proxies

        url = client.meta.endpoint_url
        if url.startswith("http://") and not get_environ_proxies(url):
            for operation in _OPERATIONS:
                client.meta.events.register(f"before-send.s3.{operation}", self.carry)
            self._attached = True

    def carries(self, request: Any) -> bool:
        """Whether a request of botocore's went, or one like it would go, by these connections."""
        return self._attached and fits(request)

    def carry(self, request: Any, **_: object) -> Any:
        """botocore's event before a request is sent: the answer, or None to leave the request to botocore.

        https://docs.aws.amazon.com/boto3/latest/guide/events.html
        """
        if not fits(request):
            return None
        answer = self.exchange(request).for_botocore(request.url)
        if not request.stream_output:
            _ = answer.content  # which gives the connection back
        return answer

    def exchange(self, request: Any) -> Answer:
        """Sends a request that fits, and takes the head of its answer. Raises what botocore's HTTP client would."""
        url = urlsplit(request.url)
        address = (url.hostname or "", url.port or http.client.HTTP_PORT)
        head = _head(request, url)
        sock = self._connection(address, request.url)
        try:
            with http_errors():
                ended = _send(sock, head, request)
                give_back = functools.partial(self._give_back, address, sock) if ended else sock.close
                return answer_from(sock, request.method, give_back)
        except BaseException:
            sock.close()
            raise

    def _connection(self, address: _Address, url: str) -> socket.socket:
        """An idle connection that still stands, or a new one."""
        from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

        while (idle := self._take(address)) is not None:
            if not _has_news(idle):
                return idle
            idle.close()  # the server has ended it
        try:
            sock = socket.create_connection(address, self._connect_timeout)
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=url, error=error) from error
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=url, error=error) from error
        sock.settimeout(self._timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return sock

    def _take(self, address: _Address) -> socket.socket | None:
        """The connection to `address` that was used last."""
        with self._lock:
            for idle in reversed(self._idle):
                if idle[0] == address:
                    self._idle.remove(idle)
                    return idle[1]
        return None

    def _give_back(self, address: _Address, connection: socket.socket) -> None:
        """Keeps a connection whose answer was read for the next request."""
        with self._lock:
            if len(self._idle) < _MOST_IDLE:
                self._idle.append((address, connection))
                return
        connection.close()


def fits(request: Any) -> bool:
    """Whether a request (botocore's AWSPreparedRequest) goes by our connections: over plain HTTP, either the bytes of
    an object, or a piece of a file that the store checks."""
    if not request.url.startswith("http://"):  # an answer may have sent us elsewhere
        return False
    if request.method == "GET":
        return bool(request.stream_output)
    if request.method == "HEAD":
        return True
    return isinstance(request.body, PieceBody) and request.body.checked_by_store


def _head(request: Any, url: SplitResult) -> bytes:
    """The request line and headers, as RFC 9112 has them. Raises ValueError for what would end a line early."""
    target = f"{url.path or '/'}{f'?{url.query}' if url.query else ''}"
    lines = [f"{request.method} {target} HTTP/1.1"]
    if "host" not in request.headers:
        lines.append(f"Host: {url.netloc.rpartition('@')[2]}")
    for name, value in request.headers.items():
        lines.append(f"{name}: {value.decode('latin-1') if isinstance(value, bytes) else value}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a header")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def _send(sock: socket.socket, head: bytes, request: Any) -> bool:
    """Sends the request. False if the server answered before it had all of it: the connection is of no more use."""
    if not isinstance(request.body, PieceBody):
        sock.sendall(head)
        return True
    if "Expect" in request.headers:
        sock.sendall(head)
        if not _told_to_continue(sock):
            return False
    else:
        sock.sendall(head, socket.MSG_MORE)
    try:
        return _send_body(sock, request.body)
    except (BrokenPipeError, ConnectionResetError):
        return False  # whoever hangs up may have said why


def _told_to_continue(sock: socket.socket) -> bool:
    """Whether the body is wanted: the server says so, or says nothing."""
    while _ready(sock, select.POLLIN, _CONTINUE_TIMEOUT):
        status = _interim(sock)
        if status is None or status == b"100":
            return status is not None
    return True


def _interim(sock: socket.socket) -> bytes | None:
    """Takes an interim answer (1xx) that waits to be read; its status. None where it is the final answer that waits, or
    the end of the connection."""
    for _ in range(_PATIENCE):
        said = sock.recv(LONGEST_HEAD, socket.MSG_PEEK)
        head, end, _ = said.partition(b"\r\n\r\n")
        status = head[9:12]  # after "HTTP/1.1 "
        if end and status.startswith(b"1"):
            sock.recv(len(head) + len(end))
            return status
        if end or len(said) in (0, LONGEST_HEAD):
            return None
        time.sleep(0.01)  # the rest of it is on its way
    return None


def _send_body(sock: socket.socket, body: PieceBody) -> bool:
    """Sends the piece. False if the server answered before it had all of it."""
    for descriptor, offset, length in body.spans(_BLOCK):
        end = offset + length
        if _ready(sock, select.POLLIN, 0) and _interim(sock) is None:
            return False
        while offset < end:
            try:
                count = os.sendfile(sock.fileno(), descriptor, offset, end - offset)
            except BlockingIOError:
                events = _ready(sock, select.POLLIN | select.POLLOUT, sock.gettimeout())
                if not events:
                    raise TimeoutError("timed out") from None
                if events & select.POLLIN and _interim(sock) is None:
                    return False
                continue
            if count == 0:
                raise body.cut_short(offset)
            offset += count
    return True


def _ready(sock: socket.socket, events: int, timeout: float | None) -> int:
    """Which of the events have come within `timeout` seconds; 0 for none. An error counts as both."""
    poll = select.poll()
    poll.register(sock, events)
    found = poll.poll(None if timeout is None else timeout * 1000)
    return found[0][1] if found else 0


def _has_news(sock: socket.socket) -> bool:
    """Whether an idle connection has something to read: it was closed, or belongs to somebody else."""
    return bool(_ready(sock, select.POLLIN, 0))


def _close_all(idle: list[_Idle]) -> None:
    for _, connection in idle:
        connection.close()
