"""The S3 store against a real MinIO, and through a proxy that does what lines and lesser servers do."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt_tier.errors import (
    AccessDeniedError,
    CancelledError,
    CkptTierError,
    ConfigError,
    IntegrityError,
    KeyExistsError,
    MissingKeyError,
    NoSpaceError,
    SourceChangedError,
    UnavailableError,
)
from ckpt_tier.store.s3 import S3Store
from ckpt_tier.store.s3_errors import ForbiddenError
from ckpt_tier.store.s3_requests import S3Options
from tests.minio import Bucket, Server, free_port
from tests.proxy import Answer, Request, Trouble, refusal, troubled
from tests.stores import PIECE, Counter, s3_store, source_of

MakeFile = Callable[[bytes], Path]
KEY = "data/model_step_5000.pt"
FULL_KEY = f"pre/fix/{KEY}"


@pytest.fixture
def through(s3: Bucket) -> Iterator[tuple[S3Store, Trouble]]:
    """The store through a proxy that makes trouble."""
    with troubled(s3) as (bucket, trouble):
        yield s3_store(bucket), trouble


def read(store: S3Store, key: str = KEY) -> bytes:
    return b"".join(map(bytes, store.read(key, 0, store.stat(key).size)))


def needs_minio(bucket: Bucket) -> None:
    """Skips where moto stands in, which checks no checksums and no credentials; the run says so loudly at its end."""
    if bucket.server.kind != "minio":
        pytest.skip("moto instead of MinIO")


def unfinished(bucket: Bucket) -> list[Any]:
    """Multipart uploads of the test's key that are neither completed nor aborted."""
    return list(bucket.client.list_multipart_uploads(Bucket=bucket.bucket, Prefix=FULL_KEY).get("Uploads", []))


# Resuming

UPLOADER = """
import sys, time
from pathlib import Path
from ckpt_tier.store.s3 import S3Store
from ckpt_tier.store.s3_requests import S3Options
from tests.stores import source_of

class Slow:
    def moved(self, count): time.sleep(0.02)
    def resumed(self, count): pass

bucket, endpoint, key, path = sys.argv[1:]
S3Store(bucket, "pre/fix", S3Options(endpoint_url=endpoint)).upload(key, source_of(Path(path)), Slow())
"""


def test_after_kill_9_only_the_unfinished_pieces_are_sent_again(s3: Bucket, make_file: MakeFile) -> None:
    data = os.urandom(16 * PIECE)
    path = make_file(data)
    command = [sys.executable, "-c", UPLOADER, s3.bucket, s3.endpoint_url, KEY, str(path)]
    with subprocess.Popen(command) as process:
        finished: dict[int, int] = {}
        deadline = time.monotonic() + 60
        while len(finished) < 3 and time.monotonic() < deadline:
            assert process.poll() is None, "the upload ended before it could be killed"
            for upload in unfinished(s3):
                parts = s3.client.list_parts(Bucket=s3.bucket, Key=FULL_KEY, UploadId=upload["UploadId"])
                finished = {part["PartNumber"]: part["Size"] for part in parts.get("Parts", [])}
        os.kill(process.pid, signal.SIGKILL)
    assert len(finished) >= 3
    store = s3_store(s3)
    with pytest.raises(MissingKeyError):
        store.stat(KEY)
    counter = Counter()
    store.upload(KEY, source_of(path), counter)
    assert counter.moved_bytes <= len(data) - sum(finished.values())
    assert counter.resumed_bytes >= sum(finished.values())
    assert counter.moved_bytes + counter.resumed_bytes == len(data)
    assert read(store) == data
    assert unfinished(s3) == []


def test_a_part_with_other_bytes_is_sent_again(s3: Bucket, make_file: MakeFile) -> None:
    needs_minio(s3)
    data = os.urandom(3 * PIECE)
    upload = s3.client.create_multipart_upload(
        Bucket=s3.bucket, Key=FULL_KEY, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
    )["UploadId"]
    for number, body in ((1, os.urandom(PIECE)), (2, data[PIECE : 2 * PIECE])):
        s3.client.upload_part(
            Bucket=s3.bucket, Key=FULL_KEY, UploadId=upload, PartNumber=number, Body=body, ChecksumAlgorithm="CRC64NVME"
        )
    counter = Counter()
    store = s3_store(s3)
    store.upload(KEY, source_of(make_file(data)), counter)
    assert (counter.resumed_bytes, counter.moved_bytes) == (PIECE, 2 * PIECE)
    assert read(store) == data


