"""The bytes of large requests over plain HTTP by the shortest way: from the page cache into the socket, and from the
socket into the reader's buffer.

botocore signs the request, and reads the answer's status, headers and errors; only how the bytes go is ours. TLS,
proxies, and everything but the pieces of a file and the bodies of objects go by botocore's own HTTP client: see `fits`.

Sending doesn't read the file here, so its bytes are not compared with their checksum on the way. The store does that:
only pieces for a store that is known to refuse wrong checksums go this way, and when it refuses one,
`PieceBody.check` tells whether the file has changed or the line was bad.
"""

import contextlib
import http.client
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ckpt_tier.store.source_body import PieceBody

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_OPERATIONS = ("PutObject", "UploadPart", "GetObject")
_BLOCK = 2**20
_CONTINUE_TIMEOUT = 1.0
"""Seconds for which a server may think about the headers before the body is sent all the same, as botocore does:
https://www.rfc-editor.org/rfc/rfc9110#name-expect (a client should not wait for an indefinite period)."""
_LONGEST_HEAD = 4096
"""Bytes of the longest interim answer."""
_PATIENCE = 100
"""Hundredths of a second in which an answer that has begun to come must be whole."""
_MOST_IDLE = 16
"""Connections that are kept for the next request."""

_Address = tuple[str, int]
_Idle = tuple[_Address, http.client.HTTPConnection]


class Wire:
    """Connections to one S3 server over plain HTTP. Safe to use from several threads; each request has a connection
    of its own until its answer was read to the end."""

    def __init__(self, connect_timeout: float, timeout: float) -> None:
        """`timeout`: seconds for which neither a byte may be sent nor one come."""
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[_Idle] = []
        self.carries = False
        """Whether it carries a client's requests."""
        weakref.finalize(self, _close_all, self._idle)

    def attach(self, client: "S3Client") -> None:
        """Carries the client's large requests from now on, if its endpoint is reached by plain HTTP, directly."""
        from botocore.utils import get_environ_proxies

        url = client.meta.endpoint_url
        self.carries = url.startswith("http://") and not get_environ_proxies(url)
        if self.carries:
            for operation in _OPERATIONS:
                client.meta.events.register(f"before-send.s3.{operation}", self.carry)

    def carry(self, request: Any, **_: object) -> Any:
        """botocore's event before a request is sent: the answer, or None to leave the request to botocore.

        https://docs.aws.amazon.com/boto3/latest/guide/events.html
        """
        from botocore.awsrequest import AWSResponse

        if not fits(request):
            return None
        url = urlsplit(request.url)
        address = (url.hostname or "", url.port or http.client.HTTP_PORT)
        connection = self._connection(address, request.url)
        try:
            with _http_errors():
                ended = _send(connection, request, f"{url.path or '/'}{f'?{url.query}' if url.query else ''}")
                response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        body = _Body(self, address, connection, response, reusable=ended)
        headers = dict(response.headers.items())  # without `items`, each would be searched for anew
        answer: Any = AWSResponse(request.url, response.status, headers, body)  # type: ignore[arg-type]
        if not request.stream_output:
            _ = answer.content  # which gives the connection back
        return answer

    def _connection(self, address: _Address, url: str) -> http.client.HTTPConnection:
        """An idle connection that still stands, or a new one."""
        from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

        while (idle := self._take(address)) is not None:
            if not _has_news(idle.sock):
                return idle
            idle.close()  # the server has ended it
        connection = http.client.HTTPConnection(*address, timeout=self._connect_timeout)
        try:
            connection.connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=url, error=error) from error
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=url, error=error) from error
        connection.sock.settimeout(self._timeout)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    def _take(self, address: _Address) -> http.client.HTTPConnection | None:
        """The connection to `address` that was used last."""
        with self._lock:
            for idle in reversed(self._idle):
                if idle[0] == address:
                    self._idle.remove(idle)
                    return idle[1]
        return None

    def give_back(self, address: _Address, connection: http.client.HTTPConnection) -> None:
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
    return isinstance(request.body, PieceBody) and request.body.checked_by_store


def _send(connection: http.client.HTTPConnection, request: Any, target: str) -> bool:
    """Sends the request. False if the server answered before it had all of it: the connection is of no more use."""
    connection.putrequest(request.method, target, skip_host="host" in request.headers, skip_accept_encoding=True)
    for name, value in request.headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    if not isinstance(request.body, PieceBody):
        return True
    if "Expect" in request.headers and not _told_to_continue(connection.sock):
        return False
    try:
        return _send_body(connection.sock, request.body)
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
        said = sock.recv(_LONGEST_HEAD, socket.MSG_PEEK)
        head, end, _ = said.partition(b"\r\n\r\n")
        status = head[9:12]  # after "HTTP/1.1 "
        if end and status.startswith(b"1"):
            sock.recv(len(head) + len(end))
            return status
        if end or len(said) in (0, _LONGEST_HEAD):
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


class _Body:
    """The body of an answer, as botocore wants it. To be used by one thread."""

    def __init__(
        self,
        wire: Wire,
        address: _Address,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        *,
        reusable: bool,
    ) -> None:
        self._wire = wire
        self._address = address
        self._connection: http.client.HTTPConnection | None = connection
        self._response = response
        self._reusable = reusable
        self._end_if_read()

    def read(self, amt: int | None = None) -> bytes:
        with self._ended_by_errors():
            data = self._response.read(amt)
        self._end_if_read()
        return data

    def readinto(self, buffer: memoryview) -> int:
        with self._ended_by_errors():
            count = self._response.readinto(buffer)
        self._end_if_read()
        return count

    def stream(self) -> Iterator[bytes]:
        """All that is left, in blocks."""
        while data := self.read(_BLOCK):
            yield data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Ends the connection, unless the body was read to its end."""
        if self._connection is not None:
            self._response.close()
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _ended_by_errors(self) -> Iterator[None]:
        try:
            with _http_errors():
                yield
        except OSError:
            self.close()
            raise

    def _end_if_read(self) -> None:
        if self._connection is None or not self._response.isclosed():
            return
        connection, self._connection = self._connection, None
        whole = self._response.length in (0, None)
        if self._reusable and whole and not self._response.will_close:
            self._wire.give_back(self._address, connection)
        else:
            connection.close()


@contextlib.contextmanager
def _http_errors() -> Iterator[None]:
    """What http.client raises, as the trouble with the line that it is."""
    try:
        yield
    except http.client.HTTPException as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


def _close_all(idle: list[_Idle]) -> None:
    for _, connection in idle:
        connection.close()
