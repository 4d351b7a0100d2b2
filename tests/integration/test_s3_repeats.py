"""Requests that are made from an earlier one of their kind, against a real MinIO: the store must see no difference."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ckpt_tier.errors import (
    AccessDeniedError,
    IntegrityError,
    KeyExistsError,
    MissingKeyError,
    SourceChangedError,
    UnavailableError,
)
from ckpt_tier.store.s3 import S3Store
from ckpt_tier.store.s3_requests import Requests
from tests.minio import Bucket
from tests.proxy import Answer, Request, refusal, troubled
from tests.stores import PIECE, Counter, s3_store, source_of

MakeFile = Callable[[bytes], Path]
ODD_KEYS = ["a b", "a+b", "ünï/cödé", "100%/~tilde", "quote'(1)*!", "a=b&c;d:e@f$,", "deep/" * 20 + "file.pt"]


def requests_of(store: S3Store) -> Requests:
    return store._requests


@pytest.fixture
def store(s3: Bucket) -> S3Store:
    if s3.server.kind != "minio":
        pytest.skip("moto instead of MinIO")
    store = s3_store(s3)
    store.capabilities()
    return store


@pytest.fixture
def made(store: S3Store) -> list[str]:
    """The operations that botocore has made a request for, from its model, since the test began."""
    made: list[str] = []
    client = requests_of(store).client()
    client.meta.events.register("request-created.s3", lambda operation_name, **_: made.append(operation_name))
    return made


def test_of_many_small_objects_only_the_first_costs_the_whole_way(
    store: S3Store, made: list[str], make_file: MakeFile
) -> None:
    files = {f"data/{number}.bin": os.urandom(1000 + number) for number in range(5)}
    counter = Counter()
    for key, data in files.items():
        store.upload(key, source_of(make_file(data)), counter)
    for key, data in files.items():
        assert b"".join(map(bytes, store.read(key, 0, len(data)))) == data
        assert store.stat(key).size == len(data)
    assert made == ["PutObject", "GetObject", "HeadObject"]
    assert counter.moved_bytes == sum(map(len, files.values()))


def test_the_answers_are_the_same_as_botocores(store: S3Store, s3: Bucket, make_file: MakeFile) -> None:
    store.upload("x", source_of(make_file(b"hello")), Counter())
    send = requests_of(store).send
    for parameters in ({"Range": "bytes=1-3"}, {"ChecksumMode": "ENABLED"}):
        first, second = (send("get_object", "pre/fix/x", **parameters) for _ in range(2))
        bodies = [answer.pop("Body") for answer in (first, second)]
        assert [bytes(body.read()) for body in bodies] in ([b"ell"] * 2, [b"hello"] * 2)
        _is_all_of(second, first)
    first, second = (send("head_object", "pre/fix/x", ChecksumMode="ENABLED") for _ in range(2))
    _is_all_of(second, first)
    assert second["ContentLength"] == 5


def _is_all_of(repeated: dict[str, Any], whole: dict[str, Any]) -> None:
    """Everything but what botocore adds about the exchange itself and the user's own metadata."""
    assert "ETag" in repeated
    assert repeated == {name: value for name, value in whole.items() if name not in ("ResponseMetadata", "Metadata")}


@pytest.mark.parametrize("key", ODD_KEYS)
def test_any_key_is_signed_as_it_is_asked_for(store: S3Store, made: list[str], key: str, make_file: MakeFile) -> None:
    store.upload("plain", source_of(make_file(b"first")), Counter())
    assert store.stat("plain").size == 5
    store.upload(key, source_of(make_file(key.encode())), Counter())
    assert store.stat(key).size == len(key.encode())
    assert b"".join(map(bytes, store.read("plain", 0, 5))) == b"first"
    assert b"".join(map(bytes, store.read(key, 0, len(key.encode())))) == key.encode()
    assert made == ["PutObject", "HeadObject", "GetObject"]