def test_an_upload_cut_otherwise_is_not_resumed(s3: Bucket, make_file: MakeFile) -> None:
    path = make_file(os.urandom(6 * PIECE))
    store = s3_store(s3)
    with pytest.raises(CancelledError):
        store.upload(KEY, source_of(path, 2 * PIECE), Counter(stop_after=5 * PIECE))
    counter = Counter()
    store.upload(KEY, source_of(path, PIECE), counter)
    assert counter.resumed_bytes == 0
    assert read(store) == path.read_bytes()


def test_an_upload_aborted_behind_our_back_starts_again(s3: Bucket, make_file: MakeFile) -> None:
    needs_minio(s3)
    data = os.urandom(6 * PIECE)

    class Aborting(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            if self.moved_bytes > 3 * PIECE:
                with once:
                    for upload in unfinished(s3) if not aborted else []:
                        s3.client.abort_multipart_upload(Bucket=s3.bucket, Key=FULL_KEY, UploadId=upload["UploadId"])
                        aborted.append(upload["UploadId"])

    aborted: list[str] = []
    once = threading.Lock()
    store = s3_store(s3)
    store.upload(KEY, source_of(make_file(data)), Aborting())
    assert len(aborted) == 1
    assert read(store) == data


def test_a_stop_ends_the_whole_upload_quickly_and_keeps_its_parts(s3: Bucket, make_file: MakeFile) -> None:
    path = make_file(os.urandom(30 * PIECE))
    begun = time.monotonic()
    with pytest.raises(CancelledError, match="stopped by the test"):
        s3_store(s3).upload(KEY, source_of(path), Counter(stop_after=5 * PIECE))
    assert time.monotonic() - begun < 5
    assert len(unfinished(s3)) == 1


def test_a_changed_source_leaves_no_unfinished_upload(s3: Bucket, make_file: MakeFile) -> None:
    path = make_file(os.urandom(3 * PIECE))
    source = source_of(path)
    with path.open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(SourceChangedError):
        s3_store(s3).upload(KEY, source, Counter())
    assert unfinished(s3) == []


def test_without_the_permission_to_list_uploads_everything_is_sent(
    s3: Bucket, through: tuple[S3Store, Trouble], make_file: MakeFile
) -> None:
    store, trouble = through
    path = make_file(os.urandom(3 * PIECE))
    with pytest.raises(CancelledError):
        store.upload(KEY, source_of(path), Counter(stop_after=2 * PIECE))
    trouble.before = lambda request: refusal(403, "AccessDenied") if "?uploads" in request.path and (
        request.method == "GET"
    ) else None  # fmt: skip
    counter = Counter()
    store.upload(KEY, source_of(path), counter)
    assert counter.moved_bytes == 3 * PIECE
    assert read(store) == path.read_bytes()


# Lost answers


def is_complete(request: Request) -> bool:
    return request.method == "POST" and "uploadId=" in request.path


@pytest.mark.parametrize("size", [100, 2 * PIECE + 5])
def test_a_lost_answer_to_the_last_request_is_success_at_the_latest_the_second_time(
    through: tuple[S3Store, Trouble], make_file: MakeFile, size: int
) -> None:
    store, trouble = through
    source = source_of(make_file(os.urandom(size)))
    lost: list[str] = []

    def lose(request: Request, answer: Answer) -> None:
        if (is_complete(request) or (size == 100 and request.method == "PUT")) and not lost:
            assert answer.status == 200
            lost.append(request.path)
            answer.cut_at = -1

    trouble.after = lose
    if size == 100:
        with pytest.raises(UnavailableError):
            store.upload(KEY, source, Counter())
        store.upload(KEY, source, Counter())
    else:
        store.upload(KEY, source, Counter())
    assert len(lost) == 1
    assert read(store) == source.path.read_bytes()


def test_a_complete_that_never_arrived_is_resumed_without_sending_bytes(
    through: tuple[S3Store, Trouble], make_file: MakeFile
) -> None:
    store, trouble = through
    source = source_of(make_file(os.urandom(2 * PIECE + 5)))
    trouble.before = lambda request: Answer(200, {}, b"", cut_at=-1) if is_complete(request) else None
    with pytest.raises(UnavailableError):
        store.upload(KEY, source, Counter())
    trouble.before = lambda _request: None
    counter = Counter()
    store.upload(KEY, source, counter)
    assert (counter.moved_bytes, counter.resumed_bytes) == (0, source.size)
    assert read(store) == source.path.read_bytes()


# Damage


@pytest.mark.parametrize("size", [1000, 2 * PIECE + 5])
def test_bytes_damaged_on_the_way_are_refused_by_the_store(
    s3: Bucket, through: tuple[S3Store, Trouble], make_file: MakeFile, size: int
) -> None:
    needs_minio(s3)
    store, trouble = through
    source = source_of(make_file(os.urandom(size)))

    def damage(request: Request) -> None:
        if request.method == "PUT" and len(request.body) > 100:
            request.body = request.body[:50] + bytes([request.body[50] ^ 1]) + request.body[51:]

    trouble.before = damage
    with pytest.raises(UnavailableError, match="damaged on the way"):
        store.upload(KEY, source, Counter())
    trouble.before = lambda _request: None
    with pytest.raises(MissingKeyError):
        store.stat(KEY)
    store.upload(KEY, source, Counter())
    assert read(store) == source.path.read_bytes()


def test_minio_refuses_a_wrong_checksum_and_is_found_to(s3: Bucket) -> None:
    needs_minio(s3)
    store = s3_store(s3)
    assert store.refuses_wrong_checksums()
    assert store.capabilities().verifies_uploads
    assert s3.client.list_multipart_uploads(Bucket=s3.bucket).get("Uploads", []) == []


@pytest.mark.parametrize("size", [1000, 2 * PIECE + 5])
def test_a_store_without_checksums_is_read_back_and_its_damage_found(
    weak_s3: Bucket, make_file: MakeFile, size: int
) -> None:
    source = source_of(make_file(os.urandom(size)))
    with troubled(weak_s3) as (bucket, trouble):
        store = s3_store(bucket)
        store.upload("good", source, Counter())
        assert any(line.startswith("GET ") and line.endswith("/good") for line in trouble.seen)

        def damage(request: Request) -> None:
            if request.method == "PUT" and len(request.body) > 100:
                request.body = request.body[:50] + bytes([request.body[50] ^ 1]) + request.body[51:]

        trouble.before = damage
        with pytest.raises(IntegrityError, match="other bytes"):
            store.upload(KEY, source, Counter())
        assert [entry.key for entry in store.list("")] == ["good"]
        trouble.before = lambda _request: None
        store.upload(KEY, source, Counter())
        assert read(store) == source.path.read_bytes()


@pytest.mark.parametrize("size", [1000, 2 * PIECE + 5])
def test_a_store_whose_answers_carry_no_checksum_is_read_back(
    through: tuple[S3Store, Trouble], make_file: MakeFile, size: int
) -> None:
    store, trouble = through

    def strip(_request: Request, answer: Answer) -> None:
        for name in [name for name in answer.headers if name.startswith("x-amz-checksum")]:
            del answer.headers[name]
        answer.body = answer.body.replace(b"ChecksumCRC64NVME>", b"Nothing>")

    trouble.after = strip
    source = source_of(make_file(os.urandom(size)))
    store.upload(KEY, source, Counter())
    assert any(line.startswith("GET ") and line.endswith(FULL_KEY) for line in trouble.seen)
    assert store.stat(KEY).crc64nvme is None
    assert read(store) == source.path.read_bytes()


@pytest.mark.parametrize("size", [1000, 2 * PIECE + 5])
@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_store_that_refuses_checksum_headers_is_used_without_and_read_back(
    s3: Bucket, through: tuple[S3Store, Trouble], make_file: MakeFile, size: int, status: int, code: str
) -> None:
    store, trouble = through

    def refuse(request: Request) -> Answer | None:
        unknown = ("x-amz-checksum-", "if-none-match")
        if request.method in ("PUT", "POST") and any(name.startswith(unknown) for name in request.headers):
            return refusal(status, code)
        return None

    trouble.before = refuse
    source = source_of(make_file(os.urandom(size)))
    store.upload(KEY, source, Counter())
    assert read(store) == source.path.read_bytes()
    with pytest.raises(KeyExistsError):
        store.upload(KEY, source_of(make_file(b"other")), Counter())
    store.put("note", b"first", if_absent=True)
    with pytest.raises(KeyExistsError):
        store.put("note", b"second", if_absent=True)
    assert store.get("note", 10) == b"first"
    found = store.capabilities()
    assert not found.conditional_put
    assert not found.verifies_uploads


@pytest.mark.parametrize("cut_at", [0, 10, 500])
def test_an_answer_that_breaks_off_is_worth_another_try(through: tuple[S3Store, Trouble], cut_at: int) -> None:
    store, trouble = through
    store.put("x", bytes(1000))

    def cut(request: Request, answer: Answer) -> None:
        if request.method == "GET":
            answer.cut_at = cut_at

    trouble.after = cut
    with pytest.raises(UnavailableError):
        list(store.read("x", 0, 1000))
    with pytest.raises(UnavailableError):
        store.get("x", 1000)


def test_a_small_object_damaged_on_its_way_back_is_found(s3: Bucket, through: tuple[S3Store, Trouble]) -> None:
    needs_minio(s3)
    store, trouble = through
    store.put("manifest", b"0123456789")

    def damage(request: Request, answer: Answer) -> None:
        if request.method == "GET":
            answer.body = b"0123456780"

    trouble.after = damage
    with pytest.raises(IntegrityError):
        store.get("manifest", 100)


# How a bucket is reached


def test_a_private_certificate_authority_is_trusted_when_it_is_named(s3_over_tls: Bucket, make_file: MakeFile) -> None:
    source = source_of(make_file(os.urandom(2 * PIECE + 5)))
    store = s3_store(s3_over_tls)
    store.upload(KEY, source, Counter())
    assert read(store) == source.path.read_bytes()

    with pytest.raises(ConfigError, match="not trusted") as caught:
        s3_store(s3_over_tls, ca_bundle=None).stat(KEY)
    assert "ca_bundle" in caught.value.fix
    with pytest.raises(ConfigError, match="not there"):
        s3_store(s3_over_tls, ca_bundle="/no/such/file.pem").stat(KEY)


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_private_certificate_authority_can_be_named_by_the_environment(
    s3_over_tls: Bucket, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    assert s3_over_tls.server.ca_bundle is not None
    monkeypatch.setenv(variable, s3_over_tls.server.ca_bundle)
    store = s3_store(s3_over_tls, ca_bundle=None)
    store.put(KEY, b"small")
    assert store.get(KEY, 5) == b"small"


def test_the_wrong_protocol_is_said(minio_https: Server, s3: Bucket) -> None:
    tls_to_plain = S3Options(endpoint_url=s3.endpoint_url.replace("http://", "https://"))
    with pytest.raises(ConfigError, match="does not speak TLS"):
        S3Store(s3.bucket, "", tls_to_plain).get("x", 1)
    plain_to_tls = S3Options(endpoint_url=minio_https.endpoint_url.replace("https://", "http://"))
    with pytest.raises(CkptTierError):
        S3Store(s3.bucket, "", plain_to_tls).get("x", 1)


def test_virtual_host_style_puts_the_bucket_into_the_host_name(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch, make_file: MakeFile
) -> None:
    if s3.server.kind != "minio" or s3.server.shared or s3.server.composed:
        pytest.skip("needs a MinIO with MINIO_DOMAIN=localhost")
    asked = []
    look_up = socket.getaddrinfo

    def local(host: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(host)
        return look_up("127.0.0.1" if str(host).endswith("localhost") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    endpoint = s3.endpoint_url.replace("127.0.0.1", "localhost")
    store = s3_store(s3, addressing="virtual", endpoint_url=endpoint)
    source = source_of(make_file(os.urandom(PIECE + 5)))
    store.upload(KEY, source, Counter())
    assert read(store) == source.path.read_bytes()
    assert [entry.key for entry in store.list("")] == [KEY]
    assert set(asked) == {f"{s3.bucket}.localhost"}


@pytest.mark.parametrize("size", [1000, 2 * PIECE + 5])
def test_objects_are_encrypted_at_rest_when_asked(s3: Bucket, make_file: MakeFile, size: int) -> None:
    if s3.server.shared or s3.server.composed:
        pytest.skip("needs a MinIO with a key for encryption")
    store = s3_store(s3, sse="AES256")
    source = source_of(make_file(os.urandom(size)))
    store.upload(KEY, source, Counter())
    store.put("manifest", b"{}")
    for key in (FULL_KEY, "pre/fix/manifest"):
        assert s3.client.head_object(Bucket=s3.bucket, Key=key)["ServerSideEncryption"] == "AES256"
    assert read(store) == source.path.read_bytes()
    again = Counter()
    store.upload(KEY, source, again)
    assert again.moved_bytes <= 1000


def test_a_store_is_made_without_boto3_and_without_a_connection() -> None:
    code = (
        "import sys; from ckpt_tier.store.s3 import S3Store; S3Store('b'); "
        "sys.exit(any(name in sys.modules for name in ('boto3', 'botocore', 'urllib3')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prefixes_keep_stores_in_one_bucket_apart(s3: Bucket) -> None:
    one, other, whole = s3_store(s3, "a"), s3_store(s3, "ab/c/"), s3_store(s3, "")
    one.put("x", b"1")
    other.put("x", b"2")
    assert [entry.key for entry in one.list("")] == ["x"]
    assert [entry.key for entry in whole.list("")] == ["a/x", "ab/c/x"]
    assert (one.url, other.url, whole.url) == (f"{s3.url}/a", f"{s3.url}/ab/c", s3.url)


# Refusals


def test_a_bucket_that_is_not_there_is_said_with_the_command_that_makes_it(s3: Bucket, make_file: MakeFile) -> None:
    store = S3Store("no-such-bucket-here", "", S3Options(endpoint_url=s3.endpoint_url))
    for call in (
        lambda: store.get("x", 1),
        lambda: store.put("x", b""),
        lambda: list(store.list("")),
        lambda: store.upload("x", source_of(make_file(b"x")), Counter()),
        lambda: store.upload("x", source_of(make_file(bytes(PIECE + 1))), Counter()),
    ):
        with pytest.raises(ConfigError, match="no-such-bucket-here") as caught:
            call()
        assert "aws s3 mb s3://no-such-bucket-here" in caught.value.fix


def test_bad_credentials_are_said_without_repeating_them(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch, make_file: MakeFile
) -> None:
    needs_minio(s3)
    for key, secret in (("wrong-key", "wrong-secret"), (s3.server.access_key, "wrong-secret")):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        store = s3_store(s3)
        for call in (
            lambda: store.get("x", 1),  # noqa: B023
            lambda: store.stat("x"),  # noqa: B023
            lambda: store.upload("x", source_of(make_file(bytes(PIECE + 1))), Counter()),  # noqa: B023
        ):
            with pytest.raises(AccessDeniedError) as caught:
                call()
            assert "secret" not in f"{caught.value}".lower()
            assert caught.value.fix
            assert caught.value.exit_code == 6


def test_no_credentials_at_all_are_said_with_where_they_come_from(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessDeniedError, match="AWS_ACCESS_KEY_ID"):
        s3_store(s3).get("x", 1)


def test_an_unknown_profile_is_a_configuration_error(s3: Bucket) -> None:
    with pytest.raises(ConfigError, match="nobody"):
        s3_store(s3, profile="nobody").get("x", 1)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:{port}", "http://user:hidden@127.0.0.1:{port}", "http://no-such-host.invalid:{port}"]
)
def test_an_endpoint_that_does_not_answer_is_unavailable(aws_environment: None, endpoint: str) -> None:
    store = S3Store("bucket", "", S3Options(endpoint_url=endpoint.format(port=free_port()), addressing="path"))
    with pytest.raises(UnavailableError, match="can't be reached") as caught:
        store.get("x", 1)
    assert "hidden" not in f"{caught.value} {caught.value.fix}"


@pytest.mark.parametrize("endpoint", ["not a url", "http://", "ftp//x"])
def test_an_impossible_endpoint_is_a_configuration_error(aws_environment: None, endpoint: str) -> None:
    with pytest.raises(ConfigError):
        S3Store("bucket", "", S3Options(endpoint_url=endpoint)).get("x", 1)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (503, "SlowDown", UnavailableError),
        (503, "SlowDownWrite", UnavailableError),
        (500, "InternalError", UnavailableError),
        (429, "TooManyRequests", UnavailableError),
        (400, "RequestTimeout", UnavailableError),
        (403, "AccessDenied", ForbiddenError),
        (403, "NobodyKnows", AccessDeniedError),
        (403, "RequestTimeTooSkewed", AccessDeniedError),
        (400, "ExpiredToken", AccessDeniedError),
        (507, "XMinioStorageFull", NoSpaceError),
        (301, "PermanentRedirect", ConfigError),
        (400, "KMS.DisabledException", ConfigError),
    ],
)
def test_refusals_become_what_a_caller_would_do_about_them(
    through: tuple[S3Store, Trouble], make_file: MakeFile, status: int, code: str, expected: type[CkptTierError]
) -> None:
    store, trouble = through
    trouble.before = lambda _request: refusal(status, code)
    source = source_of(make_file(b"x"))
    for call in (
        lambda: store.get("x", 1),
        lambda: store.put("x", b"x", if_absent=True),
        lambda: list(store.list("")),
        lambda: store.delete("x"),
        lambda: store.upload("x", source, Counter()),
    ):
        with pytest.raises(expected) as caught:
            call()
        assert type(caught.value) is expected
        assert caught.value.fix


def test_a_refused_request_names_the_permission_it_needs(through: tuple[S3Store, Trouble]) -> None:
    store, trouble = through
    trouble.before = lambda _request: refusal(403, "AccessDenied")
    for call, action in (
        (lambda: store.get("x", 1), "s3:GetObject"),
        (lambda: store.stat("x"), "s3:ListBucket"),
        (lambda: store.put("x", b""), "s3:PutObject"),
        (lambda: list(store.list("")), "s3:ListBucket"),
        (lambda: store.delete("x"), "s3:DeleteObject"),
    ):
        with pytest.raises(AccessDeniedError) as caught:
            call()
        assert action in caught.value.fix


def test_each_request_is_sent_once(through: tuple[S3Store, Trouble]) -> None:
    store, trouble = through
    trouble.before = lambda _request: refusal(503, "SlowDown")
    with pytest.raises(UnavailableError):
        store.get("x", 1)
    assert len(trouble.seen) == 1


def test_only_a_large_body_is_announced_and_a_small_one_just_sent(
    through: tuple[S3Store, Trouble], make_file: MakeFile
) -> None:
    store, trouble = through
    store.put("a", b"{}", if_absent=True)
    store.upload("b", source_of(make_file(bytes(3000))), Counter())
    store.upload("c", source_of(make_file(b"")), Counter())
    assert not trouble.announced
    store.upload("d", source_of(make_file(bytes(2 * 2**20))), Counter())
    assert len(trouble.announced) == 1
    assert store.get("a", 10) == b"{}"
    assert store.stat("d").size == 2 * 2**20


def test_an_answer_that_is_not_s3s_is_no_crash(through: tuple[S3Store, Trouble]) -> None:
    store, trouble = through
    trouble.before = lambda _request: Answer(200, {"content-type": "text/html"}, b"<html>please log in</html>")
    with pytest.raises(CkptTierError):
        list(store.list(""))
    with pytest.raises(CkptTierError):
        list(store.read("x", 0, 10))
