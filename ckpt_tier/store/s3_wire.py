"""Requests about objects by a short way: over connections of ours, from the page cache into the socket, and from the
socket into the reader's buffer.

botocore signs the request, and reads the answer's status, headers and errors; only how the bytes go is ours. Proxies,
and everything but the pieces of a file and the bodies of objects, are left to botocore's own HTTP client: see `fits`.

Over plain HTTP, sending doesn't read the file here, so its bytes are not compared with their checksum on the way. The
store does that: only pieces for a store that is known to refuse wrong checksums go this way, and when it refuses one,
`PieceBody.check` tells whether the file has changed or the line was bad.
"""

import functools
import http.client
import socket
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, urlsplit

from ckpt_tier.store.s3_answers import LONGEST_HEAD, Answer, answer_from, http_errors
from ckpt_tier.store.s3_connection import Connection, PlainConnection
from ckpt_tier.store.source_body import PieceBody

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from ckpt_tier.store.s3_tls import Certificates

SENT_AT_ONCE = 2**20
"""A body of so many bytes is not announced: to ask whether it is wanted takes a way to the store and back, and may cost
as much as sending it."""
_OPERATIONS = ("PutObject", "UploadPart", "GetObject", "HeadObject")
_CONTINUE_TIMEOUT = 1.0
"""Seconds for which a server may think about the headers before the body is sent all the same, as botocore does:
https://www.rfc-editor.org/rfc/rfc9110#name-expect (a client should not wait for an indefinite period)."""
_PATIENCE = 100
"""Hundredths of a second in which an answer that has begun to come must be whole."""
_MOST_IDLE = 16
"""Connections that are kept for the next request."""

_Address = tuple[str, int]
_Idle = tuple[_Address, Connection]


class Wire:
    """Connections to one S3 server. Safe to use from several threads; each request has a connection of its own until
    its answer was read to the end."""

    def __init__(self, connect_timeout: float, timeout: float) -> None:
        """`timeout`: seconds for which neither a byte may be sent nor one come."""
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[_Idle] = []
        self._attached = False
        self._certificates: Certificates | None = None
        weakref.finalize(self, _close_all, self._idle)

    def attach(self, client: "S3Client", verify: str | Literal[True]) -> None:
        """Carries the client's requests about objects from now on, if its endpoint is reached directly. `verify` is
        what the client goes by, too: a file of authorities, or True for botocore's."""
        from botocore.utils import get_environ_proxies

        url = client.meta.endpoint_url
        if get_environ_proxies(url):
            return
        if url.startswith("https://"):
            from ckpt_tier.store.s3_tls import Certificates

            self._certificates = Certificates(verify)
        for operation in _OPERATIONS:
            client.meta.events.register(f"before-send.s3.{operation}", self.carry)
        self._attached = True

    def carries(self, request: Any) -> bool:
        """Whether a request of botocore's went, or one like it would go, by these connections."""
        return self._attached and self._knows_scheme(request.url) and fits(request)

    def _knows_scheme(self, url: str) -> bool:
        """An answer may have sent us elsewhere."""
        return url.startswith("http://" if self._certificates is None else "https://")

    def carry(self, request: Any, **_: object) -> Any:
        """botocore's event before a request is sent: the answer, or None to leave the request to botocore.

        https://docs.aws.amazon.com/boto3/latest/guide/events.html
        """
        if not (self._knows_scheme(request.url) and fits(request)):
            return None
        answer = self.exchange(request).for_botocore(request.url)
        if not request.stream_output:
            _ = answer.content  # which gives the connection back
        return answer

    def exchange(self, request: Any) -> Answer:
        """Sends a request that fits, and takes the head of its answer. Raises what botocore's HTTP client would."""
        url = urlsplit(request.url)
        head = _head(request, url)
        port = http.client.HTTP_PORT if self._certificates is None else http.client.HTTPS_PORT
        address = (url.hostname or "", url.port or port)
        connection = self._connection(address, request.url)
        try:
            with http_errors():
                ended = _send(connection, head, request)
                give_back = functools.partial(self._give_back, address, connection) if ended else connection.close
                return answer_from(connection, request.method, give_back)
        except BaseException:
            connection.close()
            raise

    def _connection(self, address: _Address, url: str) -> Connection:
        """An idle connection that still stands, or a new one."""
        while (idle := self._take(address)) is not None:
            if not idle.has_come(0):
                return idle
            idle.close()  # the server has ended it, or it belongs to somebody else
        return self._connected(address, url)

    def _connected(self, address: _Address, url: str) -> Connection:
        from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, SSLError

        try:
            sock = socket.create_connection(address, self._connect_timeout)
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=url, error=error) from error
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=url, error=error) from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._certificates is None:
            sock.settimeout(self._timeout)
            return PlainConnection(sock)

        from ckpt_tier.store.s3_tls import TlsConnection

        try:
            connection = TlsConnection(sock, self._certificates.context(), address[0])
        except OSError as error:
            sock.close()
            raise SSLError(endpoint_url=url, error=error) from error
        sock.settimeout(self._timeout)
        return connection

    def _take(self, address: _Address) -> Connection | None:
        """The connection to `address` that was used last."""
        with self._lock:
            for idle in reversed(self._idle):
                if idle[0] == address:
                    self._idle.remove(idle)
                    return idle[1]
        return None

    def _give_back(self, address: _Address, connection: Connection) -> None:
        """Keeps a connection whose answer was read for the next request."""
        with self._lock:
            if len(self._idle) < _MOST_IDLE:
                self._idle.append((address, connection))
                return
        connection.close()


def fits(request: Any) -> bool:
    """Whether a request (botocore's AWSPreparedRequest) goes by our connections: for the bytes of an object, or with a
    piece of a file that the store checks."""
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


def _send(connection: Connection, head: bytes, request: Any) -> bool:
    """Sends the request. False if the server answered before it had all of it: the connection is of no more use."""
    if not isinstance(request.body, PieceBody):
        connection.send(head)
        return True
    if "Expect" in request.headers:
        connection.send(head)
        if not _told_to_continue(connection):
            return False
    else:
        connection.send(head, more=True)
    try:
        return connection.send_body(request.body, lambda: connection.has_come(0) and _interim(connection) is None)
    except (BrokenPipeError, ConnectionResetError):
        return False  # whoever hangs up may have said why


def _told_to_continue(connection: Connection) -> bool:
    """Whether the body is wanted: the server says so, or says nothing."""
    while connection.has_come(_CONTINUE_TIMEOUT):
        status = _interim(connection)
        if status is None or status == b"100":
            return status is not None
    return True


def _interim(connection: Connection) -> bytes | None:
    """Takes an interim answer (1xx) that waits to be read; its status. None where it is the final answer that waits, or
    the end of the connection."""
    for _ in range(_PATIENCE):
        said = connection.peek(LONGEST_HEAD)
        head, end, _ = said.partition(b"\r\n\r\n")
        status = head[9:12]  # after "HTTP/1.1 "
        if end and status.startswith(b"1"):
            connection.drop(len(head) + len(end))
            return status
        if end or len(said) in (0, LONGEST_HEAD):
            return None
        time.sleep(0.01)  # the rest of it is on its way
    return None


def _close_all(idle: list[_Idle]) -> None:
    for _, connection in idle:
        connection.close()