def test_what_is_refused_is_refused_in_the_same_words(store: S3Store, made: list[str], make_file: MakeFile) -> None:
    first, second = make_file(b"first"), make_file(b"second")
    store.upload("first", source_of(first), Counter())
    with pytest.raises(KeyExistsError, match="other bytes"):
        store.upload("first", source_of(second), Counter())
    store.upload("second", source_of(second), Counter())
    wrong = msgspec.structs.replace(source_of(make_file(b"third!")), crc64nvme=source_of(second).crc64nvme)
    wrong = msgspec.structs.replace(wrong, pieces=source_of(second).pieces)
    with pytest.raises(SourceChangedError, match="other bytes"):
        store.upload("third", wrong, Counter())
    for _ in range(2):
        with pytest.raises(MissingKeyError):
            store.stat("nothing")
        with pytest.raises(MissingKeyError):
            list(store.read("nothing", 0, 3))
        with pytest.raises(IntegrityError, match="shorter"):
            list(store.read("first", 0, 100))
        with pytest.raises(IntegrityError):
            list(store.read("first", 100, 3))
    with pytest.raises(MissingKeyError):
        store.stat("third")


def test_after_a_refusal_botocore_makes_the_next_request(store: S3Store, made: list[str], make_file: MakeFile) -> None:
    store.upload("x", source_of(make_file(b"hello")), Counter())
    for _ in range(3):
        store.stat("x")
    with pytest.raises(MissingKeyError):
        store.stat("y")
    made.clear()
    for _ in range(3):
        store.stat("x")
    assert made == ["HeadObject"]


def test_a_request_that_the_store_is_too_busy_for_is_told_as_that(s3: Bucket, make_file: MakeFile) -> None:
    with troubled(s3) as (bucket, trouble):
        store = s3_store(bucket)
        store.upload("x", source_of(make_file(b"hello")), Counter())
        store.stat("x")
        assert store.get("x", 9) == store.get("x", 9) == b"hello"
        trouble.before = lambda request: refusal(503, "SlowDownRead") if request.method == "GET" else None
        with pytest.raises(UnavailableError, match="SlowDownRead"):
            store.get("x", 9)
        trouble.before = lambda _request: None
        assert store.get("x", 9) == b"hello"


def test_an_object_is_held_against_the_checksum_that_came_with_it(s3: Bucket, make_file: MakeFile) -> None:
    with troubled(s3) as (bucket, trouble):
        store = s3_store(bucket)
        store.put("x", b"hello")
        assert store.get("x", 9) == store.get("x", 9) == b"hello"

        def flip(request: Request, answer: Answer) -> None:
            if request.method == "GET":
                answer.body = b"jello"

        trouble.after = flip
        with pytest.raises((IntegrityError, UnavailableError), match="checksum"):
            store.get("x", 9)


def test_parts_are_sent_like_those_before_them(store: S3Store, made: list[str], make_file: MakeFile) -> None:
    data = os.urandom(2 * PIECE + 7)
    for key in ("first", "second"):
        made.clear()
        store.upload(key, source_of(make_file(data)), Counter())
        assert b"".join(map(bytes, store.read(key, 0, len(data)))) == data
    assert "CompleteMultipartUpload" in made
    assert "UploadPart" not in made


def test_credentials_that_change_are_used_from_the_next_request_on(
    store: S3Store, s3: Bucket, monkeypatch: pytest.MonkeyPatch, make_file: MakeFile
) -> None:
    store.upload("x", source_of(make_file(b"hello")), Counter())
    store.stat("x")
    store.stat("x")
    credentials: Any = requests_of(store)._line()[1]._signer._credentials
    monkeypatch.setattr(credentials, "secret_key", "another")
    with pytest.raises(AccessDeniedError):
        store.stat("x")
    monkeypatch.undo()
    assert store.stat("x").size == 5


def test_over_tls_requests_are_made_from_those_before_them_too(s3_over_tls: Bucket, make_file: MakeFile) -> None:
    store = s3_store(s3_over_tls)
    store.upload("x", source_of(make_file(b"hello")), Counter())
    made: list[str] = []
    events = requests_of(store).client().meta.events
    events.register("request-created.s3", lambda operation_name, **_: made.append(operation_name))
    for _ in range(3):
        assert store.stat("x").size == 5
    assert made == ["HeadObject"]
