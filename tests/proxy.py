"""A proxy before a real S3 server that does to requests and answers what lines and lesser servers do."""

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tests.minio import Bucket, Server


class Request(msgspec.Struct):
    """A request on its way; may be changed. `headers` have lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Answer(msgspec.Struct):
    """An answer on its way; may be changed. With `cut_at` the connection breaks after so many bytes of the body."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut_at: int | None = None


Before = Callable[[Request], Answer | None]
After = Callable[[Request, Answer], None]


def refusal(status: int, code: str) -> Answer:
    """An error as S3 words it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said the proxy</Message></Error>".encode()
    return Answer(status, {"content-type": "application/xml"}, body)


class Trouble:
    """What to do to the traffic; `seen` lists each request's method and path, `announced` those of requests that asked
    whether their body is wanted."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.announced: list[str] = []
        self.before: Before = lambda _request: None
        self.after: After = lambda _request, _answer: None


@contextlib.contextmanager
def troubled(bucket: Bucket) -> Iterator[tuple[Bucket, Trouble]]:
    """The same bucket through a proxy."""
    upstream = urlsplit(bucket.endpoint_url)
    trouble = Trouble()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: Any) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError, TimeoutError):
                super().handle()

        def handle_expect_100(self) -> bool:
            trouble.announced.append(f"{self.command} {self.path}")
            return super().handle_expect_100()

        def forward(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items() if name.lower() != "expect"}
            request = Request(self.command, self.path, headers, self.rfile.read(length))
            trouble.seen.append(f"{request.method} {request.path}")
            answer = trouble.before(request)
            if answer is None:
                answer = self.ask(request)
                trouble.after(request, answer)
            self.reply(answer)

        def ask(self, request: Request) -> Answer:
            connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=60)
            with contextlib.closing(connection):
                connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
                for name, value in request.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(request.body)
                response = connection.getresponse()
                headers = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, headers, response.read())

        def reply(self, answer: Answer) -> None:
            if self.command != "HEAD" or "content-length" not in answer.headers:
                answer.headers["content-length"] = str(len(answer.body))
            answer.headers.pop("transfer-encoding", None)
            if answer.cut_at is not None:
                self.close_connection = True
                if answer.cut_at < 0:
                    return
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.cut_at])

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        place = Server(bucket.server.kind, endpoint, bucket.server.access_key, bucket.server.secret_key)
        yield Bucket(place, bucket.bucket, bucket.client), trouble
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
