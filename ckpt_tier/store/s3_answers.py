"""What an S3 server answers over a connection of ours (see `s3_wire`): the head, and the body to be read.

Nearly every answer is of one plain sort, whose head is read in a tenth of the time that `http.client` takes for it;
`http.client` reads all others.
"""

import contextlib
import http.client
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ckpt_tier.store.s3_connection import Connection

if TYPE_CHECKING:
    import socket

LONGEST_HEAD = 4096
"""Bytes of the longest plain head, and of the longest interim answer."""
_BLOCK = 2**20
_UNUSUAL = ("transfer-encoding", "connection")
"""Headers by which the length of a body, or the end of a connection, is said in other ways."""
_WITH_A_BODY = frozenset(range(200, 600)) - {204, 304}
"""Statuses whose answers have one, of so many bytes as they say, except to a HEAD:
https://www.rfc-editor.org/rfc/rfc9112#name-message-body-length"""


class Answer(msgspec.Struct, frozen=True):
    """What a server said: its status, its headers by their names in small letters, and the body, to be read."""

    status: int
    headers: dict[str, str]
    body: "Body"

    def for_botocore(self, url: str) -> Any:
        """The same as botocore has it."""
        from botocore.awsrequest import AWSResponse

        return AWSResponse(url, self.status, self.headers, self.body)  # type: ignore[arg-type]


def answer_from(connection: Connection, method: str, give_back: Callable[[], object]) -> Answer:
    """Waits for the answer to a request with `method`; `give_back` is for `Body`. Raises OSError and
    http.client.HTTPException."""
    status, headers, response = _plain_answer(connection, method) or _any_answer(connection, method)
    return Answer(status, headers, Body(connection, response, give_back))


def _plain_answer(connection: Connection, method: str) -> "tuple[int, dict[str, str], _Sized] | None":
    """An answer of the sort that S3 gives nearly always: its head has come whole, says how long the body is, and that
    the connection stays. None for any other, of which nothing was taken then."""
    said = connection.peek(LONGEST_HEAD)
    head, end, _ = said.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return None
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "")
    plain = end and version == "HTTP/1.1" and _is_number(status[:3]) and _is_number(length)
    if not plain or int(status[:3]) not in _WITH_A_BODY or not headers.keys().isdisjoint(_UNUSUAL):
        return None
    connection.drop(len(head) + len(end))
    return int(status[:3]), headers, _Sized(connection, 0 if method == "HEAD" else int(length))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _any_answer(connection: Connection, method: str) -> "tuple[int, dict[str, str], http.client.HTTPResponse]":
    # All that it asks of a socket is a file to read from.
    response = http.client.HTTPResponse(cast("socket.socket", connection), method=method)
    try:
        response.begin()
    except BaseException:
        response.close()
        raise
    return response.status, {name.lower(): value for name, value in response.headers.items()}, response


class _Sized:
    """The body of an answer that has said how long it is, with the part of `http.client.HTTPResponse` that is needed
    of it."""

    will_close = False

    def __init__(self, connection: Connection, length: int) -> None:
        self._connection = connection
        self.length = length

    def isclosed(self) -> bool:
        return self.length == 0

    def read(self, amt: int | None = None) -> bytes:
        data = bytearray(self.length if amt is None else min(amt, self.length))
        got = 0
        while got < len(data):
            got += self.readinto(memoryview(data)[got:])
        return bytes(data)

    def readinto(self, buffer: memoryview) -> int:
        wanted = buffer[: self.length]
        count = self._connection.readinto(wanted) if wanted else 0
        if count == 0 and wanted:
            raise http.client.IncompleteRead(b"", self.length)
        self.length -= count
        return count

    def close(self) -> None:
        self.length = 0


class Body:
    """The body of an answer, as botocore wants it. To be used by one thread."""

    def __init__(
        self,
        connection: Connection,
        response: "http.client.HTTPResponse | _Sized",
        give_back: Callable[[], object],
    ) -> None:
        """`give_back` is called once the body was read to its end, if the connection can be used again."""
        self._connection: Connection | None = connection
        self._response = response
        self._give_back = give_back
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
            with http_errors():
                yield
        except OSError:
            self.close()
            raise

    def _end_if_read(self) -> None:
        if self._connection is None or not self._response.isclosed():
            return
        connection, self._connection = self._connection, None
        whole = self._response.length in (0, None)
        if whole and not self._response.will_close:
            self._give_back()
        else:
            connection.close()


@contextlib.contextmanager
def http_errors() -> Iterator[None]:
    """What http.client raises, as the trouble with the line that it is."""
    try:
        yield
    except http.client.HTTPException as error:
        raise ConnectionError(str(error) or type(error).__name__) from error
