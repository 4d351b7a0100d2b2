"""Signatures are those that botocore makes."""

from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.crt.auth import CrtS3SigV4Auth

from ckpt_tier.store.s3_signing import Scope, Signer

HOST = "127.0.0.1:9000"
SCOPE = Scope(region="eu-central-1", service="s3")
HEADERS = {
    "host": HOST,
    "user-agent": "Botocore/1.2",
    "expect": "100-continue",
    "content-length": "12",
    "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=",
    "if-none-match": "*",
}


def by_botocore(method: str, target: str, credentials: Credentials, at: str) -> dict[str, str]:
    request = AWSRequest(method, f"http://{HOST}{target}", dict(HEADERS))
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    moment = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    with mock.patch("botocore.crt.auth.get_current_datetime", return_value=moment):
        CrtS3SigV4Auth(credentials, SCOPE.service, SCOPE.region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.parametrize("token", [None, "a token"])
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/bucket/run/0/data/000000000001/a.pt"),
        ("GET", "/bucket/a%20b/%2B%26%E2%82%AC/.../c~d"),
        ("PUT", "/bucket/key?partNumber=7&uploadId=a%3D%3D"),
        ("HEAD", "/"),
    ],
)
def test_a_signature_is_what_botocore_makes_of_the_same_request(method: str, target: str, token: str | None) -> None:
    credentials = Credentials("key", "secret", token)
    ours = {name.lower(): value for name, value in Signer(credentials).signed(method, target, HEADERS, SCOPE).items()}
    assert ours == by_botocore(method, target, credentials, ours["x-amz-date"])


def test_credentials_that_were_renewed_sign_the_next_request() -> None:
    credentials = Credentials("key", "secret")
    signer = Signer(credentials)
    before = signer.signed("GET", "/", HEADERS, SCOPE)
    credentials.access_key, credentials.token = "another", "a token"
    after = signer.signed("GET", "/", HEADERS, SCOPE)
    assert "Credential=key/" in before["Authorization"]
    assert "Credential=another/" in after["Authorization"]
    assert after["X-Amz-Security-Token"] == "a token"


def test_what_is_signed_is_left_as_it_was() -> None:
    headers = dict(HEADERS)
    Signer(Credentials("key", "secret")).signed("GET", "/", headers, SCOPE)
    assert headers == HEADERS
