"""Connections of ours, plain and over TLS, against servers on loopback that answer as they are told to."""

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.awsrequest import HeadersDict
from botocore.exceptions import EndpointConnectionError, SSLError

from ckpt_tier.errors import CancelledError, SourceChangedError
from ckpt_tier.store import s3_connection, s3_tls, s3_wire
from ckpt_tier.store.s3 import S3Options, S3Store
from ckpt_tier.store.s3_tls import Certificates
from ckpt_tier.store.s3_wire import Wire, fits
from ckpt_tier.store.source_body import PieceBody, opened
from tests.stores import Counter, random_bytes, source_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
REFUSED = b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!"
SIZE = 3 * 2**20 + 17

Handler = Callable[["Caller"], None]


class Caller:
    """One connection as a server sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._file = connection.makefile("rb")

    def head(self) -> bytes:
        """The next request's head; empty at the end of the connection."""
        lines = []
        while (line := self._file.readline()) not in (b"\r\n", b""):
            lines.append(line)
        return b"".join(lines)

    def body(self, size: int) -> bytes:
        return self._file.read(size)

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)


class Server:
    """Answers each connection by the next handler; notes what came."""

    tls: ssl.SSLContext | None = None

    def __init__(self, *handlers: Handler) -> None:
        self._handlers = list(handlers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.connections = 0
        scheme = "https" if self.tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/bucket/key?partNumber=1"

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        for handler in self._handlers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection, contextlib.suppress(OSError, ValueError):
                self._answer(connection, handler)

    def _answer(self, connection: socket.socket, handler: Handler) -> None:
        ours = self.tls.wrap_socket(connection, server_side=True) if self.tls else connection
        with ours:
            caller = Caller(ours)
            handler(caller)
            caller._file.close()
            if isinstance(ours, ssl.SSLSocket):
                ours.settimeout(0.01)
                ours.unwrap()  # says that this is the end, and does not wait for the other end to say so, too


class Asked(msgspec.Struct):
    """What botocore would hand over."""

    method: str
    url: str
    headers: Any
    body: Any
    stream_output: bool = False


@pytest.fixture
def data() -> bytes:
    return random_bytes(SIZE)


@pytest.fixture
def path(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.pt"
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """What a server on loopback shows, and the file that says to believe it."""
    import trustme

    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    path = tmp_path_factory.mktemp("certificate") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return served, path


MakeWire = Callable[[float], Wire]


@pytest.fixture(params=["plain", "TLS"])
def make_wire(
    request: pytest.FixtureRequest, certificate: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> MakeWire:
    """A wire to servers of one sort, which waits for so many seconds."""
    served, authorities = certificate
    if request.param == "TLS":
        monkeypatch.setattr(Server, "tls", served)

    def make(timeout: float) -> Wire:
        wire = Wire(5.0, timeout)
        wire._certificates = Certificates(str(authorities)) if request.param == "TLS" else None
        return wire

    return make


@pytest.fixture
def wire(make_wire: MakeWire) -> Wire:
    return make_wire(5.0)


@contextlib.contextmanager
def piece(path: Path, counter: Counter | None = None, stopped: threading.Event | None = None) -> Iterator[PieceBody]:
    source = source_of(path)
    with opened(source) as descriptor:
        yield PieceBody(
            source, descriptor, 0, source.size, int(source.crc64nvme, 16), counter or Counter(),
            stopped or threading.Event(), checked_by_store=True,
        )  # fmt: skip


def put(server: Server, body: PieceBody) -> Asked:
    headers = HeadersDict({"Content-Length": str(SIZE), "Expect": "100-continue", "X-Amz-Date": b"now"})
    return Asked("PUT", server.url, headers, body)


def get(server: Server) -> Asked:
    return Asked("GET", server.url, HeadersDict({}), None, stream_output=True)


def test_a_piece_arrives_as_it_is_after_the_server_has_asked_for_it(wire: Wire, path: Path, data: bytes) -> None:
    came = []

    def handler(caller: Caller) -> None:
        came.append(caller.head())
        caller.say(CONTINUE)
        came.append(caller.body(SIZE))
        caller.say(OK)

    counter = Counter()
    with Server(handler) as server, piece(path, counter) as body:
        answer = wire.carry(put(server, body))
    assert answer.status_code == 200
    head, arrived = came
    assert head.startswith(b"PUT /bucket/key?partNumber=1 HTTP/1.1\r\n")
    assert head.lower().count(b"\r\nhost: ") == 1
    assert b"X-Amz-Date: now\r\n" in head
    assert arrived == data
    assert counter.moved_bytes == SIZE


def test_a_server_that_says_continue_twice_or_not_at_all_gets_the_body_all_the_same(
    wire: Wire, path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_wire, "_CONTINUE_TIMEOUT", 0.1)
    came = []

    def twice(caller: Caller) -> None:
        caller.head()
        caller.say(CONTINUE + b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CONTINUE[:9])
        came.append(caller.body(2**18))
        caller.say(CONTINUE[9:])
        came.append(caller.body(SIZE - 2**18))
        caller.say(OK)
        caller.head()  # the same connection, with no word before the body
        came.append(caller.body(SIZE))
        caller.say(OK)

    with Server(twice) as server:
        for _ in range(2):
            with piece(path) as body:
                assert wire.carry(put(server, body)).status_code == 200
    assert came[0] + came[1] == data
    assert came[2] == data
    assert server.connections == 1


@pytest.mark.parametrize("when", ["before the body", "amid the body", "amid the body, and hangs up"])
def test_a_refusal_is_read_and_its_connection_not_used_again(wire: Wire, path: Path, when: str) -> None:
    def refusing(caller: Caller) -> None:
        caller.head()
        if when != "before the body":
            caller.say(CONTINUE)
            caller.body(2**19)
        caller.say(REFUSED)
        if "hangs up" in when:
            caller.socket.shutdown(socket.SHUT_WR)
        while caller.body(2**16):
            pass

    def taking(caller: Caller) -> None:
        caller.head()
        caller.say(CONTINUE)
        caller.body(SIZE)
        caller.say(OK)

    with Server(refusing, taking) as server:
        with piece(path) as body:
            answer = wire.carry(put(server, body))
        assert (answer.status_code, answer.content) == (412, b"no!")
        with piece(path) as body:
            assert wire.carry(put(server, body)).status_code == 200
    assert server.connections == 2


@pytest.mark.parametrize("silently", [False, True])
def test_an_idle_connection_that_the_server_has_closed_is_replaced(wire: Wire, silently: bool) -> None:
    gone = threading.Event()

    def once(caller: Caller) -> None:
        caller.head()
        caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        if silently:
            caller.socket.shutdown(socket.SHUT_RDWR)

    def again(caller: Caller) -> None:
        caller.head()
        caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")
        gone.set()

    with Server(once, again) as server:
        assert wire.carry(get(server)).content == b"first"
        while not wire._idle[0][1].has_come(0):
            pass
        assert wire.carry(get(server)).content == b"second"
    assert gone.is_set()


def test_a_body_that_breaks_off_is_an_error_of_the_line(wire: Wire) -> None:
    def short(caller: Caller) -> None:
        caller.head()
        caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")

    with Server(short) as server:
        answer = wire.carry(get(server))
        with pytest.raises(ConnectionError, match="IncompleteRead"):
            answer.raw.read()
    assert not wire._idle


HEAD = b"HTTP/1.1 200 OK\r\nETag: x\r\n"


@pytest.mark.parametrize(
    ("said", "stays"),
    [
        (HEAD + b"Content-Length: 5\r\n\r\nhello", True),
        (HEAD + b"Vary: Origin\r\nVary: Accept-Encoding\r\nContent-Length: 5\r\n\r\nhello", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", True),
        (HEAD + b"X: " + b"x" * 9000 + b"\r\nContent-Length: 5\r\n\r\nhello", True),
        (HEAD + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello", False),
        (HEAD + b"\r\nhello", False),
        (b"HTTP/1.0 200 OK\r\nETag: x\r\nContent-Length: 5\r\n\r\nhello", False),
        (HEAD + b"X: folded\r\n over lines\r\nContent-Length: 5\r\n\r\nhello", True),
    ],
    ids=["plain", "a header twice", "chunked", "a long head", "close", "no length", "HTTP 1.0", "folded"],
)
@pytest.mark.parametrize("slowly", [False, True], ids=["at once", "in two halves"])
def test_an_answer_of_any_sort_is_read(wire: Wire, said: bytes, stays: bool, slowly: bool) -> None:
    def handler(caller: Caller) -> None:
        caller.head()
        if slowly:
            caller.say(said[:30])
            time.sleep(0.02)
            caller.say(said[30:])
        else:
            caller.say(said)
        if stays:
            caller.head()

    with Server(handler) as server:
        answer = wire.carry(get(server))
        assert (answer.status_code, answer.headers["ETag"]) == (200, "x")
        assert answer.content == b"hello"
        assert bool(wire._idle) is stays
        while wire._idle:
            wire._idle.pop()[1].close()


def test_a_line_break_in_a_header_is_never_sent(wire: Wire) -> None:
    with Server() as server:
        asked = get(server)
        asked.headers["X-Amz-Meta-Note"] = "a\r\nX-Amz-Acl: public-read"
        with pytest.raises(ValueError, match="line break"):
            wire.carry(asked)


def test_what_has_come_of_a_body_is_not_held_back_until_more_comes(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (s3_connection, s3_tls):
        monkeypatch.setattr(module, "AT_MOST", 0.1)
    taken = threading.Event()

    def halting(caller: Caller) -> None:
        caller.head()
        caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234")
        taken.wait(30)
        caller.say(b"567890")

    with Server(halting) as server:
        answer = wire.carry(get(server))
        buffer = memoryview(bytearray(10))
        first = answer.raw.readinto(buffer)
        taken.set()
        assert 0 < first < 10
        assert answer.raw.readinto(buffer[first:]) == 10 - first
    assert buffer.tobytes() == b"1234567890"


def test_a_body_that_is_left_unread_ends_its_connection(wire: Wire) -> None:
    def long(caller: Caller) -> None:
        caller.head()
        caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234567890")
        caller.head()

    with Server(long) as server:
        answer = wire.carry(get(server))
        assert answer.raw.readinto(memoryview(bytearray(4))) == 4
        answer.raw.close()
    assert not wire._idle


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"HTTP/1.1 2"])
def test_what_is_no_answer_is_an_error_of_the_line(
    wire: Wire, path: Path, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_wire, "_PATIENCE", 10)

    def handler(caller: Caller) -> None:
        caller.head()
        caller.say(said)

    with Server(handler) as server, piece(path) as body, pytest.raises(ConnectionError):
        wire.carry(put(server, body))


def test_a_server_that_falls_silent_is_waited_for_no_longer_than_allowed(make_wire: MakeWire, tmp_path: Path) -> None:
    done = threading.Event()

    def silent(caller: Caller) -> None:
        caller.head()
        caller.say(CONTINUE)
        done.wait(30)

    tmp_path.joinpath("big").write_bytes(bytes(2**25))  # more than the buffers of a socket hold
    with Server(silent) as server, piece(tmp_path / "big") as body:
        with pytest.raises(TimeoutError):
            make_wire(0.1).carry(put(server, body))
        done.set()


def test_nobody_there_is_what_botocore_calls_it(wire: Wire) -> None:
    with Server() as server:
        pass
    with pytest.raises(EndpointConnectionError):
        wire.carry(get(server))


def taking_all(caller: Caller) -> None:
    caller.head()
    caller.say(CONTINUE)
    caller.body(SIZE)


def test_a_file_that_is_cut_while_it_is_sent_has_changed(wire: Wire, path: Path) -> None:
    class Cutting(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            os.truncate(path, 2**20 + 5)

    with Server(taking_all) as server, piece(path, Cutting()) as body:
        with pytest.raises(SourceChangedError, match="ends at byte 1048581"):
            wire.carry(put(server, body))
        with pytest.raises(SourceChangedError):
            body.check()
    assert not wire._idle


def test_a_stop_ends_the_sending(wire: Wire, path: Path) -> None:
    stopped = threading.Event()

    class Stopping(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            stopped.set()

    counter = Stopping()
    with Server(taking_all) as server, piece(path, counter, stopped) as body, pytest.raises(CancelledError):
        wire.carry(put(server, body))
    assert counter.moved_bytes < SIZE


def test_a_piece_is_checked_by_reading_it_once_more(path: Path, data: bytes) -> None:
    with piece(path) as body:
        body.check()
        with path.open("r+b") as file:
            file.write(bytes([data[0] ^ 1]))
        with pytest.raises(SourceChangedError, match="other bytes"):
            body.check()


def test_only_pieces_that_the_store_checks_and_bodies_of_objects_go_this_way(path: Path) -> None:
    with piece(path) as body:
        assert fits(Asked("PUT", "http://a/b", {}, body))
        body.checked_by_store = False
        assert not fits(Asked("PUT", "http://a/b", {}, body))
    assert not fits(Asked("PUT", "http://a/b", {}, b"small"))
    assert fits(Asked("GET", "http://a/b", {}, None, stream_output=True))
    assert not fits(Asked("GET", "http://a/b", {}, None))


@pytest.mark.parametrize(
    ("url", "environment", "ours"),
    [
        ("http://127.0.0.1:9", {}, True),
        ("https://127.0.0.1:9", {}, True),
        ("https://store.invalid:9", {"https_proxy": "http://127.0.0.1:3128"}, False),
        ("http://store.invalid:9", {"http_proxy": "http://127.0.0.1:3128"}, False),
        ("http://store.invalid:9", {"http_proxy": "http://127.0.0.1:3128", "no_proxy": "store.invalid"}, True),
    ],
)
def test_proxies_are_left_to_botocore(
    url: str, environment: dict[str, str], ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", **environment}.items():
        monkeypatch.setenv(name, value)
    attached = []
    monkeypatch.setattr(Wire, "carry", lambda self, request, **_: attached.append(request) or _an_answer())
    store = S3Store("bucket", "", S3Options(endpoint_url=url, region="us-east-1"))
    with contextlib.suppress(Exception):
        store.get("x", 100)
    assert bool(attached) is ours


def _an_answer() -> Any:
    raise ConnectionError("not sent")


def test_a_request_that_an_answer_has_sent_elsewhere_is_left_to_botocore(wire: Wire) -> None:
    other = "http://127.0.0.1:9/x" if Server.tls else "https://127.0.0.1:9/x"
    assert wire.carry(Asked("GET", other, HeadersDict({}), None, stream_output=True)) is None


@pytest.mark.parametrize("make_wire", ["TLS"], indirect=True)
@pytest.mark.parametrize("whose", ["nobody's", "another host's"])
def test_a_server_that_can_not_show_who_it_is_gets_no_request(
    make_wire: MakeWire, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trustme

    came = []
    wire = make_wire(5.0)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if whose == "nobody's":
        trustme.CA().issue_cert("127.0.0.1").configure_cert(served)
        monkeypatch.setattr(Server, "tls", served)
    with Server(lambda caller: came.append(caller.head())) as server:
        asked = get(server)
        if whose == "another host's":
            asked.url = asked.url.replace("127.0.0.1", "localhost")
        with pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            wire.carry(asked)
    assert not any(came)
    assert not wire._idle


@pytest.mark.parametrize("make_wire", ["TLS"], indirect=True)
def test_an_end_that_the_server_has_not_said_is_no_end_of_a_body(make_wire: MakeWire) -> None:
    """Who cuts the line must not be able to cut what came over it short."""

    def cut(caller: Caller) -> None:
        caller.head()
        caller.say(HEAD + b"\r\nhel")
        caller.socket.shutdown(socket.SHUT_RDWR)

    with Server(cut) as server:
        answer = make_wire(5.0).carry(get(server))
        with pytest.raises(OSError, match=r"(?i)eof"):
            answer.raw.read()
