"""The line to one bucket: botocore's client, made at the first request, and the one place where requests are sent."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ckpt_tier.errors import ConfigError, UnavailableError
from ckpt_tier.store.s3_errors import Place, expired_credentials, host_of, translated
from ckpt_tier.store.s3_wire import SENT_AT_ONCE, Wire

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client

    from ckpt_tier.store.s3_repeats import Repeats

PARALLEL_PARTS = 4
MOST_PARALLEL_PARTS = 8
"""Over a line with a long way: see `ckpt_tier.system.streams`. What is in flight is sent again after a kill."""
_CONNECTIONS = 32
_CONNECT_TIMEOUT = 30.0
"""Seconds. Python counts it for each block that is sent, too: 256 KiB in 30 s is a line of 9 kB/s."""
_READ_TIMEOUT = 120.0
"""Seconds without a byte of an answer. Completing a large upload can take a store minutes, but not in silence."""

_ALWAYS_THERE = {
    "put_object": "ETag",
    "get_object": "ETag",
    "head_object": "ETag",
    "list_objects_v2": "IsTruncated",
    "list_multipart_uploads": "IsTruncated",
    "list_parts": "IsTruncated",
    "create_multipart_upload": "UploadId",
    "upload_part": "ETag",
    "complete_multipart_upload": "ETag",
}
"""What no S3 server leaves out. Without a look at it, the page of a log-in portal would be an empty listing."""


class S3Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a bucket is reached; the fields mean what the keys of `[cold]` mean."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing: Literal["auto", "path", "virtual"] = "auto"
    ca_bundle: str | None = None
    sse: Literal["AES256", "aws:kms"] | None = None
    sse_kms_key_id: str | None = None


class Requests:
    """Sends requests about one bucket, each of them once. Safe to use from several threads.

    Keys here are whole keys of the bucket.
    """

    def __init__(self, bucket: str, options: S3Options) -> None:
        self.bucket = bucket
        self.options = options
        self.place = Place(bucket, host_of(options.endpoint_url), options.ca_bundle, options.profile)
        self._lock = threading.Lock()
        self._made: tuple[S3Client, Repeats] | None = None
        self.server: str | None = None
        """The Server header of the last answer."""
        self._wire = Wire(_CONNECT_TIMEOUT, _READ_TIMEOUT)

    def send(self, operation: str, key: str = "", **parameters: Any) -> Any:
        """S3's answer to `operation` (a method name of the client); raises errors of this program only."""
        if key:
            parameters["Key"] = key
        with self.errors(operation, key):
            client, repeats = self._line()
            answer = repeats.send(operation, parameters)
            if answer is None:
                answer = getattr(client, operation)(Bucket=self.bucket, **parameters)
                repeats.learn(operation, parameters)
        if _ALWAYS_THERE.get(operation, "ResponseMetadata") not in answer:
            if "Body" in answer:
                answer["Body"].close()
            raise UnavailableError(
                f"what answered for s3://{self.bucket}/{key} is no S3 server",
                f"its answer to {operation} makes no sense",
                "check `endpoint_url` in [cold], and whether a proxy or a log-in page is in the way",
            )
        return answer

    @contextlib.contextmanager
    def errors(self, operation: str, key: str) -> Iterator[None]:
        """Translates what the libraries raise inside."""
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (BotoCoreError, ClientError, HTTPError, OSError, ValueError, RecursionError) as error:
            raise translated(error, operation, key, self.place) from error
        except RuntimeError as error:
            if "expired" not in str(error):  # botocore has no class for it
                raise
            raise expired_credentials(self.place) from error

    def client(self) -> "S3Client":
        """botocore's client, made once."""
        return self._line()[0]

    def _line(self) -> "tuple[S3Client, Repeats]":
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> "tuple[S3Client, Repeats]":
        from ckpt_tier.store import s3_listing
        from ckpt_tier.store.s3_repeats import Repeats
        from ckpt_tier.store.s3_session import make_session

        session = make_session(self.options.profile, self.options.region)
        verify = _authorities(session, self.options)
        client = _make_client(session, self.options, verify)
        client.meta.events.register_last("before-call.s3", _announce_large_bodies_alone)
        client.meta.events.register("after-call.s3", self._note_server)
        self._wire.attach(client, verify)
        s3_listing.attach(client)
        return client, Repeats(client, session, self._wire, self._note_server)

    def _note_server(self, http_response: Any, **_: object) -> None:
        self.server = http_response.headers.get("server")

    def encryption(self) -> dict[str, str]:
        """What a request that creates an object says about encryption at rest."""
        asked = {"ServerSideEncryption": self.options.sse, "SSEKMSKeyId": self.options.sse_kms_key_id}
        return {name: value for name, value in asked.items() if value is not None}


def _authorities(session: "Session", options: S3Options) -> str | Literal[True]:
    """The file of those who may certify the server: ours, or what the AWS chain says (`AWS_CA_BUNDLE`, `ca_bundle`), or
    `REQUESTS_CA_BUNDLE`; True for those that botocore comes with. As `botocore.args` has it."""
    if options.ca_bundle is not None and not Path(options.ca_bundle).exists():
        raise ConfigError(f"the certificate file {options.ca_bundle} is not there", fix="check `ca_bundle` in [cold]")
    said = options.ca_bundle or session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return str(said) if said else True


def _make_client(session: "Session", options: S3Options, verify: str | Literal[True]) -> "S3Client":
    from botocore.config import Config

    config = Config(
        # The checksum in the headers proves the bytes; a SHA-256 over them would cost three quarters of the speed.
        s3={"payload_signing_enabled": False, "addressing_style": options.addressing},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Only ckpt_tier.flow retries.
        retries={"total_max_attempts": 1},
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        max_pool_connections=_CONNECTIONS,
        tcp_keepalive=True,
        user_agent_extra="ckpt-tier",
    )
    client: Any = session.create_client("s3", endpoint_url=options.endpoint_url, verify=verify, config=config)
    return client  # type: ignore[no-any-return]


def _announce_large_bodies_alone(params: dict[str, Any], **_: object) -> None:
    """botocore announces every body, also that of a manifest."""
    from botocore.utils import determine_content_length

    if (determine_content_length(params.get("body")) or 0) <= SENT_AT_ONCE:
        params["headers"].pop("Expect", None)


def credentials(options: S3Options) -> Any:
    """What the AWS chain finds (botocore's `Credentials`); raises what botocore raises, also where there are none."""
    from botocore.exceptions import NoCredentialsError

    from ckpt_tier.store.s3_session import make_session

    found = make_session(options.profile, options.region).get_credentials()
    if found is None:
        raise NoCredentialsError
    return found
