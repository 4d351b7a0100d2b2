"""Requests that are made from an earlier one: what is asked, and what becomes of answers that are no plain success."""

import http.server
import threading
from typing import Any

import pytest

from ckpt_tier.errors import IntegrityError, MissingKeyError, UnavailableError
from ckpt_tier.store.s3 import S3Store
from ckpt_tier.store.s3_requests import S3Options
from ckpt_tier.system.digests import crc64nvme, to_base64
from tests import minio
from tests.minio import set_credentials

DATA = b"what the object holds"
CRC = to_base64(crc64nvme(DATA))
Answer = tuple[int, dict[str, str], bytes]


class Server:
    """Says `answers` in turn, the last one for ever, and keeps the headers of what it was asked in `seen`."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.seen: list[dict[str, str]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.seen.append({name.lower(): value for name, value in self.headers.items()} | {":path": self.path})
                status, headers, body = outer.answers[0] if len(outer.answers) == 1 else outer.answers.pop(0)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch, minio.Server("none", "", access_key="an-id", secret_key="a-secret"))


def whole(**headers: str) -> Answer:
    return 200, {"ETag": '"x"'} | {name.replace("_", "-"): value for name, value in headers.items()}, DATA


def part(body: bytes = b"what") -> Answer:
    return 206, {"ETag": '"x"', "Content-Range": f"bytes 0-3/{len(DATA)}"}, body


def error(status: int, code: str) -> Answer:
    return status, {}, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so</Message></Error>".encode()


def store(server: Server) -> S3Store:
    """After one read of a range and one of an object, as botocore makes them."""
    rest = server.answers
    server.answers = [part(), whole(), *rest]
    store = S3Store("bucket", "pre fix", S3Options(endpoint_url=server.url))
    assert read(store) == b"what"
    assert store.get("key", 100) == DATA
    assert all("amz-sdk-request" in seen for seen in server.seen)
    server.seen.clear()
    return store


def read(store: S3Store) -> bytes:
    return b"".join(bytes(block) for block in store.read("a key+ä", 0, 4))


def test_a_range_is_asked_for_signed_and_under_our_name() -> None:
    with Server(part()) as server:
        assert read(store(server)) == b"what"
    [seen] = server.seen
    assert "amz-sdk-request" not in seen
    assert seen[":path"] == "/bucket/pre%20fix/a%20key%2B%C3%A4"
    assert seen["range"] == "bytes=0-3"
    assert "Credential=an-id/" in seen["authorization"]
    assert "range" in seen["authorization"]
    assert "ckpt-tier" in seen["user-agent"]


@pytest.mark.parametrize("crc", [CRC, None])
def test_an_object_is_held_against_the_checksum_that_the_store_has_noted(crc: str | None) -> None:
    with Server(whole(x_amz_checksum_crc64nvme=crc) if crc else whole()) as server:
        assert store(server).get("key", 100) == DATA
    assert server.seen[0]["x-amz-checksum-mode"] == "ENABLED"


@pytest.mark.parametrize("name", ["x_amz_checksum_crc64nvme", "x_amz_checksum_crc32", "x_amz_checksum_sha256"])
def test_an_object_with_another_checksum_is_damaged(name: str) -> None:
    with Server(whole(**{name: "AAAAAA=="})) as server, pytest.raises(IntegrityError):
        store(server).get("key", 100)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [(error(404, "NoSuchKey"), MissingKeyError), (error(503, "SlowDown"), UnavailableError)],
)
def test_a_refusal_is_told_after_one_request_and_botocore_makes_the_next(
    refusal: Answer, kind: type[Exception]
) -> None:
    with Server(refusal, part()) as server:
        of = store(server)
        with pytest.raises(kind):
            read(of)
        assert read(of) == read(of) == b"what"
    assert ["amz-sdk-request" in seen for seen in server.seen] == [False, True, False]


@pytest.mark.parametrize("answer", [(200, {}, b"<html>log in</html>"), (206, {}, b"what")])
def test_what_is_no_answer_of_s3_is_told(answer: Answer) -> None:
    with Server(answer) as server, pytest.raises(UnavailableError, match="no S3 server"):
        read(store(server))


def test_a_range_that_is_ignored_or_cut_is_no_range() -> None:
    with Server(whole()) as server, pytest.raises(UnavailableError, match="did not answer a range"):
        read(store(server))
    cut = (206, {"ETag": '"x"', "Content-Range": "bytes 0-2/3"}, b"wha")
    with Server(cut) as server, pytest.raises(IntegrityError):
        read(store(server))


def test_an_object_beyond_the_limit_is_refused() -> None:
    with Server(whole()) as server, pytest.raises(IntegrityError, match="too large"):
        store(server).get("key", 3)
